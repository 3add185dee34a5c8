"""The plug-ins for scanners of secrets find the tokens that the hub makes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hubsite.settings import BASE_DIR
from tokens import format

PLUGIN = BASE_DIR / "integrations" / "detect_secrets_hub.py"
GITLEAKS = BASE_DIR / "integrations" / "gitleaks.toml"


def made(prefix: str = "hub") -> str:
    return format.generate(prefix, [b"of no hub"])[0]


def damaged(token: str) -> str:
    return token[:-1] + ("0" if token[-1] != "0" else "1")


def test_detect_secrets_finds_tokens_and_no_damaged_ones(tmp_path: Path) -> None:
    tokens = [made() for _ in range(20)] + [made("a"), made("lab2026x0123abcd")]
    lines = [f'value_{number} = "{token}"' for number, token in enumerate(tokens)]
    wrong = [
        f'bad_{number} = "{damaged(token)}"' for number, token in enumerate(tokens)
    ]
    wrong += [f"x{made()}y", f"{made()}0", f"hub_{'0' * 12}_{'0' * 60}"]
    (tmp_path / "right.py").write_text("\n".join(lines))
    (tmp_path / "wrong.py").write_text("\n".join(wrong))

    done = subprocess.run(
        [sys.executable, "-m", "detect_secrets", "scan", "-p", PLUGIN, "--all-files"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    results = json.loads(done.stdout)["results"]
    ours = {
        name: [each for each in found if each["type"] == "Hub API token"]
        for name, found in results.items()
    }
    assert [each["line_number"] for each in ours["right.py"]] == list(
        range(1, len(tokens) + 1)
    )
    assert all(each["is_verified"] for each in ours["right.py"])
    assert not ours.get("wrong.py")
    assert not any(token in done.stdout for token in tokens)


def test_the_plugin_and_the_hub_have_the_same_format() -> None:
    text = PLUGIN.read_text("utf-8")
    plain = "".join(re.findall(r'^ +r"(.*)"$', text, re.MULTILINE))

    assert plain == rf"(?<![0-9A-Za-z_]){format.FORM.pattern}(?![0-9A-Za-z_])"


@pytest.fixture
def rule() -> dict[str, object]:
    (found,) = tomllib.loads(GITLEAKS.read_text("utf-8"))["rules"]
    return found


def test_the_rule_for_gitleaks_has_the_format_of_the_hub(rule: dict[str, str]) -> None:
    form = format.FORM.pattern.replace(format.PREFIX.pattern, "hub")

    assert rule["regex"] == rf"\b({form})\b"
    # RE2, which gitleaks uses, has no lookarounds and no backreferences.
    assert "(?" not in rule["regex"]


def test_the_rule_for_gitleaks_finds_each_token(rule: dict[str, str]) -> None:
    pattern = re.compile(rule["regex"])
    for _ in range(200):
        token = made()
        for text in (
            token,
            f'"{token}"',
            f"x={token};",
            f"Authorization: token {token}",
        ):
            assert [match[1] for match in pattern.finditer(text)] == [token]
            assert any(word in text for word in rule["keywords"])
    assert not pattern.search(f"{made()}0")
