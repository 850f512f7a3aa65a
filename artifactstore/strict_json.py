"""JSON from outside, read so that nobody can take it for something else."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from artifactstore.codec import Value

BAD_JSON = "not-json-shaped"
_DIGITS_MAX = 1000  # of an integer, which Python reads without complaint; 64 bits have 20 at most
# A text, which is passed over, or what stands before each value but the first: a comma, or the begin of
# what is not empty. Nothing here is tried twice, so the time is in proportion to the bytes.
_TEXT_OR_VALUE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|(,|[\[{](?!\s*+[\]}]))', re.DOTALL)


class _BrokenRule(ValueError):  # noqa: N818 - it ends the reading, and becomes the refusal
    """What is wrong with a document."""


def read_object(data: bytes, *, name: str, values_max: int | None = None) -> dict[str, Value]:
    """One JSON object in UTF-8, in which no key comes twice and each number is one of JSON's.

    Args:
        name: what an error calls the document.
        values_max: how many values it may hold; one with more is refused before any of them is read.
    Raises:
        InvalidInputError: it is something else.
    """
    if values_max is not None and _holds_more_values(data, values_max):
        raise InvalidInputError(
            f"{name} holds more than {values_max} values",
            hint="store large documents as files of the package",
            code="metadata-too-large",
        )
    try:
        value = _read(data)
    except _BrokenRule as error:
        message = f"{name} is not JSON that metadata can hold: {error}"
        raise InvalidInputError(message, code=BAD_JSON) from None
    if not isinstance(value, dict):
        message = f"{name} holds a JSON {type(value).__name__}"
        raise InvalidInputError(message, hint="write one JSON object", code=BAD_JSON)
    return value


def _holds_more_values(data: bytes, most: int) -> bool:
    if data.count(b",") + data.count(b"[") + data.count(b"{") < most:
        return False  # nearly always; the rest tells those within texts from others
    left = most - 1
    for found in _TEXT_OR_VALUE.finditer(data):
        left -= found[1] is not None
        if left < 0:
            return True
    return False


def _read(data: bytes) -> object:
    """The value of a document.

    Raises:
        _BrokenRule: there is none; it says why, without the limits and names of this implementation.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _BrokenRule(f"it is not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise _BrokenRule("it begins with a byte order mark")
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except RecursionError:
        raise _BrokenRule("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _BrokenRule(str(error)) from None


def _object(entries: list[tuple[str, Value]]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key, value in entries:
        if key in found:
            raise _BrokenRule(f"the key {printable(key)} comes twice in an object")
        found[key] = value
    return found


def _integer(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise _BrokenRule(f"the integer {text[:40]}... does not fit into 64 bits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _BrokenRule(f"the number {text[:40]} is larger than any that can be kept")
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise _BrokenRule(f"{text} is not a JSON number")
