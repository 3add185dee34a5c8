"""The controller answers what web processes ask."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from accounts.actions import delete_user
from audit.models import Actor
from servers.actions import stop_server
from servers.inquiries import ask
from tests.controller.site import Site, until

FORM = """
c.Spawner.options_form = "<label>Size <input name='size'></label>"

def read(data):
    size = int(data["size"][0])
    if size > 9:
        raise ValueError("too big")
    return {"size": size}

c.Spawner.options_from_form = read
"""


def test_poll_tells_the_living_from_the_dead(site: Site):
    site.controller()
    site.start()
    row = site.settled()

    assert ask("poll", server_id=row.pk) == {"alive": True}

    os.kill(row.state["pid"], signal.SIGKILL)
    began = time.monotonic()
    assert ask("poll", server_id=row.pk) == {"alive": False}

    # Not at its next poll, half a minute later; and settled by now.
    assert time.monotonic() - began < 3
    assert not site.row().ready and site.row().pending is None
    assert ask("poll", server_id=row.pk) == {"alive": False}


def test_form_of_options(site: Site):
    site.configure(lines=FORM)
    site.user("alan")
    site.controller()

    form = ask("options_form", 15, owner="alan", server_name="")
    options = ask(
        *("options_from_form", 15),
        owner="alan",
        server_name="lab",
        fields={"size": ["3"]},
        files={},
    )
    refused = ask(
        *("options_from_form", 15),
        owner="alan",
        server_name="lab",
        fields={"size": ["30"]},
        files={},
    )

    assert "name='size'" in form["form"]
    assert options == {"options": {"size": 3}}
    assert refused["status"] == 400 and "too big" in refused["error"]


def test_question_that_makes_no_sense_is_answered(site: Site):
    site.controller()

    assert ask("options_form", owner="nobody", server_name="")["status"] == 500
    assert ask("weather")["status"] == 500


FORGETFUL = """
from pathlib import Path
from jupyterhub.spawner import SimpleLocalProcessSpawner

class Forgetful(SimpleLocalProcessSpawner):
    async def delete_forever(self):
        Path({place!r}).write_text(f"{{self.user.name}}/{{self.name}}")

c.JupyterHub.spawner_class = Forgetful
"""


def test_spawner_forgets_a_server_whose_user_is_gone(site: Site, tmp_path: Path):
    place = tmp_path / "forgotten"
    site.configure(lines=FORGETFUL.format(place=str(place)))
    site.controller()
    site.start()
    site.settled()
    row = site.row()
    stop_server(row.user, "", by=Actor("user", "alan"))
    site.settled()

    delete_user(row.user, by=Actor("user", "ada"))

    assert until(lambda: place.exists() and place.read_text()) == "alan/"


def test_a_class_that_cannot_be_loaded_ends_no_term(site: Site):
    (site.folder / "brokenspawner.py").write_text("raise RuntimeError('no licence')")
    site.configure(lines="c.JupyterHub.spawner_class = 'brokenspawner.Spawner'")
    site.user("alan")
    controller = site.controller(PYTHONPATH=str(site.folder))

    answer = ask("options_form", 15, owner="alan", server_name="")

    assert answer["status"] == 500 and "no licence" in answer["error"]
    assert not controller.says("Not leading")


UNSTORABLE = r"""
c.Spawner.options_form = "<label>\0 \udcff <input name='size'></label>"
"""


def test_forms_that_no_database_holds_are_mended(site: Site):
    site.configure(lines=UNSTORABLE)
    site.user("alan")
    controller = site.controller()

    form = ask("options_form", 15, owner="alan", server_name="")

    assert form == {"form": "<label>\ufffd ? <input name='size'></label>"}
    assert not controller.says("Not leading")
