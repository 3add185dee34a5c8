"""The address at which a job of a batch system reports the port of its server.

Only the job can find a free port on its machine. Its wrapper,
`batchspawner-singleuser`, chooses one and reports it here with the server's own token.
"""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpResponse
from django.urls import path

from api.base import IDENTIFIED, APIRequest, HubAPIView, reply
from scopes.refusals import Forbidden, Invalid
from servers.batch import note_port, starting_server


class BatchSpawnerView(HubAPIView):
    """The port of the server that the caller's token was issued for."""

    scopes: ClassVar = {"POST": IDENTIFIED}

    def post(self, request: APIRequest) -> HttpResponse:
        if request.bearer is None:
            raise Forbidden("Send the server's token in the Authorization header.")
        # Looked up first, so that the body does not matter to other callers.
        server = starting_server(request.bearer.token_id)
        body = self.json()
        if not isinstance(body, dict) or "port" not in body:
            raise Invalid('Send the port as JSON: {"port": 12345}')
        note_port(server, body["port"])
        return reply({"message": "BatchSpawner data configured"}, 201)


urlpatterns = [path("batchspawner", BatchSpawnerView.as_view())]
