"""The address at which a job of a batch system reports the port of its server.

Only the job can find a free port on its machine. Its wrapper,
`batchspawner-singleuser`, chooses one and reports it here with the server's own token.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.response import Response

from api.base import APIRequest, HubAPIView
from api.bodies import BodySerializer
from api.openapi.decorators import extend_schema
from api.permissions import IsAuthenticated
from api.serializers import MessageSerializer
from scopes.refusals import Forbidden, Invalid
from servers.batch import note_port, starting_server


class PortSerializer(BodySerializer):
    """The port at which a server listens."""

    is_closed = False

    port = serializers.IntegerField(min_value=1, max_value=65535)

    def run_validation(self, data: Any = None) -> dict[str, Any]:
        # The action checks whether the value is a port.
        if not isinstance(data, dict) or "port" not in data:
            raise Invalid('Send the port as JSON: {"port": 12345}')
        return data


class BatchSpawnerView(HubAPIView):
    """The port of the server that the caller's token was issued for."""

    scopes: ClassVar = {"POST": IsAuthenticated}
    serializer_classes: ClassVar = {"POST": PortSerializer}

    @extend_schema(
        summary="Report the port of the server of a batch job",
        responses={201: MessageSerializer},
    )
    def post(self, request: APIRequest) -> HttpResponse:
        if request.auth is None:
            raise Forbidden("Send the server's token in the Authorization header.")
        # Checked before the body, because other callers are refused anyway.
        server = starting_server(request.auth.token_id)
        note_port(server, self.read_body()["port"])
        return Response({"message": "BatchSpawner data configured"}, 201)


urlpatterns = [path("batchspawner", BatchSpawnerView.as_view())]
