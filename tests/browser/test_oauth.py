"""Sign in to a service: the consent page, and the redirect to the service."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlencode

import pytest

from tests.factories import make_client, make_role, make_user


class Callback(BaseHTTPRequestHandler):
    """The page of a service on a host of its own."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>Welcome</title><h1>Welcome to the portal</h1>")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service():
    server = HTTPServer(("127.0.0.1", 0), Callback)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_from_consent_to_the_service(window, transactional_db, service, scripts):
    person = make_user("ada")
    make_role("visitors", "access:services!service=portal", users=[person])
    client = make_client(
        "portal",
        "portal-secret-29c0ffee11",
        description="JupyterHub service portal",
        redirect_uri=f"{service}/callback",
        allowed_scopes=["read:users!user", "read:servers!user"],
    )
    query = urlencode({"client_id": client.identifier, "response_type": "code"})
    visit = window(person, java_script_enabled=scripts)

    page = visit.open(f"/hub/api/oauth2/authorize?{query}")
    if scripts:
        visit.survey()
    page.get_by_role("button", name="Authorize").click()

    page.get_by_text("Welcome to the portal").wait_for()
    assert "code=" in page.url


def test_applications_on_the_token_page(window, transactional_db):
    from tests.factories import make_token

    person = make_user("ada")
    make_client("portal", description="JupyterHub service portal")
    make_token(person, client_id="service-portal", scopes=["read:users!user"])

    visit = window(person)
    page = visit.open("/hub/token")
    visit.survey()
    row = page.get_by_role("row").filter(has_text="JupyterHub service portal")
    row.get_by_role("link", name="Revoke").click()
    visit.survey()
    page.get_by_role("button", name="Revoke application").click()

    assert "JupyterHub service portal" in page.get_by_role("status").first.inner_text()
    assert not page.get_by_text("Authorized applications").is_visible()
