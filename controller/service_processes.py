"""Managed services: programs that the hub runs because the configuration says so.

The leading controller starts the programs and restarts them when they end. They end
with the controller, and the next one starts new processes. Processes that an earlier
controller could not end are found by a variable in their environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from audit.models import Actor
from controller.pids import with_variable
from controller.readiness import status_of
from controller.search_path import with_own_programs
from controller.shutdown import die_with
from database.backoff import Backoff
from oauth.actions import PREFIX, update_clients
from services.models import Service
from tokens.actions.issuing import issue_token
from tokens.actions.revocation import revoke_tokens
from tokens.models import APIToken, CreatedVia
from web.hosts import public_origin, public_url, service_origin, service_path

if TYPE_CHECKING:
    from controller.term import Term

log = structlog.get_logger("hub.services")

BY = Actor.system("controller")
# Note of the token of a program without one of its own; each controller issues a new
# one.
NOTE = "made for the process of this service"
# Marks every process that belongs to a service of this hub.
VARIABLE = "HUB_SERVICE_OF"
# Variables of the controller that programs inherit, as in JupyterHub.
INHERITED = (
    *("PATH", "PYTHONPATH", "CONDA_ROOT", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV"),
    *("LANG", "LC_ALL", "LD_LIBRARY_PATH", "JUPYTERHUB_SINGLEUSER_APP"),
)
# JupyterHub's value for a program without an address: any port of this machine.
NO_ADDRESS = "http://127.0.0.1:0/"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
# Seconds after which a start counts as successful, so the next one needs no delay.
WELL = 60.0
# Seconds from SIGTERM to SIGKILL: less than a controller has to end its term.
GRACE = 4.0
# Seconds between two tries while a service starts.
KNOCK = 0.2


async def run(term: Term) -> None:
    """Run every managed service, and check whether services answer."""
    await asyncio.to_thread(end_leftovers)
    programs = await term.write(provide)
    if programs:
        log.info("Starting services", services=[each.name for each in programs])
    async with asyncio.TaskGroup() as tasks:
        for program in programs:
            tasks.create_task(Runner(term, program).run())
        tasks.create_task(watch_services(term))


@dataclass(frozen=True)
class Program:
    """The command of a managed service; `environment` holds its secret."""

    service_id: int
    name: str
    command: list[str]
    cwd: str | None
    user: str
    environment: dict[str, str]

    def __repr__(self) -> str:
        return f"<Program of service {self.name}>"


# Accounts


def provide() -> list[Program]:
    """Return the programs to run, with tokens valid until the next call."""
    Service.objects.exclude(pid=0).update(pid=0)
    _end_tokens()
    secrets = {name: secret for secret, name in settings.HUB.service_tokens.items()}
    managed = Service.objects.filter(~Q(command=None), from_config=True)
    return [
        Program(
            service_id=service.pk,
            name=service.name,
            command=[str(word) for word in service.command or ()],
            cwd=service.cwd or None,
            user=service.user or "",
            environment=environment(
                service, secrets.get(service.name) or _new(service)
            ),
        )
        for service in managed
        if service.command
    ]


def _end_tokens() -> None:
    """Revoke the tokens of earlier controllers, and mark them for the next purge."""
    issued = APIToken.objects.filter(
        created_via=CreatedVia.SERVICE,
        service__isnull=False,
        revoked_at=None,
    )
    if ids := list(issued.values_list("pk", flat=True)):
        revoke_tokens(issued, by=BY)
        APIToken.objects.filter(pk__in=ids).update(expires_at=timezone.now())


def _new(service: Service) -> str:
    """Issue a token for a service without one; it is the secret of its client, too."""
    token, secret = issue_token(
        service, note=NOTE, via=CreatedVia.SERVICE, by=BY, capped=False
    )
    update_clients([service], {service.name: token}, by=BY)
    return secret


def environment(service: Service, secret: str) -> dict[str, str]:
    """Return the variables for JupyterHub's libraries, and those of the configuration.

    Every variable is compared with those of a recorded JupyterHub
    (`tests/oracle/scenarios/environment.py`).
    """
    hub = settings.HUB
    path, host = _path_of(service), service_origin(service.name)
    access = json.dumps(["access:services", f"access:services!service={service.name}"])
    found = {name: os.environ[name] for name in INHERITED if name in os.environ}
    found["PATH"] = with_own_programs(found.get("PATH", os.defpath))
    found |= {
        "JUPYTERHUB_API_TOKEN": secret,
        "JPY_API_TOKEN": secret,
        "JUPYTERHUB_API_URL": f"{hub.hub_connect_url}{hub.base_url}hub/api",
        "JUPYTERHUB_BASE_URL": hub.base_url,
        "JUPYTERHUB_HOST": public_origin(),
        "JUPYTERHUB_CLIENT_ID": service.oauth_client_id or f"{PREFIX}{service.name}",
        # The address of the service itself, also if people are sent elsewhere.
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{host if path else ''}{path}oauth_callback",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": access,
        "JUPYTERHUB_OAUTH_SCOPES": access,
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": json.dumps(
            service.oauth_client_allowed_scopes or []
        ),
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": str(
            int(hub.cookie_host_prefix_enabled)
        ),
        "JUPYTERHUB_PUBLIC_URL": (f"{host}{path}" if host else public_url(path))
        if path
        else "",
        "JUPYTERHUB_PUBLIC_HUB_URL": public_url(f"{hub.base_url}hub/"),
        "JUPYTERHUB_USER": service.user or "",
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_SERVICE_URL": NO_ADDRESS,
    }
    found |= {key: str(value) for key, value in (service.environment or {}).items()}
    found["JUPYTERHUB_SERVICE_NAME"] = service.name
    if service.url:
        found |= {
            "JUPYTERHUB_SERVICE_URL": service.url,
            "JUPYTERHUB_SERVICE_PREFIX": path,
        }
    return found | _account(service) | {VARIABLE: str(settings.DATA_DIR)}


def _path_of(service: Service) -> str:
    """Return the path of a service in the proxy; empty without a route."""
    return service_path(service.name) if service.url else ""


def _account(service: Service) -> dict[str, str]:
    """Return the variables of the account that a program runs as, if one is named."""
    if not service.user:
        return {}
    found = {"USER": service.user}
    with suppress(KeyError):
        account = pwd.getpwnam(service.user)
        known = {"HOME": account.pw_dir, "SHELL": account.pw_shell}
        found |= {name: value for name, value in known.items() if value}
    return found


# Processes


class Runner:
    """Keeps one program running until it is cancelled."""

    def __init__(self, term: Term, program: Program) -> None:
        self.term, self.program = term, program
        self.backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)

    async def run(self) -> None:
        name = self.program.name
        while True:
            began = time.monotonic()
            try:
                outcome = f"ended with status {await self._run_once()}"
            except (OSError, KeyError, ValueError) as error:
                outcome = f"can't be started: {error}"
            if time.monotonic() - began > WELL:
                self.backoff.reset()
            log.error(
                f"Service {name} {outcome}",
                service=name,
                command=self.program.command,
                next_start=f"in {self.backoff.pause:g} s",
            )
            await self.backoff.sleep()

    async def _run_once(self) -> int:
        program = self.program
        process = await asyncio.create_subprocess_exec(
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            env=program.environment,
            cwd=program.cwd,
            # A process group of its own, so that all its children can be ended with it.
            start_new_session=True,
            preexec_fn=partial(die_with, os.getpid()),
            **_identity(program.user),
        )
        log.info("A service runs", service=program.name, pid=process.pid)
        try:
            await self._note(process.pid)
            return await process.wait()
        finally:
            await end(process)
            with suppress(Exception):
                await self._note(0)

    async def _note(self, pid: int) -> None:
        row = Service.objects.filter(pk=self.program.service_id)
        await self.term.write(row.update, pid=pid)


def _identity(name: str) -> dict[str, Any]:
    """Return the account of a program; without a name that is the hub's account."""
    if not name:
        return {}
    account = pwd.getpwnam(name)
    if account.pw_uid == os.geteuid() != 0:
        return {}
    return {
        "user": account.pw_uid,
        "group": account.pw_gid,
        "extra_groups": os.getgrouplist(name, account.pw_gid),
    }


async def end(process: asyncio.subprocess.Process) -> None:
    """End a program and all its children."""
    try:
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await process.wait()
    finally:
        _signal_group(process.pid, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_leftovers() -> None:
    """End processes of services whose controller was killed."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + patience
        for pid in list(_leftovers()):
            log.warning("Ending a process that a service has left", pid=pid)
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while any(_leftovers()) and time.monotonic() < deadline:
            time.sleep(0.1)


def _leftovers() -> Iterator[int]:
    return with_variable(VARIABLE, str(settings.DATA_DIR))


# Whether services answer


async def watch_services(term: Term) -> None:
    """Report services that do not answer at their address, once, and their return."""
    silent: set[str] = set()
    while True:
        services = await term.ask(_with_address)
        silent &= {name for name, _, _ in services}
        async with asyncio.TaskGroup() as tasks:
            for name, url, seconds in services:
                tasks.create_task(_look(name, url, seconds, silent))
        if not settings.HUB.service_check_interval:
            return
        await asyncio.sleep(settings.HUB.service_check_interval)


def _with_address() -> list[tuple[str, str, int]]:
    rows = Service.objects.values_list("name", "url", "timeout")
    return [(name, url, seconds) for name, url, seconds in rows if url]


async def _look(name: str, url: str, seconds: int, silent: set[str]) -> None:
    if await answers(url, seconds):
        if name in silent:
            silent.remove(name)
            log.info(f"Service {name} answers again", service=name, url=url)
    elif name not in silent:
        silent.add(name)
        log.error(
            f"Service {name} does not answer at {url}", service=name, seconds=seconds
        )


async def answers(url: str, seconds: float) -> bool:
    """Wait for any response at an address."""
    parts = urlsplit(url)
    address = url if parts.path else f"{url}/"
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError, ValueError, EOFError, TimeoutError):
            async with asyncio.timeout(max(seconds, 1.0)):
                await status_of(address)
                return True
        if time.monotonic() + KNOCK > deadline:
            return False
        await asyncio.sleep(KNOCK)
