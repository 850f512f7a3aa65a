"""What is written where: exact in pipes, readable and harmless on terminals, never lost without an error."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from artifactstore.cli.text import for_json_on_terminal, for_terminal, padded, size_text, width
from cli.harness import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program

ESCAPES = "\x1b[31m\x9b31m\x07\x7f\u202e\u2028"


def harmless(text: str) -> bool:
    """Whether a terminal would show each character as itself."""
    return all(character.isprintable() or character in "\n\r" for character in text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


def test_columns_are_counted_as_a_terminal_shows_them() -> None:
    assert width("abc") == 3
    assert width("日本") == 4
    assert width("e\u0301") == 1
    assert padded("日本", 6) == "日本  "
    assert padded("日本", 6, right=True) == "  日本"


def test_escaped_json_has_the_same_meaning() -> None:
    document = {"name": f"a{ESCAPES}b\U000e0001"}
    text = json.dumps(document, ensure_ascii=False, indent=2)
    assert not harmless(text)
    assert harmless(for_json_on_terminal(text))
    assert json.loads(for_json_on_terminal(text)) == document


def test_names_cannot_act_upon_a_terminal() -> None:
    assert harmless(for_terminal(f"a{ESCAPES}\n\udcff"))
    assert for_terminal("résumé 日本") == "résumé 日本"


def test_a_piped_table_is_tab_separated_and_whole(program: Program, pushed: str) -> None:
    (row,) = program.spawn("list").rows
    assert row[:6] == [pushed, "evidence", "ci", "app", "finalized", "raw-evidence"]
    assert len(row) == 10
    assert len(pushed) == 36
    for path, size, media_type, executable, blake3, sha256 in program.spawn("files", pushed).rows:
        assert size.isdecimal()
        assert "/" in media_type
        assert executable == ("yes" if path == "bin/run.sh" else "no")
        assert len(blake3) == len("blake3:") + 64
        assert len(sha256) == len("sha256:") + 64


def test_a_pipe_gets_utf8_whatever_the_locale_is(program: Program, pushed: str) -> None:
    latin = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    answer = program.spawn("files", pushed, environment=latin)
    assert "résultats/données.json" in answer.text


def test_a_terminal_gets_an_aligned_table_with_headings(program: Program, pushed: str) -> None:
    heading, row = program.seen("list").splitlines()
    assert heading.split()[:3] == ["ID", "NAME", "PRODUCER"]
    assert row.startswith(f"{pushed}  evidence  ci        app")
    assert "\t" not in heading + row
    assert heading.index("PRODUCER") == row.index("ci")


def test_a_terminal_gets_the_summary_of_a_push(program: Program, tree: Path) -> None:
    command = ["push", str(tree), "--producer", "ci", "--subject", "app", "--no-progress"]
    first = program.seen(*command)
    facts = dict(line.split(maxsplit=1) for line in first.splitlines())
    assert list(facts) == ["package", "name", "content", "stored", "manifest", "expires"]
    assert facts["content"].startswith("7 files, ")
    assert facts["stored"].startswith("6 new objects, ")  # two logs are the same
    assert facts["manifest"].startswith("blake3:")
    assert "0 new bytes: everything was stored already" in program.seen(*command)
    assert "this package has exactly these files already" in program.seen(*command, "--if-changed")


def test_quiet_means_the_bare_answer_on_a_terminal_too(program: Program, tree: Path) -> None:
    seen = program.seen("push", str(tree), "--producer", "ci", "--subject", "app", "-q")
    assert len(seen.splitlines()) == 1
    assert len(seen.strip()) == 36


def test_what_is_kept_for_ever_never_expires(program: Program, tree: Path) -> None:
    said = ["--producer", "ci", "--subject", "app", "--retention-class", "permanent-record"]
    assert "expires   never" in program.seen("push", str(tree), *said)


def test_hostile_metadata_is_harmless_on_a_terminal(program: Program, tree: Path, tmp_path: Path) -> None:
    document = tmp_path / "metadata.json"
    document.write_text(json.dumps({"note": ESCAPES}))
    said = ["--producer", "ci", "--subject", "app", "--metadata-file", str(document)]
    package = program.call("push", str(tree), *said).text.strip()
    for command in (["show", package], ["show", package, "--json"], ["manifest", package], ["events"]):
        seen = program.seen(*command)
        assert "31m" in seen
        assert harmless(seen), ascii(seen)
    shown = json.loads(program.seen("manifest", package))
    assert shown["package"]["metadata"] == {"note": ESCAPES}


def test_hostile_names_in_a_directory_are_harmless(program: Program, pushed: str, tmp_path: Path) -> None:
    program.call("export", pushed, str(tmp_path / "out"))
    name = os.fsencode(f"x{ESCAPES}\ny\tz").replace(b"z", b"\xff")
    (tmp_path / "out" / os.fsdecode(name)).write_bytes(b"")
    seen = program.seen("check", str(tmp_path / "out"), code=3)
    assert "UNLISTED" in seen
    assert harmless(seen), ascii(seen)
    # In a pipe a finding is still one line of two fields, in JSON it is exact.
    (row,) = program.spawn("check", str(tmp_path / "out"), code=3).rows
    assert row[0] == "UNLISTED"
    assert len(row) == 2
    document = program.spawn("check", str(tmp_path / "out"), "--json", code=3).document
    assert document["unlisted"] == [os.fsdecode(name)]


def test_a_hostile_directory_name_is_harmless_in_errors(program: Program, tmp_path: Path) -> None:
    hostile = tmp_path / f"x{ESCAPES}"
    hostile.mkdir()
    (hostile / "file").write_text("x")
    seen = program.seen("push", str(hostile), "--producer", "ci", "--subject", "app", code=2)
    assert "error: name" in seen
    assert harmless(seen), ascii(seen)
    assert harmless(program.seen("check", str(hostile), code=2))


def test_there_is_no_progress_but_on_a_terminal(program: Program, tree: Path) -> None:
    command = ["push", str(tree), "--producer", "ci", "--subject", "app"]
    assert program.spawn(*command).stderr == ""
    assert "\r1 file  " in program.seen(*command, environment={"CI": "false"})


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["--no-progress"], {}),
        ([], {"CI": "true"}),
        ([], {"ARTIFACTSTORE_NO_PROGRESS": "yes"}),
        (["-q"], {}),
    ],
)
def test_progress_can_be_turned_off(
    program: Program, tree: Path, flags: list[str], environment: dict[str, str]
) -> None:
    seen = program.seen(
        "push", str(tree), "--producer", "ci", "--subject", "app", *flags, environment=environment
    )
    assert "\r" not in seen


def test_progress_is_wiped_out_without_escape_sequences(program: Program, tree: Path) -> None:
    seen = program.seen("push", str(tree), "--producer", "ci", "--subject", "app")
    assert "\x1b" not in seen
    *drawn, answer = seen.split("\r")
    assert drawn[-1].strip() == ""
    assert answer.startswith("package ")


@pytest.mark.parametrize(
    "arguments",
    [["version"], ["--help"], ["events"], ["events", "--json"], ["list"], ["config"], ["version", "--json"]],
    ids=" ".join,
)
def test_an_answer_that_cannot_be_written_is_an_error(
    program: Program, pushed: str, arguments: list[str]
) -> None:
    assert pushed
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            program.command(*arguments),
            env=program.environment(),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", [["events"], ["files"], ["cat"], ["export", "-o", "-"]], ids=" ".join)
def test_a_reader_that_leaves_is_no_error_message(
    program: Program, tmp_path: Path, arguments: list[str]
) -> None:
    evidence = tmp_path / "much"
    evidence.mkdir()
    (evidence / "large").write_bytes(b"x" * (1 << 20))
    for number in range(500):
        (evidence / f"{number:0200}").write_bytes(b"")
    package = program.call("push", str(evidence), "--producer", "ci", "--subject", "app").text.strip()
    command, *flags = arguments
    about = {"events": [], "files": [package], "cat": [package, "large"], "export": [package]}[command]
    with program.started(command, *about, *flags) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(1)) == 1  # there is more than a pipe can hold
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_is_survived(program: Program, pushed: str, stream: int) -> None:
    script = f'exec "$@" {stream}>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *program.command("show", "ffff" if stream == 2 else pushed)],
        env=program.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    if stream == 1:
        assert done.returncode == 1
        assert b"stdout is closed" in done.stderr
    else:
        assert done.returncode == 4
        assert done.stdout == b""


def test_output_is_whole_without_pythons_buffer(program: Program, pushed: str) -> None:
    buffered = program.spawn("events").stdout
    assert program.spawn("events", environment={"PYTHONUNBUFFERED": "1"}).stdout == buffered
    assert pushed.encode() in buffered
