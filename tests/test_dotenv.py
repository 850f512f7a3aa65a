"""The `.env` reader: what it takes, what it refuses, and that nothing slips through a value."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artifactstore.dotenv import MAX_FILE_SIZE, Assignment, parse_env, read_env_file
from artifactstore.errors import SettingsError

PREFIXES = ("OWN_",)
PIECES = [
    "OWN_A",
    "OTHER",
    "=",
    '"',
    "'",
    "\\",
    "#",
    " ",
    "\t",
    "\n",
    "\r",
    "export ",
    "\x00",
    "\u2028",
    "n",
    "é",
]
printable_text = st.text(st.characters(exclude_categories=("Cs", "Cc")))


def values(text: str) -> dict[str, str]:
    return {name: each.value for name, each in parse_env(text, "f", PREFIXES).items()}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("OWN_A=x", "x"),
        ("export OWN_A=x", "x"),
        ("export\tOWN_A=x", "x"),
        ("  OWN_A = x  ", "x"),
        ("OWN_A=", ""),
        ("OWN_A= # comment", ""),
        ("OWN_A=#x", "#x"),
        ("OWN_A=a#b # c # d", "a#b"),
        ("OWN_A=two words", "two words"),
        ("OWN_A=a=b", "a=b"),
        ('OWN_A=it\'s "so" \\n', 'it\'s "so" \\n'),
        ("OWN_A=${HOME}/$(x)", "${HOME}/$(x)"),
        ("OWN_A='${HOME} \\n \"'", '${HOME} \\n "'),
        ("OWN_A='a # b' # c", "a # b"),
        ("OWN_A=''", ""),
        ('OWN_A=" a # b " # c', " a # b "),
        ('OWN_A="\\n\\t\\"\\\\n"', '\n\t"\\n'),
        ("OWN_A=x\r", "x"),
        ("OWN_A=a\u2028b", "a\u2028b"),
    ],
)
def test_values(line: str, value: str) -> None:
    assert values(line) == {"OWN_A": value}


def test_lines_are_counted_and_the_last_of_a_name_holds() -> None:
    text = "# first\r\n\r\n  # indented\nOWN_A=1\nOTHER=x\nOWN_B=2\nOWN_A=3\n"
    assert parse_env(text, "f", PREFIXES) == {"OWN_A": Assignment("3", 7), "OWN_B": Assignment("2", 6)}


@pytest.mark.parametrize(
    "line",
    [
        "OWN_A",
        "export",
        "=secret",
        "OWN-A=secret",
        "1OWN=secret",
        "set OWN_A=secret",
        'OWN_A="secret',
        'OWN_A="secret\\"',
        'OWN_A="secret"x',
        'OWN_A="secret"#x',
        "OWN_A='secret",
        "OWN_A='secret' 'x'",
        'OWN_A="secret\\q"',
        "OWN_A=secret\x00",
        "OWN_A=secret\x1b[0m",
        "OWN_A=se\rcret",
        'OTHER="secret',
    ],
)
def test_malformed_lines_are_refused_without_their_value(line: str) -> None:
    with pytest.raises(SettingsError, match=r"^my\.env line 2: ") as caught:
        parse_env(f"OWN_Z=1\n{line}\nOWN_Y=2\n", "my.env", PREFIXES)
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"
    assert caught.value.__suppress_context__


def test_values_of_other_programs_are_not_judged() -> None:
    assert values('OTHER="C:\\q"\nOTHER=\'x\'\nOTHER=$(date) "\nOWN_A=1') == {"OWN_A": "1"}


def test_no_assignment_hides_in_a_value_of_several_lines() -> None:
    with pytest.raises(SettingsError, match="line 1: the closing quote is missing"):
        parse_env('OTHER="begin\nOWN_A=smuggled\nend"\n', "f", PREFIXES)


def reference_double_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


@given(st.text(st.one_of(st.characters(exclude_categories=("Cs", "Cc")), st.sampled_from('\n\t"\\#'))))
@example("\\n")
@example("\\")
def test_round_trip_between_double_quotes(value: str) -> None:
    assert values(f"OWN_A={reference_double_quote(value)} # comment") == {"OWN_A": value}


@given(printable_text.filter(lambda text: "'" not in text))
def test_round_trip_between_single_quotes(value: str) -> None:
    assert values(f"export OWN_A='{value}'") == {"OWN_A": value}


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_wild_text_gives_values_or_a_settings_error(text: str) -> None:
    try:
        found = parse_env(text, "f", PREFIXES)
    except SettingsError:
        return
    lines = text.split("\n")
    for name, assignment in found.items():
        assert name.startswith(PREFIXES)
        assert name in lines[assignment.line - 1]
        assert "\n" not in assignment.value or "\\n" in lines[assignment.line - 1]


@given(st.binary())
def test_wild_bytes_give_values_or_a_settings_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ".env")
        path.write_bytes(data)
        with contextlib.suppress(SettingsError):
            read_env_file(path, PREFIXES)


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes("\ufeffOWN_A=é\n".encode())
    assert read_env_file(path, PREFIXES) == {"OWN_A": Assignment("é", 1)}


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\nOWN_A=\xff\n")
    with pytest.raises(SettingsError, match=r"line 2: not valid UTF-8"):
        read_env_file(path, PREFIXES)


def test_the_size_is_limited(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"OWN_A=".ljust(MAX_FILE_SIZE, b"x"))
    assert len(read_env_file(path, PREFIXES)["OWN_A"].value) == MAX_FILE_SIZE - len("OWN_A=")
    path.write_bytes(b"OWN_A=".ljust(MAX_FILE_SIZE + 1, b"x"))
    with pytest.raises(SettingsError, match="larger than 65536 bytes"):
        read_env_file(path, PREFIXES)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, Path("/dev/null")):
        with pytest.raises(SettingsError, match="not a regular file"):
            read_env_file(path, PREFIXES)
    with pytest.raises(SettingsError, match=r"cannot read .*: No such file or directory"):
        read_env_file(tmp_path / "missing", PREFIXES)
    (tmp_path / "real").write_text("OWN_A=1\n")
    (tmp_path / "link").symlink_to("real")
    assert read_env_file(tmp_path / "link", PREFIXES) == {"OWN_A": Assignment("1", 1)}
