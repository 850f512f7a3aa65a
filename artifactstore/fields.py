"""The rules for what callers say about a package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from artifactstore import codec
from artifactstore.errors import InvalidInputError
from artifactstore.hidden_text import hidden_character

if TYPE_CHECKING:
    from artifactstore.codec import Value

LABEL_MAX = 255  # characters
METADATA_MAX = 1 << 20  # bytes, encoded
VALUES_MAX = 100_000  # in one document; each costs many times what its bytes do
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def check_label(value: str, *, field: str) -> str:
    """Return a name, producer, subject, actor or key if it is one line of text a person can read.

    Raises:
        InvalidInputError: it is empty, too long, padded with blanks, or holds control characters or such
            that are not seen.
    """
    check_text(value, field=field)
    rule = None
    if not value.strip():
        rule = "it is empty"
    elif value != value.strip():
        rule = "it begins or ends with a blank"
    elif len(value) > LABEL_MAX:
        rule = f"it has {len(value)} characters, {LABEL_MAX} are allowed"
    elif _UNPRINTABLE.search(value):
        rule = "it holds a control character"
    elif (hidden := hidden_character(value)) is not None:
        rule = f"it holds the invisible or reordering character {hidden}"
    if rule is not None:
        raise InvalidInputError(f"{field} {value[:80]!a} is not allowed: {rule}", code="invalid-field")
    return value


def check_slug(slug: str) -> str:
    """Return the name of a schema if it is one, as `guide-board.run.v1`.

    Raises:
        InvalidInputError: it is something else.
    """
    if not _SLUG.fullmatch(str(slug)):
        raise InvalidInputError(
            f"not the slug of a schema: {str(slug)[:80]!a}",
            hint="use 1 to 128 lower-case letters, digits, dots and dashes, as in guide-board.run.v1",
            code="invalid-field",
        )
    return slug


def check_text(value: object, *, field: str) -> str:
    """Return what is text.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{field} must be text, not {type(value).__name__}")
    return value


def check_integer(value: object, *, field: str) -> int:
    """Return what is a whole number; a float in an event would be another event when it is read.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInputError(f"{field} must be a whole number, not {type(value).__name__}")
    return value


def check_number(value: object, *, field: str) -> float:
    """Return what is a number.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidInputError(f"{field} must be a number, not {type(value).__name__}")
    return value


def check_flag(value: object, *, field: str) -> bool:
    """Return what is true or false.

    Raises:
        InvalidInputError: it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidInputError(f"{field} must be true or false, not {type(value).__name__}")
    return value


def check_metadata(metadata: Mapping[str, Value]) -> dict[str, Value]:
    """Return a copy of the metadata if JSON can say it, and it is at most 1 MiB and 100,000 values.

    The copy is what its encoding says: subclasses of numbers and texts, which may show themselves in other
    ways, become plain values, so that the views are the same now and after a replay.

    Raises:
        InvalidInputError: names the place and the rule.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(
            f"metadata must be a mapping, not {type(metadata).__name__}", code="not-json-shaped"
        )
    document = dict(metadata)
    if codec.holds_more_values(document, VALUES_MAX):
        raise InvalidInputError(
            f"the metadata holds more than {VALUES_MAX} values",
            hint="store large documents as files of the package",
            code="metadata-too-large",
        )
    codec.check_json_shaped(document, name="metadata")
    encoded = codec.encode(document)
    if len(encoded) > METADATA_MAX:
        raise InvalidInputError(
            f"the metadata is {len(encoded)} bytes long, {METADATA_MAX} are allowed",
            hint="store large documents as files of the package",
            code="metadata-too-large",
        )
    return cast("dict[str, Value]", codec.decode_trusted(encoded))
