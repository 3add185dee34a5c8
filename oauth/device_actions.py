"""Actions on the requests of devices: ask, approve, deny, poll, redeem and sweep."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Least
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from accounts.attempts import network_of
from accounts.models import User
from audit.actions import record
from audit.models import Actor
from database.batches import ROWS
from database.locks import delete_all, keep
from oauth.models import DEVICE_LENGTH, DeviceRequest
from scopes.refusals import Busy, NotFound
from tokens import keys, policy
from tokens.actions.issuing import issue_token
from tokens.actions.values import check_expires_in, check_token_scopes
from tokens.models import APIToken, CreatedVia

# Seconds in which a person has to decide.
SECONDS: Final = 600
# Seconds between two questions of a program, and the most that they grow to.
INTERVAL: Final = 5
LONGEST_INTERVAL: Final = 60
# Clocks and networks are not exact, so a question may come a little earlier.
EARLY: Final = timedelta(seconds=1)
# RFC 8628, 6.1: consonants only, so that no code is a word; about 34 random bits.
LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
LENGTH: Final = 8
# Undecided requests of one network, such as all notebooks of a cluster, and of all.
MOST_OF_A_NETWORK: Final = 200
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Codes:
    """The two secrets of a new request."""

    device_code: str
    user_code: str


@sensitive_variables()
def ask(
    *,
    program: str,
    device: str = "",
    scopes: Iterable[str] = (),
    address: str = "",
    now: datetime | None = None,
) -> Codes:
    """Store a program's request and return its codes, which exist nowhere else."""
    now = now or timezone.now()
    network = network_of(address)
    undecided = DeviceRequest.objects.undecided(now)
    if (
        undecided.filter(network=network).count() >= MOST_OF_A_NETWORK
        or undecided.count() >= MOST
    ):
        raise Busy("Too many programs wait for a decision; try again later.", SECONDS)
    fields = {
        "program": program,
        "device": device[:DEVICE_LENGTH],
        "asked": list(scopes),
        "address": address,
        "network": network,
        "created": now,
        "expires_at": now + timedelta(seconds=SECONDS),
        "interval": INTERVAL,
    }
    while True:
        codes = Codes(secrets.token_urlsafe(32), new_user_code())
        try:
            with transaction.atomic():
                DeviceRequest.objects.create(
                    handle=handle(codes.device_code),
                    user_handle=user_handle(codes.user_code),
                    **fields,
                )
        except IntegrityError:
            # Somebody else has this user code at the moment.
            continue
        return codes


def new_user_code() -> str:
    """Return a user code in the form in which people read it."""
    letters = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def find_undecided(user_code: str, now: datetime) -> DeviceRequest | None:
    """Return the request with this user code, if it waits for a decision."""
    undecided = DeviceRequest.objects.undecided(now)
    return undecided.filter(user_handle=user_handle(user_code)).first()


@transaction.atomic
def approve(
    request: DeviceRequest,
    user: User,
    *,
    scopes: list[str],
    lifetime: int | None,
    by: Actor,
    now: datetime | None = None,
) -> None:
    """Approve a request for a token of `user` with these scopes and seconds of life."""
    now = now or timezone.now()
    scopes = check_token_scopes(user, scopes)
    check_expires_in(lifetime)
    check_policy(request, user, scopes, lifetime)
    keep(User, user.pk)
    undecided = DeviceRequest.objects.undecided(now).filter(pk=request.pk)
    if not undecided.update(
        user=user, scopes=scopes, lifetime=lifetime, approved_at=now
    ):
        raise NotFound("This request has been decided already, or has expired.")
    record(
        by,
        "device.approve",
        "user",
        user.name,
        program=request.program,
        device=request.device,
        address=request.address,
        scopes=scopes,
    )


def check_policy(
    request: DeviceRequest, user: User, scopes: list[str], lifetime: int | None
) -> None:
    """Refuse now what the policy for the user would refuse when the token is issued."""
    rules = policy.policy_for(user)
    if rules:
        policy.check_note(rules, note_of(request))
        policy.check_ceiling(rules, user, scopes)
        usual = check_expires_in(lifetime)
        if lifetime is None:
            usual = policy.usual_expiry(rules, usual)
        policy.check_expiry(rules, usual)
        policy.check_approval(rules, user, scopes)


@transaction.atomic
def deny(request: DeviceRequest, *, by: Actor, now: datetime | None = None) -> None:
    """Deny a request, for good."""
    now = now or timezone.now()
    undecided = DeviceRequest.objects.undecided(now).filter(pk=request.pk)
    if not undecided.update(denied_at=now):
        raise NotFound("This request has been decided already, or has expired.")
    record(
        by,
        "device.deny",
        "user",
        by.name,
        program=request.program,
        device=request.device,
        address=request.address,
    )


def find_by_device_code(device_code: str, program: str) -> DeviceRequest | None:
    """Return the request of a program, in any state."""
    found = DeviceRequest.objects.filter(handle=handle(device_code), program=program)
    return found.select_related("user").first()


def note_poll(request: DeviceRequest, now: datetime) -> bool:
    """Note that a program asks; return False if it asks too often.

    Its interval grows then, as RFC 8628 requires. One statement decides, so that two
    processes at once count both questions.
    """
    mine = DeviceRequest.objects.filter(pk=request.pk)
    before = now - timedelta(seconds=request.interval) + EARLY
    if mine.filter(Q(polled_at=None) | Q(polled_at__lte=before)).update(polled_at=now):
        return True
    longer = Least(F("interval") + 5, LONGEST_INTERVAL)
    mine.update(polled_at=now, interval=longer)
    return False


@transaction.atomic
@sensitive_variables("secret")
def redeem(request: DeviceRequest, *, by: Actor) -> tuple[APIToken, str]:
    """Exchange an approved request for its token, once; return both with the secret.

    The scopes and the limits are checked again, because they may have changed since the
    person agreed.
    """
    user = request.user
    if user is None or not user.is_active:
        raise NotFound("The account has been deactivated.")
    # The token has a foreign key to the user.
    keep(User, user.pk)
    deleted, _ = DeviceRequest.objects.filter(
        pk=request.pk, approved_at__isnull=False
    ).delete()
    if not deleted:
        # Another request fetched the token after the check.
        raise NotFound("This code was used already.")
    return issue_token(
        user,
        by=by,
        scopes=request.scopes,
        note=note_of(request),
        expires_in=request.lifetime,
        via=CreatedVia.DEVICE,
    )


def note_of(request: DeviceRequest) -> str:
    """Return the note of the token, with which its owner recognises it."""
    return (
        f"{request.program} on {request.device}"
        if request.device
        else (request.program)
    )


@transaction.atomic
def sweep(now: datetime) -> int:
    """Delete a batch of outdated requests; return the number."""
    outdated = DeviceRequest.objects.outdated(now).order_by("pk")
    first = list(outdated.values_list("pk", flat=True)[:ROWS])
    return delete_all(DeviceRequest.objects.filter(pk__in=first)) if first else 0


def handle(device_code: str) -> str:
    key = keys.derived("device code")
    return hmac.digest(key, device_code.encode(), "sha256").hex()


def user_handle(user_code: str) -> str:
    """Return the keyed hash of a user code, however a person has typed it."""
    key = keys.derived("user code")
    return hmac.digest(key, letters_of(user_code).encode(), "sha256").hex()


def letters_of(user_code: str) -> str:
    """Return the letters of a user code, without the signs that people put between."""
    return re.sub(r"[^A-Z]", "", user_code[:100].upper())
