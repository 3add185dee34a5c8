"""The comparison of tokens names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "token-comparison.md"
ROW = re.compile(r"^\| (.+?) \| .* \| (yes|no)[^|]* \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_each_row_is_shown_by_a_test() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert len(rows) > 40
    for feature, _, cell in rows:
        named = NAMED.findall(cell)
        assert named, feature
        for file, name in named:
            found = f"def {name}(" in (ROOT / file).read_text()
            assert found, (feature, file, name)
