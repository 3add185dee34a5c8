"""JupyterHub's spawners without a database and without a controller.

These run against every release that is supported; see `test_oldest`.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from traitlets.config import Config

from controller.pids import beginning
from controller.spawners.classes import UnknownSpawner
from controller.spawners.failures import SpawnFailed
from controller.spawners.hosted_spawner import Host, HostedSpawner
from controller.spawners.permissions import why_not_run
from controller.spawners.spawn_context import SpawnContext
from tests.controller.spawners import (
    configuration,
    context,
    environment,
    get,
    run,
    started,
)


@pytest.fixture
def config(tmp_path: Path, settings: Any) -> Config:
    settings.DATA_DIR = tmp_path / "data"
    return configuration(tmp_path)


def spawner(config: Config, *, about: SpawnContext | None = None) -> HostedSpawner:
    return Host(config, "simple").spawner(about or context())


# Start, poll, stop


def test_server_starts_and_stops(config: Config) -> None:
    told: list[tuple[dict[str, Any], str]] = []
    host = Host(config, "simple")

    async def scenario() -> None:
        hosted = host.spawner(context(), lambda *seen: told.append(seen))
        assert await hosted.poll() == 0
        assert hosted.url == "" and hosted.state() == {}

        url = await hosted.start("the-token")
        assert url.startswith("http://127.0.0.1:") and url.endswith("/user/alan/")
        assert (await get(f"{url}api")) == {"version": "stub"}
        assert await hosted.poll() is None
        pid = hosted.state()["pid"]
        assert told[-1] == (hosted.state(), url)

        await hosted.stop()
        assert await hosted.poll() is not None
        assert beginning(pid) is None
        assert hosted.state() == {}

    run(scenario())


def test_numbers_come_from_the_configuration(config: Config) -> None:
    config.SimpleLocalProcessSpawner.start_timeout = 11
    config.Spawner.http_timeout = 12
    config.Spawner.poll_interval = 13

    hosted = spawner(config)

    assert (hosted.start_timeout, hosted.http_timeout) == (11, 12)
    assert (hosted.poll_interval, hosted.poll_jitter) == (13, 0.1)
    assert hosted.consecutive_failure_limit == 0
    assert hosted.will_resume is False


def test_names_that_must_be_quoted(config: Config) -> None:
    hosted = spawner(config, about=context("we ird@x", "lab 1"))

    async def scenario() -> Any:
        async with started(hosted) as url:
            assert url.endswith("/user/we%20ird@x/lab%201/")
            return (await get(f"{url}env"))["env"]

    env = run(scenario())
    assert env["JUPYTERHUB_SERVICE_PREFIX"] == "/user/we%20ird@x/lab%201/"
    assert env["JUPYTERHUB_OAUTH_CALLBACK_URL"].endswith("lab%201/oauth_callback")
    assert env["JUPYTERHUB_ACTIVITY_URL"].endswith("/users/we%20ird@x/activity")
    assert (env["JUPYTERHUB_USER"], env["JUPYTERHUB_SERVER_NAME"]) == (
        "we ird@x",
        "lab 1",
    )
    assert hosted.spawner._progress_url == (
        "/hub/api/users/we%20ird@x/servers/lab%201/progress"
    )


def test_progress_is_sent_during_the_start(config: Config) -> None:
    hosted = spawner(config)

    async def listen() -> list[dict[str, Any]]:
        return [event async for event in hosted.progress()]

    async def scenario() -> list[dict[str, Any]]:
        starting = asyncio.ensure_future(hosted.start("the-token"))
        await asyncio.sleep(0)
        found = await listen()
        await starting
        await hosted.stop(now=True)
        return found

    assert run(scenario()) == [
        {"progress": 0, "message": "Server requested"},
        {"progress": 50, "message": "Spawning server..."},
    ]


def test_late_start_is_given_up(config: Config) -> None:
    config.Spawner.start_timeout = 1
    hosted = spawner(config)

    async def sleep() -> None:
        await asyncio.sleep(30)

    hosted.spawner.start = sleep
    with pytest.raises(SpawnFailed, match="did not start in 1 seconds") as caught:
        run(hosted.start("the-token"))
    assert (caught.value.status, caught.value.reason) == (500, "timeout")


def test_cancelled_start_leaves_nothing(config: Config) -> None:
    hosted = spawner(config, about=context(attempt="0ddba11"))
    start = hosted.spawner.start

    async def start_and_sleep() -> Any:
        await start()
        await asyncio.sleep(30)

    hosted.spawner.start = start_and_sleep

    async def scenario() -> int:
        starting = asyncio.ensure_future(hosted.start("the-token"))
        while not hosted.spawner.pid:
            await asyncio.sleep(0.01)
        pid = int(hosted.spawner.pid)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        await hosted.stop()
        return pid

    assert beginning(run(scenario())) is None


def test_state_is_stored_while_a_start_takes_long(config: Config) -> None:
    """What was started is known before the start returns, which may take minutes."""
    told: list[dict[str, Any]] = []
    hosted = Host(config, "simple").spawner(
        context(), lambda state, url: told.append(state)
    )
    start = hosted.spawner.start

    async def start_and_sleep() -> Any:
        address = await start()
        await asyncio.sleep(0.6)
        return address

    hosted.spawner.start = start_and_sleep

    async def scenario() -> None:
        async with started(hosted):
            assert "pid" in told[0] and len(told) == 2

    run(scenario())


@pytest.mark.parametrize(
    "returned, url",
    [
        (("127.0.0.1", 8123), "http://127.0.0.1:8123/user/alan/"),
        (("::1", "8123"), "http://[::1]:8123/user/alan/"),
        ("http://n1.example:8123", "http://n1.example:8123/user/alan/"),
        ("https://n1.example", "https://n1.example:443/user/alan/"),
        ("http://10.0.0.7:99/elsewhere/", "http://10.0.0.7:99/user/alan/"),
    ],
)
def test_address_in_whatever_form(config: Config, returned: Any, url: str) -> None:
    hosted = spawner(config)

    async def start() -> Any:
        return returned

    hosted.spawner.start = start

    assert run(hosted.start("the-token")) == url == hosted.url


@pytest.mark.parametrize("returned", [None, "nowhere"])
def test_start_without_an_address_fails(config: Config, returned: Any) -> None:
    hosted = spawner(config)

    async def start() -> Any:
        return returned

    hosted.spawner.start = start

    with pytest.raises(SpawnFailed):
        run(hosted.start("the-token"))


def test_batch_job_reports_its_port_while_the_start_waits(config: Config) -> None:
    hosted = spawner(config, about=context(announced_port=None))

    async def start() -> Any:
        hosted.spawner.port = 0
        while hosted.spawner.port == 0:
            await asyncio.sleep(0.01)
        hosted.spawner.db.commit()
        return "n1", hosted.spawner.port

    hosted.spawner.start = start

    async def scenario() -> str:
        starting = asyncio.ensure_future(hosted.start("the-token"))
        await asyncio.sleep(0.05)
        hosted.announce_port(40123)
        return await starting

    assert run(scenario()) == "http://n1:40123/user/alan/"


def test_spawner_that_moves_its_server_has_the_address_stored(config: Config) -> None:
    """KubeSpawner does so in `poll()` when a pod has another address than before."""
    told: list[str] = []
    about = context(url="http://10.0.0.1:8888/user/alan/", state={"pid": os.getpid()})
    hosted = Host(config, "simple").spawner(about, lambda _, url: told.append(url))
    inner = hosted.spawner

    async def poll() -> None:
        inner.server.ip = "10.0.0.2"
        inner.server.port = 9999
        inner.db.commit()

    inner.poll = poll

    assert run(hosted.poll()) is None
    assert told == ["http://10.0.0.2:9999/user/alan/"]
    assert run(hosted.current_url()) == told[0]


def test_question_that_nobody_waits_for_any_more_is_answered(config: Config) -> None:
    config.SlurmSpawner.exec_prefix = ""
    config.SlurmSpawner.batch_query_cmd = "sleep 0.5; echo RUNNING n1"
    hosted = Host(config, "batchspawner.SlurmSpawner").spawner(
        context(getpass.getuser(), state={"job_id": "4711"})
    )

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await hosted.poll()
        assert await hosted.poll() is None
        assert hosted.state()["job_id"] == "4711"

    run(scenario())


def test_token_that_a_container_kept(config: Config) -> None:
    hosted = spawner(config)

    async def start() -> Any:
        hosted.spawner.api_token = "another"
        return "127.0.0.1", 1

    hosted.spawner.start = start
    run(hosted.start("the-token"))

    assert hosted.api_token == "another"


# Adoption


def test_running_server_is_adopted(config: Config) -> None:
    async def scenario() -> None:
        first = spawner(config)
        url = await first.start("the-token")
        await get(f"{url}api")
        about = context(state=first.state(), url=url)
        second = spawner(config, about=about)
        assert second.url == url
        assert await second.poll() is None
        assert await second.current_url() == url
        before = asyncio.get_running_loop().time()
        await second.stop()
        # The first still is its parent and has not collected it: a zombie is no
        # server that one would have to wait for.
        assert asyncio.get_running_loop().time() - before < 3
        assert await second.poll() is not None
        assert first.spawner.proc.wait(60) is not None

    run(scenario())


def test_process_id_that_was_used_again_is_not_the_server(config: Config) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        began = beginning(stranger.pid)
        assert began is not None
        theirs = context(state={"pid": stranger.pid, "pid_started": began - 1})
        ours = context(state={"pid": stranger.pid, "pid_started": began})

        async def scenario() -> None:
            hosted = spawner(config, about=theirs)
            assert await hosted.poll() == 0
            await hosted.stop()
            assert stranger.poll() is None
            assert await spawner(config, about=ours).poll() is None

        run(scenario())
    finally:
        stranger.kill()
        stranger.wait()


def test_state_of_an_older_hub_is_understood(config: Config) -> None:
    """JupyterHub stores the process id alone."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        hosted = spawner(config, about=context(state={"pid": child.pid}))
        assert run(hosted.poll()) is None
        assert hosted.state() == {
            "pid": child.pid,
            "pid_started": beginning(child.pid),
        }
    finally:
        child.kill()
        child.wait()


def test_server_can_be_interrupted_though_the_hub_ignores_that(config: Config) -> None:
    """A shell starts what runs in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        async def scenario() -> float:
            hosted = spawner(config)
            url = await hosted.start("the-token")
            await get(f"{url}api")
            begun = asyncio.get_running_loop().time()
            await hosted.stop()
            return asyncio.get_running_loop().time() - begun

        assert run(scenario()) < 5
    finally:
        signal.signal(signal.SIGINT, before)


# Hooks and options, in JupyterHub's order


def test_hooks_are_called_in_order(config: Config) -> None:
    calls: list[str] = []

    async def auth_state_hook(spawner: Any, state: Any) -> None:
        assert state is None
        calls.append("auth_state")

    async def overrides(spawner: Any) -> dict[str, Any]:
        calls.append("group_overrides")
        return {
            "a": {"groups": ["lab"], "spawner_override": {"environment": {"A": "1"}}},
            "b": {"groups": ["none"], "spawner_override": {"environment": {"B": "1"}}},
        }

    async def apply(spawner: Any, options: dict[str, Any]) -> None:
        calls.append(f"options {options}")
        spawner.environment["SIZE"] = options["size"]

    async def pre_spawn(spawner: Any) -> None:
        calls.append("pre_spawn")
        spawner.environment["GREETING"] = f"Hello {spawner.user.name}"

    async def post_stop(spawner: Any) -> None:
        calls.append("post_stop")

    config.Spawner.auth_state_hook = auth_state_hook
    config.Spawner.group_overrides = overrides
    config.Spawner.apply_user_options = apply
    config.Spawner.pre_spawn_hook = pre_spawn
    config.Spawner.post_stop_hook = post_stop
    config.Spawner.environment = {"CALLED": lambda spawner: spawner.name or "default"}
    about = context(groups=("lab",), user_options={"size": "big"})

    env = run(environment(spawner(config, about=about)))

    assert calls == [
        "auth_state",
        "group_overrides",
        "options {'size': 'big'}",
        "pre_spawn",
        "post_stop",
    ]
    assert (env["A"], env["SIZE"], env["GREETING"]) == ("1", "big", "Hello alan")
    assert env["CALLED"] == "default" and "B" not in env


class Kept:
    """Auth state of one user, as the hub keeps it."""

    def __init__(self, value: dict[str, Any] | None) -> None:
        self.value = value

    async def read(self, user_id: int, name: str) -> dict[str, Any] | None:
        return self.value

    async def save(self, user_id: int, value: dict[str, Any] | None) -> None:
        self.value = value


def test_hooks_get_the_auth_state_of_the_owner(config: Config) -> None:
    async def auth_state_hook(spawner: Any, state: Any) -> None:
        spawner.environment["PROJECT"] = state["project"]

    async def pre_spawn(spawner: Any) -> None:
        state = await spawner.user.get_auth_state()
        spawner.environment["STATE"] = str(state)
        await spawner.user.save_auth_state({"project": "chemistry"})

    config.Spawner.auth_state_hook = auth_state_hook
    config.Spawner.pre_spawn_hook = pre_spawn
    kept = Kept({"project": "physics"})
    hosted = Host(config, "simple").spawner(context(), keeper=kept)

    env = run(environment(hosted))

    assert env["PROJECT"] == "physics"
    assert env["STATE"] == "{'project': 'physics'}"
    assert kept.value == {"project": "chemistry"}


def test_the_form_of_options_may_use_auth_state(config: Config) -> None:
    def auth_state_hook(spawner: Any, state: Any) -> None:
        spawner.projects = state["projects"]

    config.Spawner.auth_state_hook = auth_state_hook
    config.Spawner.options_form = lambda spawner: "<br>".join(spawner.projects)
    hosted = Host(config, "simple").spawner(
        context(), keeper=Kept({"projects": ["physics", "art"]})
    )

    assert run(hosted.options_form()) == "physics<br>art"


def hosting(config: Config, settings: Any, **methods: Any) -> None:
    """Configure an authenticator class of the site's own with some methods."""
    from jupyterhub.auth import Authenticator

    own = type("OwnAuthenticator", (Authenticator,), methods)
    config.JupyterHub.authenticator_class = own
    settings.HUB = replace(settings.HUB, authenticator_class="hosted", raw=config)
    settings.AUTHENTICATOR_ADDRESS = "/nonexistent/authenticator.sock"


def test_hooks_of_the_authenticator_surround_a_start(
    config: Config, settings: Any
) -> None:
    calls: list[str] = []

    async def pre_spawn_start(self: Any, user: Any, spawner: Any) -> None:
        state = await user.get_auth_state()
        assert spawner.authenticator is self
        calls.append(f"pre_spawn_start {user.name} {state}")
        spawner.environment["TOKEN"] = state["token"]

    def post_spawn_stop(self: Any, user: Any, spawner: Any) -> None:
        calls.append(f"post_spawn_stop {user.name}")

    config.Spawner.auth_state_hook = lambda spawner, state: calls.append("auth_state")
    config.Spawner.post_stop_hook = lambda spawner: calls.append("post_stop")
    hosting(
        config,
        settings,
        pre_spawn_start=pre_spawn_start,
        post_spawn_stop=post_spawn_stop,
    )
    hosted = Host(config, "simple").spawner(context(), keeper=Kept({"token": "t"}))

    env = run(environment(hosted))

    assert env["TOKEN"] == "t"
    assert calls == [
        "pre_spawn_start alan {'token': 't'}",
        "auth_state",
        "post_stop",
        "post_spawn_stop alan",
    ]


def test_a_class_without_hooks_around_starts_is_not_loaded(
    config: Config, settings: Any
) -> None:
    def refuse(self: Any, **options: Any) -> None:
        raise AssertionError("an instance was made")

    hosting(config, settings, __init__=refuse)

    run(environment(spawner(config)))


def test_a_failure_of_the_authenticators_hook_is_named(
    config: Config, settings: Any
) -> None:
    def broken(self: Any, user: Any, spawner: Any) -> None:
        raise RuntimeError("the secret is 42")

    hosting(config, settings, pre_spawn_start=broken, post_spawn_stop=broken)

    with pytest.raises(SpawnFailed) as caught:
        run(spawner(config).start("the-token"))

    assert "42" not in caught.value.message
    assert caught.value.detail == (
        "OwnAuthenticator.pre_spawn_start: RuntimeError: the secret is 42"
    )


def test_settings_of_one_server_do_not_reach_the_next(config: Config) -> None:
    def pre_spawn(spawner: Any) -> None:
        spawner.environment[f"OF_{spawner.user.name}"] = "1"

    config.Spawner.pre_spawn_hook = pre_spawn
    config.Spawner.environment = {"ALL": "1"}
    host = Host(config, "simple")

    run(environment(host.spawner(context("ada", attempt="a"))))
    env = run(environment(host.spawner(context("alan", attempt="b"))))

    assert "OF_ada" not in env and env["OF_alan"] == env["ALL"] == "1"
    assert env["HUB_ATTEMPT"] == "b"


def test_failing_post_stop_hook_stops_nothing(config: Config) -> None:
    def post_stop(spawner: Any) -> None:
        raise RuntimeError("no")

    config.Spawner.post_stop_hook = post_stop
    hosted = spawner(config)

    run(environment(hosted))

    assert hosted.state() == {}


def test_limits_and_directories(config: Config) -> None:
    config.Spawner.mem_limit = "1G"
    config.Spawner.cpu_limit = 1.5
    config.Spawner.mem_guarantee = "512M"
    config.Spawner.notebook_dir = "~/work/{username}"
    config.Spawner.default_url = "{base_url}tree"
    config.Spawner.debug = True
    config.Spawner.disable_user_config = True

    env = run(environment(spawner(config)))

    assert (env["MEM_LIMIT"], env["CPU_LIMIT"]) == (str(1 << 30), "1.5")
    assert env["MEM_GUARANTEE"] == str(512 << 20)
    assert env["JUPYTERHUB_ROOT_DIR"] == "~/work/alan"
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/user/alan/tree"
    assert env["JUPYTERHUB_DEBUG"] == env["JUPYTERHUB_DISABLE_USER_CONFIG"] == "1"


def test_scopes_may_be_lists_or_functions(config: Config) -> None:
    async def allowed(spawner: Any) -> list[str]:
        return [f"read:users!user={spawner.user.name}"]

    config.Spawner.server_token_scopes = lambda spawner: ["users:activity!user"]
    config.Spawner.oauth_client_allowed_scopes = allowed
    hosted = spawner(config)

    async def scenario() -> Any:
        requested = await hosted.requested_scopes()
        return requested, await environment(hosted)

    requested, env = run(scenario())
    assert requested.token == ("users:activity!user",)
    assert requested.client == ("read:users!user=alan",)
    assert env["JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES"] == '["read:users!user=alan"]'


def test_roles_of_old_are_refused_in_words(config: Config) -> None:
    config.Spawner.oauth_roles = ["self"]

    with pytest.raises(SpawnFailed, match="oauth_client_allowed_scopes"):
        run(spawner(config).requested_scopes())


def test_ready_hook_may_change_the_last_event(config: Config) -> None:
    async def hook(spawner: Any, event: dict[str, Any]) -> dict[str, Any]:
        return {**event, "html_message": f"Hello {spawner.user.name}"}

    event = {"progress": 100, "ready": True}
    config.Spawner.progress_ready_hook = hook

    assert run(spawner(config).ready_event(event))["html_message"] == "Hello alan"

    config.Spawner.progress_ready_hook = lambda spawner, event: 1 / 0
    assert run(spawner(config).ready_event(event)) == event


# Forms


def test_form_may_be_text_or_function(config: Config) -> None:
    assert run(spawner(config).options_form()) == ""

    config.Spawner.options_form = "<input name=size>"
    assert run(spawner(config).options_form()) == "<input name=size>"

    async def form(spawner: Any) -> str:
        return f"<input name={spawner.user.name}>"

    config.Spawner.options_form = form
    assert run(spawner(config).options_form()) == "<input name=alan>"


def test_form_becomes_options(config: Config) -> None:
    fields = {"size": ["big"], "kinds": ["a", "b"], "gpu": ["on"]}
    hosted = spawner(config)
    assert run(hosted.options_from_form(fields)) == fields

    config.Spawner.options_from_form = "simple"
    assert run(spawner(config).options_from_form(fields)) == {
        "size": "big",
        "kinds": ["a", "b"],
        "gpu": True,
    }

    def own(form: Any, spawner: Any) -> dict[str, Any]:
        return {"for": spawner.user.name, **form}

    config.Spawner.options_from_form = own
    assert run(spawner(config).options_from_form({}))["for"] == "alan"


def test_uploaded_file_survives_storing(config: Config) -> None:
    upload = {"filename": "a.bin", "body": "AP8K", "content_type": "x/y"}

    stored = run(spawner(config).options_from_form({}, {"key": [upload]}))

    assert stored["key_file"][0]["body"] == {
        "__jupyterhub_bytes__": True,
        "data": "AP8K\n",
    }
    again = spawner(config, about=context(user_options=stored))
    assert again.spawner.user_options["key_file"][0]["body"] == b"\x00\xff\n"


def test_form_that_is_refused(config: Config) -> None:
    def refuse(form: Any) -> None:
        raise ValueError("size must be small")

    config.Spawner.options_from_form = refuse

    with pytest.raises(SpawnFailed, match="size must be small") as caught:
        run(spawner(config).options_from_form({"size": ["big"]}))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("options_form", lambda hosted: hosted.options_form()),
        ("options_from_form", lambda hosted: hosted.options_from_form({})),
        ("server_token_scopes", lambda hosted: hosted.requested_scopes()),
        ("oauth_client_allowed_scopes", lambda hosted: hosted.requested_scopes()),
        ("pre_spawn_hook", lambda hosted: hosted.start("the-token")),
        ("auth_state_hook", lambda hosted: hosted.start("the-token")),
        ("apply_user_options", lambda hosted: hosted.start("the-token")),
    ],
)
def test_what_a_function_of_the_site_raises_is_for_operators(
    config: Config, name: str, call: Any
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("the secret is 42")

    setattr(config.Spawner, name, broken)
    with pytest.raises(SpawnFailed) as caught:
        run(call(spawner(config, about=context(user_options={"size": "1"}))))

    failure = caught.value
    told = (str(failure), failure.message, failure.html_message, failure.event)
    assert "42" not in "".join(told)
    # Of this one, JupyterHub's own code makes an `HTTPError` with other words.
    words = f"c.Spawner.{name}: RuntimeError: the secret is 42"
    assert failure.detail == ("" if name == "apply_user_options" else words)


def test_options_that_a_function_refuses_may_say_so_with_markup(config: Config) -> None:
    from tornado.web import HTTPError

    class Full(HTTPError):
        jupyterhub_html_message = "See <a href='/status'>the status</a>."

    def refuse(form: Any) -> None:
        raise Full(503, "no room")

    config.Spawner.options_from_form = refuse
    with pytest.raises(SpawnFailed, match="no room") as caught:
        run(spawner(config).options_from_form({}))

    assert caught.value.status == 503
    assert "status</a>" in caught.value.html_message


def test_dictionary_applies_options(config: Config) -> None:
    config.Spawner.apply_user_options = {"mem": "mem_limit"}
    about = context(user_options={"mem": "2G", "nonsense": "1"})

    env = run(environment(spawner(config, about=about)))

    assert env["MEM_LIMIT"] == str(2 << 30)


# Failures


def failing(config: Config, problem: Exception) -> SpawnFailed:
    def hook(spawner: Any) -> None:
        raise problem

    config.Spawner.pre_spawn_hook = hook
    with pytest.raises(SpawnFailed) as caught:
        run(spawner(config).start("the-token"))
    return caught.value


WORDS = "Unhandled error starting server alan"


def test_unexpected_failure_of_a_hook_hides_its_message(config: Config) -> None:
    failure = failing(config, RuntimeError("the secret is 42"))

    assert (str(failure), failure.status) == (WORDS, 500)
    assert not failure.refused
    for told in (failure.message, failure.html_message, failure.event):
        assert "42" not in told
    assert failure.detail == "c.Spawner.pre_spawn_hook: RuntimeError: the secret is 42"


@pytest.mark.parametrize(
    "problem", [KeyError("42"), TimeoutError("42"), OSError(42, "42"), RuntimeError()]
)
def test_no_kind_of_exception_gives_itself_away(
    config: Config, problem: Exception
) -> None:
    failure = failing(config, problem)

    assert (failure.message, failure.event) == (WORDS, WORDS)
    assert type(problem).__name__ in failure.detail


def test_an_exception_with_the_status_of_a_client_library_is_no_http_error(
    config: Config,
) -> None:
    """Clients of Docker and the like have attributes of the same names."""

    class APIError(Exception):
        status_code = 404
        log_message = message = reason = "no such image at 10.0.0.1 with token 42"

    failure = failing(config, APIError("42"))

    assert (failure.message, failure.status) == (WORDS, 500)
    assert "42" not in failure.event


def test_the_progress_stream_has_the_error_of_the_spawner(
    config: Config,
) -> None:
    """JupyterHub's does; answers and pages keep it to themselves."""
    from jupyterhub.spawner import SimpleLocalProcessSpawner

    class Broken(SimpleLocalProcessSpawner):
        async def start(self) -> Any:
            raise RuntimeError("I don't work!")

    config.JupyterHub.spawner_class = Broken
    with pytest.raises(SpawnFailed) as caught:
        run(spawner(config).start("the-token"))

    assert caught.value.message == WORDS
    assert caught.value.event == "I don't work!"


def test_the_text_of_a_spawner_that_is_late_is_not_for_people(config: Config) -> None:
    from jupyterhub.spawner import SimpleLocalProcessSpawner

    class Late(SimpleLocalProcessSpawner):
        async def start(self) -> Any:
            raise TimeoutError("pod secret-42 did not start")

    config.JupyterHub.spawner_class = Late
    with pytest.raises(SpawnFailed) as caught:
        run(spawner(config).start("the-token"))

    assert caught.value.message == "The server did not start in 60 seconds"
    assert caught.value.reason == "timeout"


def test_http_error_of_a_hook_keeps_its_status(config: Config) -> None:
    from tornado.web import HTTPError

    failure = failing(config, HTTPError(409, "%s is closed", "the lab"))

    assert (str(failure), failure.status) == ("the lab is closed", 409)
    assert failure.refused and not failure.detail
    # As clients of JupyterHub read it.
    assert failure.event == "HTTP 409: Conflict (the lab is closed)"


def test_exception_may_speak_for_itself(config: Config) -> None:
    class Spoken(Exception):
        jupyterhub_message = "Ask Grace."
        jupyterhub_html_message = "Ask <b>Grace</b>."

    failure = failing(config, Spoken("internal"))

    assert (failure.message, failure.event) == ("Ask Grace.", "Ask Grace.")
    assert failure.html_message == "Ask <b>Grace</b>."
    assert not failure.detail


def test_markup_alone_is_said_as_text_too(config: Config) -> None:
    class Spoken(Exception):
        jupyterhub_html_message = "Ask <b>Grace</b> &amp; Ada.<script>alert(1)</script>"

    assert failing(config, Spoken("internal")).message == "Ask Grace & Ada."


def test_spawn_exception_names_its_reason(config: Config) -> None:
    from jupyterhub import spawner as module

    if not hasattr(module, "SpawnException"):
        pytest.skip("This release has no such exception.")
    problem = module.SpawnException(
        "invalid image", reason="image", message_html="<b>no</b>", status_code=422
    )

    failure = failing(config, problem)

    assert (failure.message, failure.status) == ("invalid image", 422)
    assert (failure.reason, failure.html_message) == ("image", "<b>no</b>")


def test_program_that_is_not_there(config: Config) -> None:
    config.Spawner.cmd = ["no-such-program-anywhere"]

    with pytest.raises(SpawnFailed, match="Unhandled error") as failed:
        run(spawner(config).start("the-token"))

    assert "no-such-program-anywhere" in failed.value.detail


def test_account_that_is_not_there(config: Config) -> None:
    hosted = Host(config, "localprocess").spawner(context("no-such-account"))

    with pytest.raises(SpawnFailed, match="has no account no-such-account"):
        run(hosted.start("the-token"))


@pytest.fixture
def for_all() -> Iterator[Path]:
    """A folder that all accounts of the system may enter."""
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def script_in(folder: Path, interpreter: object = "/bin/sh", mode: int = 0o755) -> Path:
    folder.mkdir(exist_ok=True)
    script = folder / "singleuser"
    script.write_text(f"#!{interpreter}\n")
    script.chmod(mode)
    return script


def test_what_an_account_can_not_run_is_named(for_all: Path) -> None:
    own = for_all / "own"
    hidden = script_in(own)
    own.chmod(0o700)
    link = for_all / "link"
    link.symlink_to(hidden)
    reached = script_in(for_all / "open", link)
    closed = script_in(for_all / "closed", mode=0o700)

    assert why_not_run("sh", "/bin", "nobody") == ""
    for script in (hidden, link, reached):
        found = why_not_run(str(script), "", "nobody")
        assert found == f"nobody can't enter {own}, which {script} needs"
        assert why_not_run(str(script), "", "root") == ""
    found = why_not_run("singleuser", str(closed.parent), "nobody")
    assert found == f"nobody can't run {closed}, which {closed} needs"
    assert why_not_run("no-such", str(for_all), "nobody") == ""
    assert why_not_run("sh", "/bin", "no-such-account") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run programs as others")
def test_a_program_that_the_owner_can_not_run_is_named(
    config: Config, for_all: Path
) -> None:
    script = script_in(for_all / "own")
    script.parent.chmod(0o700)
    config.Spawner.cmd = [str(script)]
    hosted = Host(config, "localprocess").spawner(context("daemon"))

    with pytest.raises(SpawnFailed, match="daemon can't enter") as failed:
        run(hosted.start("the-token"))

    assert str(script.parent) in failed.value.message
    assert "c.Spawner.cmd" in failed.value.message


# What spawners see


def test_what_is_not_there_is_named_with_what_is(config: Config) -> None:
    inner = spawner(config).spawner

    with pytest.raises(AttributeError, match=r"`spawner.user.orm_user` is .*groups"):
        _ = inner.user.orm_user
    with pytest.raises(AttributeError, match=r"`spawner.db.query` is .*commit\(\)"):
        inner.db.query(None)
    with pytest.raises(AttributeError, match=r"`spawner.handler.get_argument` is not"):
        inner.handler.get_argument("x")
    with pytest.raises(AttributeError, match=r"`spawner.orm_spawner.user` is not"):
        _ = inner.orm_spawner.user
    with pytest.raises(AttributeError, match=r"`spawner.authenticator.custom` is not"):
        _ = inner.authenticator.custom
    assert not inner.handler
    assert getattr(inner.user, "nothing", None) is None


def test_surface_lists_all_addresses(config: Config) -> None:
    inner = spawner(config).spawner

    for thing in (inner.user, inner.orm_spawner, inner.db, inner.authenticator):
        for name in thing.surface:
            assert hasattr(thing, name.removesuffix("()")), name


def test_user_as_spawners_know_it(config: Config, settings: Any) -> None:
    settings.PUBLIC_URL = "https://hub.example:8443/jupyter"
    settings.HUB = replace(settings.HUB, base_url="/jupyter/")
    user = spawner(
        config, about=context("A@b.c", admin=True, groups=("x",))
    ).spawner.user

    assert (user.id, user.name, user.admin) == (3, "A@b.c", True)
    assert [group.name for group in user.groups] == ["x"]
    assert user.url == user.proxy_spec == "/jupyter/user/A@b.c/"
    assert user.escaped_name == "A@b.c"
    assert user.server_url("l b") == "/jupyter/user/A@b.c/l%20b/"
    assert user.public_url() == "https://hub.example:8443/jupyter/user/A@b.c/"
    assert user.host == "https://hub.example:8443"
    assert user.progress_url() == "/jupyter/hub/api/users/A@b.c/server/progress"
    assert user.json_escaped_name == "A@b.c"
    assert run(user.get_auth_state()) is None


def test_addresses_that_a_server_is_given(config: Config, settings: Any) -> None:
    settings.PUBLIC_URL = "https://hub.example/jupyter"
    settings.HUB = replace(
        settings.HUB,
        base_url="/jupyter/",
        hub_connect_url="http://10.0.0.1:9081",
        tornado_settings={"cookie_options": {"SameSite": "None"}},
    )

    env = run(environment(spawner(config, about=context(name="lab"))))

    assert env["JUPYTERHUB_HOST"] == "https://hub.example"
    assert env["JUPYTERHUB_BASE_URL"] == "/jupyter/"
    assert env["JUPYTERHUB_API_URL"] == "http://10.0.0.1:9081/jupyter/hub/api"
    assert env["JUPYTERHUB_PUBLIC_HUB_URL"] == "https://hub.example/jupyter/hub/"
    assert env["JUPYTERHUB_PUBLIC_URL"] == "https://hub.example/jupyter/user/alan/lab/"
    assert env["JUPYTERHUB_OAUTH_CALLBACK_URL"] == (
        "/jupyter/user/alan/lab/oauth_callback"
    )
    assert env["JUPYTERHUB_COOKIE_OPTIONS"] == '{"SameSite": "None"}'


def test_server_finds_the_hubs_own_programs_behind_those_of_the_operator(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    env = run(environment(spawner(config)))

    programs = str(Path(sys.executable).parent)
    assert env["PATH"] == f"/usr/bin:/bin:{programs}"


def test_class_may_be_given_itself(config: Config) -> None:
    from jupyterhub.spawner import SimpleLocalProcessSpawner

    class Own(SimpleLocalProcessSpawner):
        greeting = "hello"

    config.JupyterHub.spawner_class = Own

    assert Host(config, "whatever.Own").spawner(context()).spawner.greeting == "hello"


def test_spawner_that_cant_be_made(config: Config) -> None:
    """KubeSpawner looks for its cluster at once."""
    config.SimpleLocalProcessSpawner.port = "many"

    with pytest.raises(SpawnFailed, match="Unhandled error") as failed:
        Host(config, "simple").spawner(context())

    assert "the 'port' trait" in failed.value.detail.lower()


@pytest.mark.parametrize(
    "name", ["pathlib.Path", "os.path.join", "jupyterhub.spawner.Nothing"]
)
def test_what_is_no_spawner_is_refused(config: Config, name: str) -> None:
    with pytest.raises(UnknownSpawner):
        Host(config, name)


# Output


def log_of(hosted: HostedSpawner) -> Path:
    assert hosted.process is not None
    return hosted.process.log.path


def test_output_goes_to_a_file_of_the_server(config: Config, settings: Any) -> None:
    config.Spawner.args = ["--log", "-"]
    hosted = spawner(config, about=context("we ird@x", "lab/1"))

    run(environment(hosted))

    path = log_of(hosted)
    assert path == settings.DATA_DIR / "logs/servers/we%20ird%40x@lab%2F1.log"
    assert "/env 200" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700

    run(environment(spawner(config, about=hosted.context)))
    assert "/env 200" in path.with_suffix(".log.1").read_text()


def test_last_words_of_a_server_that_failed(config: Config) -> None:
    config.Spawner.args = ["--exit", "3"]
    hosted = spawner(config)

    async def scenario() -> None:
        await hosted.start("the-token")
        while await hosted.poll() is None:
            await asyncio.sleep(0.05)
        assert await hosted.poll() == 3

    run(scenario())
    assert hosted.last_output == ["Ending at once with status 3"]
    # The next start has not said anything yet.
    assert spawner(config).last_output == []


def test_log_goes_with_the_server(config: Config) -> None:
    hosted = spawner(config)
    run(environment(hosted))
    run(environment(spawner(config)))
    assert log_of(hosted).with_suffix(".log.1").exists()

    run(hosted.delete_forever())

    assert list(log_of(hosted).parent.iterdir()) == []
    assert hosted.last_output == []


def test_log_stays_within_bounds(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.spawners.processes.LOG_LIMIT", 1000)
    config.Spawner.args = ["--log", "-"]
    hosted = spawner(config)

    async def scenario() -> None:
        async with started(hosted) as url:
            for _ in range(60):
                await get(f"{url}api")
            assert log_of(hosted).stat().st_size > 1000
            await hosted.poll()
            assert log_of(hosted).stat().st_size == 0
            await get(f"{url}env")
            assert "/env 200" in log_of(hosted).read_text()
            assert log_of(hosted).with_suffix(".log.1").stat().st_size == 500

    run(scenario())


def test_log_that_cant_be_written_stops_nothing(config: Config, settings: Any) -> None:
    settings.DATA_DIR.mkdir()
    (settings.DATA_DIR / "logs").write_text("not a folder")

    assert run(environment(spawner(config)))["USER"] == "alan"


def test_disk_that_is_full_stops_nothing(config: Config) -> None:
    config.Spawner.args = ["--log", "-"]
    hosted = spawner(config)
    path = log_of(hosted)
    path.parent.mkdir(parents=True)
    process = hosted.process
    assert process is not None
    full = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)
    process.log.begin = lambda: full  # type: ignore[method-assign]

    async def scenario() -> None:
        async with started(hosted) as url:
            # The stub gives up a request of which it can't tell; it goes on.
            with suppress(OSError):
                await get(f"{url}api", 0.5)
            assert await hosted.poll() is None

    run(scenario())
    full.close()


def test_configuration_may_send_output_elsewhere(
    config: Config, tmp_path: Path
) -> None:
    config.Spawner.args = ["--log", "-"]
    with (tmp_path / "own").open("wb") as own:
        config.LocalProcessSpawner.popen_kwargs = {"stdout": own.fileno()}
        hosted = spawner(config)
        run(environment(hosted))

    assert "/env 200" in (tmp_path / "own").read_text()
    assert not log_of(hosted).exists()
