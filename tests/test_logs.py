"""Log records on their way out: two forms, one line each, nothing that a message could forge."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.logs import LOGGER_NAME, JsonFormatter, TextFormatter, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = 'first\n2026-01-01T00:00:00.000000Z ERROR artifactstore: forged\r\x1b[2J\u2028"end\udcff'
logger = logging.getLogger("artifactstore.test")


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    package = logging.getLogger(LOGGER_NAME)
    handlers, level = list(package.handlers), package.level
    yield
    package.handlers[:] = handlers
    package.setLevel(level)


def json_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(message: str, **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "artifactstore.x", "levelname": "INFO", "msg": message, "created": 0.5, **fields}
    )


def keep_from_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep records from pytest's root handler: a worker of xdist cannot send a report with a lone surrogate.

    Only in the test itself: before it, pytest still sees to it that it gets them.
    """
    monkeypatch.setattr(logging.getLogger(LOGGER_NAME), "propagate", False)


def test_text() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "text", stream)
    logger.debug("not this")
    logger.warning("kept %d files", 3)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z WARNING artifactstore\.test: kept 3 files\n",
        stream.getvalue(),
    )


def test_json_with_extra_fields() -> None:
    stream = io.StringIO()
    configure_logging("DEBUG", "json", stream)
    logger.debug("kept %d files", 3, extra={"package_id": "p", "bytes": 7, "path": Path("a"), "time": 1})
    logger.info("plain")
    first, second = json_lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.pop("time"))
    assert first == {
        "level": "DEBUG",
        "logger": "artifactstore.test",
        "message": "kept 3 files",
        "package_id": "p",
        "bytes": 7,
        "path": "a",
        "time_": 1,
    }
    assert set(second) == {"time", "level", "logger", "message"}


def test_time_is_utc() -> None:
    assert TextFormatter().format(record("x")) == "1970-01-01T00:00:00.500000Z INFO artifactstore.x: x"
    assert json.loads(JsonFormatter().format(record("x")))["time"] == "1970-01-01T00:00:00.500000Z"


def test_configuring_again_replaces_the_handler_and_leaves_the_root_alone() -> None:
    root = list(logging.getLogger().handlers)
    mine = logging.NullHandler()
    logging.getLogger(LOGGER_NAME).addHandler(mine)
    first, second = io.StringIO(), io.StringIO()
    configure_logging("INFO", "text", first)
    configure_logging("ERROR", "json", second)
    logger.warning("too mild")
    logger.error("once")
    assert first.getvalue() == ""
    assert [line["message"] for line in json_lines(second)] == ["once"]
    assert mine in logging.getLogger(LOGGER_NAME).handlers
    assert logging.getLogger().handlers == root


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_hostile_message_stays_one_line(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_from_report(monkeypatch)
    stream = io.StringIO()
    configure_logging("INFO", log_format, stream)
    logger.info("got %s", HOSTILE)
    written = stream.getvalue()
    assert written.endswith("\n")
    assert written[:-1].isprintable()
    if log_format == "json":
        assert json_lines(stream)[0]["message"] == f"got {HOSTILE}"


def test_a_traceback_cannot_forge_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_from_report(monkeypatch)
    text, lines = io.StringIO(), io.StringIO()
    for log_format, stream in (("text", text), ("json", lines)):
        configure_logging("INFO", log_format, stream)
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logger.exception("failed", stack_info=True)
    head, *details = text.getvalue().rstrip("\n").split("\n")
    assert head.endswith("ERROR artifactstore.test: failed")
    assert "    Traceback (most recent call last):" in details
    assert any("ValueError: first" in line for line in details)
    assert all(line.startswith("    ") and line.isprintable() for line in details)
    (entry,) = json_lines(lines)
    assert entry["exception"].startswith("Traceback (most recent call last):")
    assert entry["stack"].startswith("Stack (most recent call last):")


@given(st.text())
def test_any_message_is_one_printable_line(message: str) -> None:
    for formatter in (TextFormatter(), JsonFormatter()):
        assert formatter.format(record(message)).isprintable()


@given(
    st.recursive(
        st.one_of(st.none(), st.floats(), st.binary(), st.text(), st.just({1, 2}), st.complex_numbers()),
        lambda inner: st.one_of(
            st.lists(inner), st.dictionaries(st.one_of(st.text(), st.tuples(st.integers())), inner)
        ),
        max_leaves=5,
    )
)
def test_any_extra_field_gives_strict_json(value: object) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = JsonFormatter().format(record("x", extra_field=value))
    assert "extra_field" in json.loads(line, parse_constant=refuse)
    assert "\n" not in line


def test_a_value_that_contains_itself_is_written_as_text() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert json.loads(JsonFormatter().format(record("x", loop=loop)))["loop"] == "[[...]]"


def test_without_configuration_a_program_sees_warnings_on_stderr_and_nothing_else() -> None:
    script = (
        "from artifactstore.environment import load_settings\n"
        "load_settings(environ={'ARTIFACTSTORE_LOG_LEVL': 'x', 'ARTIFACTSTORE_DATABASE_URL': 'a',"
        " 'ARTIFACTSTORE_STORAGE_LOCAL_ROOT': 'b'})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert done.stderr == (
        "unknown setting ARTIFACTSTORE_LOG_LEVL (environment); did you mean ARTIFACTSTORE_LOG_LEVEL?\n"
    )
