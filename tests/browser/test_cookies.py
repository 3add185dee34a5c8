"""Cookies from a page on another port of the same host."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.factories import PASSWORD, make_user

NAMES = ("_xsrf", "jupyterhub-hub-login", "csrftoken", "sessionid")
PLANT = """([names, paths]) => {
    for (const name of names)
        for (const path of paths)
            document.cookie = `${name}=planted-${path.length}; path=${path}`;
}"""


class Neighbour(BaseHTTPRequestHandler):
    """What another Jupyter answers: a page, and cookies for the whole host."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        for name in NAMES:
            self.send_header("Set-Cookie", f"{name}=2|1f|foreign|17; Path=/")
        self.end_headers()
        self.wfile.write(b"<title>Another Jupyter</title>")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def neighbour():
    server = HTTPServer(("127.0.0.1", 0), Neighbour)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_neighbours_cookies_close_nothing(
    window, neighbour, transactional_db, configure
):
    configure(redirect_to_server=False)
    make_user("ada", password=PASSWORD)
    visit = window()
    host = visit.base.rpartition(":")[0]
    page = visit.page
    page.goto(f"{host}:{neighbour}/")

    visit.open("/hub/token")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/hub/token")
    # On purpose, and where the browser sends them before the hub's own.
    page.goto(f"{host}:{neighbour}/")
    page.evaluate(PLANT, [NAMES, ["/hub/token", "/hub/logout", "/hub/api", "/"]])

    visit.open("/hub/token/new")
    page.get_by_label("Note").fill("in spite of the neighbour")
    page.get_by_role("button", name="Request new API token").click()
    page.locator("#secret").wait_for()
    visit.open("/hub/api/docs/")
    reply = page.evaluate(
        """(proof) => fetch("/hub/api/user", {headers: {"X-XSRFToken": proof}})
            .then((reply) => reply.json())""",
        page.locator("#swagger-ui").get_attribute("data-xsrf"),
    )
    assert reply["name"] == "ada"

    visit.open("/hub/logout")
    page.wait_for_url("**/hub/login")
    visit.open("/hub/token")
    page.get_by_role("heading", name="Sign in").wait_for()
    left = {it["name"] for it in page.context.cookies(f"{host}:{neighbour}/")}
    assert set(NAMES) <= left
