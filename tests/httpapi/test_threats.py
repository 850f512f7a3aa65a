"""The page about threats names tests, and they are there; what it says of answers that no request shows."""

from __future__ import annotations

import re

import pytest
from docs.pages import PROJECT

from artifactstore.httpapi.answers import Answer, disposition, head_bytes

PAGE = PROJECT / "docs/explanation/threats.md"


def test_each_row_names_tests_that_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = ("", "abuse", "cli", "client", "httpapi", "interop", "s3", "store")
    folders = [PROJECT / "tests" / name for name in names]
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"^def (test_\w+)\(", source, re.MULTILINE)}
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) >= 36
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= there, row


@pytest.mark.parametrize("mark", ["\r", "\n", "\0"])
def test_a_field_with_a_line_break_is_never_sent(mark: str) -> None:
    answer = Answer(200, b"", "text/plain", {"X-A": f"a{mark}X-B: b"})
    with pytest.raises(ValueError, match="line break"):
        head_bytes(answer, persistent=True, size=0, chunked=False)
    assert mark not in disposition(f"a{mark}b", inline=False)
