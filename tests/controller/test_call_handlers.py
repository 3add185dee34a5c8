"""The controller's responses to calls of web processes."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from django.utils import timezone

from accounts.actions import delete_user
from audit.models import Actor
from controller.pids import beginning
from database.notifications import announce
from servers.actions import stop_server
from servers.controller_calls import abandoned, ask
from servers.models import Inquiry
from servers.named_server_actions import delete_server
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


def test_poll_distinguishes_running_and_ended_servers(site: Site):
    site.controller()
    site.start()
    row = site.settled()

    assert ask("poll", server_id=row.pk) == {"alive": True}

    os.kill(row.state["pid"], signal.SIGKILL)
    until(lambda: beginning(row.state["pid"]) is None)
    began = time.monotonic()
    assert ask("poll", server_id=row.pk) == {"alive": False}

    # Not at its next poll, half a minute later; and settled by now.
    assert time.monotonic() - began < 3
    assert not site.row().ready and site.row().pending is None
    assert ask("poll", server_id=row.pk) == {"alive": False}


SLOW_TO_LOOK = """
import asyncio
from jupyterhub.spawner import SimpleLocalProcessSpawner

class Slow(SimpleLocalProcessSpawner):
    async def poll(self):
        status = await super().poll()
        await asyncio.sleep(1)
        return status

c.JupyterHub.spawner_class = Slow
"""


def test_poll_begins_after_it_was_asked_for(site: Site):
    site.configure(lines=SLOW_TO_LOOK)
    site.controller()
    site.start()
    row = site.settled()
    before = Inquiry.objects.create(kind="poll", payload={"server_id": row.pk})
    announce()
    time.sleep(0.5)

    os.kill(row.state["pid"], signal.SIGKILL)

    assert ask("poll", server_id=row.pk) == {"alive": False}
    before.refresh_from_db()
    assert before.answer == {"alive": True}


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

    assert answer["status"] == 500
    # The text of an unexpected exception is for the log.
    assert "no licence" not in answer["error"]
    assert "no licence" in controller.log.read_text("utf-8")
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


SLOW_TO_FORGET = """
import asyncio
from pathlib import Path
from jupyterhub.spawner import SimpleLocalProcessSpawner

def note(word):
    with Path({place!r}).open("a") as file:
        print(word, file=file)

class Slow(SimpleLocalProcessSpawner):
    async def start(self):
        note("start")
        return await super().start()

    async def delete_forever(self):
        note("forgetting")
        await asyncio.sleep(1)
        note("forgotten")

c.JupyterHub.spawner_class = Slow
"""


def test_what_is_to_be_forgotten_is_before_its_name_is_used_again(
    site: Site, tmp_path: Path
):
    place = tmp_path / "acts"
    site.configure(lines=SLOW_TO_FORGET.format(place=str(place)))
    site.controller()
    site.start(name="lab")
    site.settled(name="lab")
    site.stop(name="lab")
    site.settled(name="lab")

    delete_server(site.user("alan"), "lab", by=Actor("user", "alan"))
    site.start(name="lab")

    assert site.settled(name="lab").ready
    acts = place.read_text().split()
    assert acts == ["start", "forgetting", "forgotten", "start"]


def test_what_is_to_be_forgotten_is_so_however_late(site: Site, tmp_path: Path):
    place = tmp_path / "forgotten"
    site.configure(lines=FORGETFUL.format(place=str(place)))
    asked = {"server_id": 1, "user_id": 1, "owner": "alan", "server_name": "lab"}
    long_ago = timezone.now() - timedelta(days=1)
    Inquiry.objects.create(
        kind="forget", payload={**asked, "state": {}}, asked_at=long_ago
    )
    Inquiry.objects.create(kind="poll", payload={"server_id": 1}, asked_at=long_ago)

    abandoned(timezone.now()).delete()

    assert Inquiry.objects.get().kind == "forget"
    site.controller()
    assert until(lambda: place.exists() and place.read_text()) == "alan/lab"
    until(lambda: not Inquiry.objects.filter(answered_at=None).exists())
    abandoned(timezone.now()).delete()
    assert not Inquiry.objects.exists()
