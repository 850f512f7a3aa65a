"""JSON from outside, read so that nobody can take it for something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from artifactstore.codec import Value

BAD_JSON = "not-json-shaped"


def read_object(data: bytes, *, name: str) -> dict[str, Value]:
    """One JSON object in UTF-8, in which no key comes twice and each number is one of JSON's.

    Args:
        name: what an error calls the document.
    Raises:
        InvalidInputError: it is something else.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        message = f"{name} is not JSON that metadata can hold: {error}"
        raise InvalidInputError(message, code=BAD_JSON) from None
    if not isinstance(value, dict):
        message = f"{name} holds a JSON {type(value).__name__}"
        raise InvalidInputError(message, hint="write one JSON object", code=BAD_JSON)
    return value


def _object(entries: list[tuple[str, Value]]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key, value in entries:
        if key in found:
            raise ValueError(f"the key {printable(key)} comes twice in an object")
        found[key] = value
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")
