"""Where log records go. The command line configures it once; the library only says what happened.

The package installs no handler of its own, not even a NullHandler: without configuration the standard
library prints warnings and errors to stderr, and silencing those by default would hide, for instance, a
misspelt setting from a program that never thought of logging.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING

from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from typing import TextIO

LOGGER_NAME = "artifactstore"


def configure_logging(level: str, log_format: str, stream: TextIO) -> None:
    """Send the records of this package to a stream, one way only; calling it again changes the way.

    Other packages' loggers and the root logger stay as they are.

    Args:
        level: the least severe level to write, such as `INFO`.
        log_format: `text`, or `json` for one JSON object a line.
        stream: where to write; it is not closed.
    """
    handler = logging.StreamHandler(stream)
    handler.set_name(LOGGER_NAME)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logger = logging.getLogger(LOGGER_NAME)
    for earlier in [each for each in logger.handlers if each.get_name() == LOGGER_NAME]:
        logger.removeHandler(earlier)
    logger.addHandler(handler)
    logger.setLevel(level)


class TextFormatter(logging.Formatter):
    """One line a record: time, level, logger, message.

    Whatever a terminal would act upon is escaped, and the lines of a traceback are indented, so that
    nothing in a message can pass for a record of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as text without a newline at its end."""
        head = f"{_time(record)} {record.levelname} {record.name}: {_escape(record.getMessage())}"
        details = [line for text in _details(self, record).values() for line in text.split("\n")]
        return "\n".join([head, *(f"    {_escape(line)}" for line in details)])


class JsonFormatter(logging.Formatter):
    """One JSON object a record, in ASCII: `time`, `level`, `logger`, `message`, then the extra fields.

    A traceback stands under `exception`, a stack under `stack`. An extra field with one of these names
    gets an underscore at its end.
    """

    def __init__(self) -> None:
        super().__init__()
        # What every record has, so that the rest is what the caller passed as `extra`.
        self._standard = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON without a newline at its end."""
        entry: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_details(self, record),
        }
        for name, value in vars(record).items():
            if name not in self._standard:
                entry[f"{name}_" if name in entry else name] = _plain(value)
        return json.dumps(entry)


def _time(record: logging.LogRecord) -> str:
    return format_moment(int(record.created * 1_000_000))


def _details(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, str]:
    details = {}
    if record.exc_info:
        details["exception"] = formatter.formatException(record.exc_info)
    if record.stack_info:
        details["stack"] = formatter.formatStack(record.stack_info)
    return details


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _plain(value: object) -> object:
    """The value if JSON can hold it, else its text: a log line is never lost for an odd extra field."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value
