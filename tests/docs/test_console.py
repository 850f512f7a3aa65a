"""The runner of console blocks finds what is wrong with a page; one that finds nothing would be worthless."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from docs.console import Shell, evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from sybil import Example


def finding(transcript: str, folder: Path) -> str | None:
    """What the runner says of a console block."""
    with Shell(folder, {"PATH": "/usr/bin:/bin"}) as shell:
        return evaluate(cast("Example", SimpleNamespace(parsed=transcript, namespace={"shell": shell})))


@pytest.mark.parametrize(
    "transcript",
    [
        "$ echo one; echo two\none\n...\n",
        "$ name=value\n$ cd /\n$ echo $name $PWD\nvalue /\n",
        "$ cat <<END\n> one\n> END\none\n",
        "$ false\n$ echo $?\n1\n",
        "$ test -t 1 && test -t 2 && ! read line\n",
        "$ echo 00000000-0000-7000-8000-000000000000 end\n11111111-1111-7111-8111-111111111111 end\n",
    ],
)
def test_a_true_transcript_passes(transcript: str, tmp_path: Path) -> None:
    assert finding(transcript, tmp_path) is None


@pytest.mark.parametrize(
    ("transcript", "part"),
    [
        ("$ echo one\ntwo\n", "printed:\none"),
        ("$ echo one\n", "printed:\none"),
        ("$ true\none\n", "expected:\none"),
        ("$ false\n", "failed with 1"),
        ("$ false\n$ true\n", "failed with 1"),
        ("$ missing-command\n...not found\n", "failed with 127"),
    ],
)
def test_an_untrue_transcript_is_found(transcript: str, part: str, tmp_path: Path) -> None:
    assert part in (finding(transcript, tmp_path) or "")
