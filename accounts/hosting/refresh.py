"""Refresh of a hosted class's data about a person, while the person is signed in.

The hub calls `refresh_user` at most every `auth_refresh_age` seconds for each person,
and before a start with `refresh_pre_spawn`. The class returns that all is up to date,
an answer as at a sign-in, or that the person must sign in again. In the last case the
session is not ended, but its requests count as anonymous as long as the class returns
that.

The time of the last refresh is a column of the user, which every request reads anyway.
So a request that needs no refresh costs neither a query nor a call. While the host does
not respond, or if the class fails, sessions stay as they are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Any, Final

import structlog
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import MiddlewareNotUsed
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404
from django.utils import timezone

from accounts import auth_state
from accounts.answer_actions import apply_answer, note_refresh
from accounts.answers import Answer
from accounts.hosting import client
from accounts.hosting.description import Description, description, known_description
from accounts.hosting.requests import facts_of, request_facts
from accounts.models import User
from audit.models import Actor
from scopes.refusals import Forbidden, Refusal, Unavailable
from web import outside
from web.outside import release_connection
from web.paths import find_view

logger = structlog.get_logger(__name__)

# What the class itself has returned in an answer.
MODEL: Final = ("name", "admin", "groups", "roles", "auth_state", "user_info")
# Seconds that a request waits for the class, which may ask another site.
PATIENCE: Final = 20.0
# Seconds without another try after the host or the class has failed.
REST: Final = 15.0


class _Rest:
    """Until when no call is made, for the host and for single users."""

    def __init__(self) -> None:
        self.until: dict[int | None, float] = {}

    def begin(self, key: int | None) -> None:
        now = time.monotonic()
        if len(self.until) > 1_000:
            self.until = {k: end for k, end in self.until.items() if end > now}
        self.until[key] = now + REST

    def lasts(self, key: int | None) -> bool:
        return self.until.get(key, 0.0) > time.monotonic()


_rest = _Rest()
# Refreshes that run now, so that requests of one person at once make one call.
_running: dict[int, Future[bool]] = {}
_lock = threading.Lock()


def forget() -> None:
    """Forget earlier failures."""
    _rest.until.clear()


def is_due(user: User, now: datetime, *, reason: str = "") -> bool:
    """Return whether a request of a user has to wait for the class first.

    `reason` is `refresh_pre_spawn` or `refresh_pre_stop` for requests that start or
    stop a server. The function makes no call: as long as this process has no
    description of the class, a refresh is due, and the refresh gets the description.
    """
    if not settings.HUB.is_hosted or _rest.lasts(None) or _rest.lasts(user.pk):
        return False
    facts = known_description()
    if facts is None:
        return True
    if not refreshes(facts):
        return False
    if reason and getattr(facts, reason):
        return True
    last = user.auth_refreshed_at
    return last is None or now - last >= timedelta(seconds=facts.auth_refresh_age)


def refreshes(facts: Description) -> bool:
    """Return whether a class refreshes people at all.

    As in JupyterHub, an age of 0 switches off refreshes before starts, too.
    """
    return "refresh_user" in facts.overrides and facts.auth_refresh_age > 0


def refresh(
    user: User, request: HttpRequest | None = None, *, reason: str = ""
) -> bool:
    """Have the class refresh a user; return whether the person stays signed in.

    Waits for the class, without a lock or a connection. Requests for the same person
    at once wait for one call.
    """
    with _lock:
        running = _running.get(user.pk)
        if running is None:
            mine: Future[bool] = Future()
            _running[user.pk] = mine
    if running is not None:
        release_connection()
        return running.result()
    try:
        is_fresh = _refresh(user, request, reason)
    except BaseException:
        # Nothing is known, so the others go on as well.
        mine.set_result(True)
        raise
    else:
        mine.set_result(is_fresh)
    finally:
        with _lock:
            del _running[user.pk]
    return is_fresh


def _refresh(user: User, request: HttpRequest | None, reason: str) -> bool:
    try:
        facts = description()
        if not is_due(user, timezone.now(), reason=reason):
            return True
        asked: dict[str, Any] = {"user": secret_facts_of(user)}
        if request is not None:
            asked["request"] = request_facts(request)
        found = ask(user, asked)
    except Unavailable:
        _rest.begin(None)
        return True
    if found is None:
        return True
    address = request.META.get("REMOTE_ADDR", "") if request else ""
    return settle(user, found, facts, address=address)


def ask(user: User, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the class returns, or None if the class fails."""
    try:
        found: dict[str, Any] = client.call("refresh_user", asked, patience=PATIENCE)
    except client.ClassFailed:
        logger.error("refresh_user failed; the session goes on", user=user.name)
        _rest.begin(user.pk)
        return None
    return found


def settle(
    user: User, found: dict[str, Any], facts: Description, *, address: str = ""
) -> bool:
    """Store what the class returned; return whether the person stays signed in."""
    if not found["is_fresh"]:
        logger.info("the user has to sign in again", user=user.name)
        return False
    answer = found["answer"]
    if answer is None:
        note_refresh(user)
        return True
    by = Actor("system", "refresh", None, address)
    try:
        reconcile(user, answer)
        apply_answer(Answer.read(answer), by=by, makes_account=False)
    except (Refusal, client.ClassFailed) as problem:
        why = str(problem)
        logger.error("a refresh can't be stored", user=user.name, problem=why)
        _rest.begin(user.pk)
    return True


def reconcile(user: User | None, answer: dict[str, Any]) -> None:
    """Have the class's hook make one auth state of the new and the kept one."""
    if not answer.get("reconciles") or "auth_state" not in answer:
        return
    existing = None if user is None else auth_state.read(user.pk, user.name)
    model = {key: answer[key] for key in MODEL if key in answer}
    answer["auth_state"] = client.call(
        "reconcile_auth_state",
        {"answer": model, "existing": existing, "by": answer.get("by", 0)},
    )


def secret_facts_of(user: User) -> dict[str, Any]:
    """Return what a class may know of an account in calls about it."""
    return {
        **facts_of(user),
        "user_info": user.user_info,
        "auth_state": auth_state.read(user.pk, user.name),
    }


# Requests with tokens


# Most owners of tokens who wait for a refresh in this process; more are left out.
MOST_WAITING: Final = 1_000


class TokenRefresher:
    """Refreshes owners of tokens in the background.

    Calls with a token can't lead anybody to the sign-in page, so as in JupyterHub they
    go on if the owner has to sign in again, unless `auth_refresh_strict` is set. What a
    refresh brings, such as other groups, counts for later calls.
    """

    def __init__(self) -> None:
        self.waiting: SimpleQueue[int] = SimpleQueue()
        self.known: set[int] = set()
        self.stale: set[int] = set()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def note(self, user_id: int, seconds: int | None) -> None:
        """Note a call by a token of a user who was refreshed at this time, if ever.

        Raises `Forbidden` if the owner has to sign in again and the class is strict.
        """
        facts = known_description()
        if facts is not None and not refreshes(facts):
            return
        age = 0.0 if facts is None else facts.auth_refresh_age
        if seconds is not None and time.time() - seconds < age:
            return
        self.begin(user_id)
        if facts is not None and facts.auth_refresh_strict and user_id in self.stale:
            raise Forbidden("The owner of this token has to sign in again.")

    def begin(self, user_id: int) -> None:
        with self.lock:
            if user_id in self.known or len(self.known) >= MOST_WAITING:
                return
            self.known.add(user_id)
            self.waiting.put(user_id)
            if self.thread is None:
                self.thread = threading.Thread(
                    target=self.work, name="refreshes", daemon=True
                )
                self.thread.start()

    def work(self) -> None:
        while True:
            user_id = self.waiting.get()
            try:
                self.refresh(user_id)
            except Exception:
                logger.exception("a refresh failed")
            finally:
                connection.close()
                with self.lock:
                    self.known.discard(user_id)

    def refresh(self, user_id: int) -> None:
        user = User.objects.filter(pk=user_id, is_active=True).first()
        if user is None or not is_due(user, timezone.now()):
            return
        if refresh(user):
            self.stale.discard(user_id)
        elif len(self.stale) < 100_000:
            self.stale.add(user_id)


token_refresher = TokenRefresher()

# The name of the fact of a token's owner: seconds since 1970 of the last refresh.
REFRESHED: Final = "auth_refreshed"


def facts_of_owner(kind: str, vendor: str) -> dict[str, str]:
    """Return the column that verifications of tokens read for this module."""
    if kind != "user":
        return {}
    column = "u.auth_refreshed_at"
    if vendor == "postgresql":
        seconds = f"floor(extract(epoch FROM {column}))::bigint"
    else:
        seconds = f"CAST((julianday({column}) - 2440587.5) * 86400 AS integer)"
    return {REFRESHED: f"CAST({seconds} AS text)"}


def note_token(owner_kind: str, owner_id: int, facts: dict[str, Any]) -> None:
    """Note a call by a token; `facts` are those of its verification."""
    if owner_kind == "user" and REFRESHED in facts:
        seconds = facts[REFRESHED]
        token_refresher.note(owner_id, int(seconds) if seconds else None)


# Views whose requests start or stop a server

MARK: Final = "refreshes_before"
START, STOP = "refresh_pre_spawn", "refresh_pre_stop"


def refreshes_before(view: Callable[..., Any], **reasons: str) -> Any:
    """Mark a view whose requests need a refresh: a reason for each method."""
    setattr(view, MARK, reasons)
    return view


def reason_of(request: HttpRequest, user: User) -> str:
    """Return why a request needs a refresh of the person who asks, or "".

    A start for somebody else is no reason to refresh the one who asks.
    """
    try:
        match = find_view(request.path_info)
    except Resolver404:
        return ""
    reasons: dict[str, str] = getattr(match.func, MARK, {})
    reason = reasons.get(request.method or "", "")
    owner = match.kwargs.get("owner") or match.kwargs.get("name") or user.name
    return reason if owner == user.name else ""


class RefreshMiddleware:
    """Refreshes people whose refresh is due, before the view.

    A request that has to wait for the class is moved to the pool for that, so it is
    begun twice and waits in a thread of its own. A person who has to sign in again is
    anonymous for the request; the session stays, because the class may change its mind.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not settings.HUB.is_hosted:
            raise MiddlewareNotUsed
        self.get_response = get_response
        # People whose sign-in is not valid any more can still sign out.
        self.signs_out = f"{settings.HUB_PREFIX}logout"

    def __call__(self, request: Any) -> HttpResponse:
        if settings.SESSION_COOKIE_NAME not in request.COOKIES or (
            request.path_info == self.signs_out
        ):
            return self.get_response(request)
        user = request.user
        if not user.is_authenticated:
            return self.get_response(request)
        reason = reason_of(request, user)
        if is_due(user, timezone.now(), reason=reason):
            if outside.can_move(request):
                return outside.Move()
            is_fresh = refresh(user, request, reason=reason)
            request.user = get_user(request) if is_fresh else AnonymousUser()
        return self.get_response(request)
