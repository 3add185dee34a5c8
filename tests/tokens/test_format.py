"""The format of generated tokens, and the check before the query."""

from __future__ import annotations

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokens import format

KEY, OLDER, OTHER = b"k" * 32, b"o" * 32, b"x" * 32
TOKEN, PUBLIC_ID = format.generate("hub", [KEY])


@given(st.from_regex(format.PREFIX, fullmatch=True))
def test_minted_tokens_pass_the_gate_and_name_their_public_id(prefix: str) -> None:
    token, public_id = format.generate(prefix, [KEY, OLDER])

    assert format.is_ours(token)
    assert format.is_genuine(token, [KEY, OLDER])
    assert format.public_id(token) == public_id
    assert re.fullmatch(r"[0-9A-Za-z_]+", token)
    assert len(token) <= format.MAX_LENGTH


def test_tokens_are_longer_than_what_jupyterhub_would_look_at() -> None:
    assert len(TOKEN) == 77


@given(st.data())
def test_any_changed_character_is_noticed(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TOKEN) - 1))
    other = data.draw(
        st.sampled_from(format.ALPHABET + "_").filter(lambda c: c != TOKEN[place])
    )
    changed = TOKEN[:place] + other + TOKEN[place + 1 :]

    assert not (format.is_ours(changed) and format.is_genuine(changed, [KEY]))


@given(
    st.text(format.ALPHABET, min_size=12, max_size=12),
    st.text(format.ALPHABET, min_size=54, max_size=54),
)
def test_a_right_crc_does_not_make_a_genuine_token(public_id: str, rest: str) -> None:
    body = f"hub_{public_id}_{rest}"
    forged = body + format._crc(body)

    assert format.is_ours(forged)
    assert not format.is_genuine(forged, [KEY])


@given(st.text(max_size=200))
def test_whatever_is_presented_is_judged_without_failing(text: str) -> None:
    if format.is_ours(text):
        format.is_genuine(text, [KEY])
        format.public_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hub",
        "f" * 32,
        TOKEN + "0",
        TOKEN[:-1],
        TOKEN + "\n",
        TOKEN.replace("_", "-"),
        TOKEN.replace("hub", "HUB"),
        TOKEN.replace("hub", ""),
        "ü" + TOKEN,
    ],
    # The token differs in each process, and the names of tests must not.
    ids=[
        "empty",
        "prefix only",
        "hex",
        "longer",
        "shorter",
        "line end",
        "dashes",
        "capitals",
        "no prefix",
        "unicode",
    ],
)
def test_other_forms_are_not_ours(text: str) -> None:
    assert not format.is_ours(text)


def test_crc_is_the_one_that_everybody_computes() -> None:
    crc = 0
    for character in TOKEN[-format.CRC_LENGTH :]:
        crc = crc * 62 + format.ALPHABET.index(character)

    assert crc == zlib.crc32(TOKEN[: -format.CRC_LENGTH].encode())


def test_all_keys_verify_and_the_first_signs() -> None:
    older, _ = format.generate("hub", [OLDER])

    assert format.is_genuine(older, [KEY, OLDER])
    assert not format.is_genuine(older, [KEY])
    assert not format.is_genuine(TOKEN, [OLDER])


def test_without_keys_the_gate_stands_open() -> None:
    keyless, _ = format.generate("hub", [])

    assert format.is_genuine(keyless, [])
    assert format.is_genuine(TOKEN, [])
    assert not format.is_genuine(keyless, [KEY])


@given(st.text(min_size=1), st.text(min_size=1))
def test_handles_depend_on_secret_and_key(one: str, other: str) -> None:
    handle = format.lookup_key(one, KEY)

    assert handle == format.lookup_key(one, KEY)
    assert handle != format.lookup_key(one, OTHER)
    assert (handle == format.lookup_key(other, KEY)) == (one == other)


def test_handles_are_never_public_ids() -> None:
    assert format.lookup_key("f" * 32, KEY)[0] not in format.ALPHABET
    assert len(format.lookup_key("f" * 32, KEY)) <= 32
