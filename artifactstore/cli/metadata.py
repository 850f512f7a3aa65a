"""Metadata as the command line gives it: `KEY=VALUE` pairs and strict JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore.cli.source import STANDARD_INPUT, standard_input
from artifactstore.errors import AccessError, InvalidInputError
from artifactstore.paths import printable
from artifactstore.strict_json import read_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artifactstore.codec import Value

_FILE_MAX = 8 << 20  # bytes; 1 MiB of metadata does not need more JSON than that


def pairs(texts: Iterable[str] | None) -> dict[str, str]:
    """Read `KEY=VALUE` texts.

    Raises:
        InvalidInputError: one has no key, or a key comes twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidInputError(f"not KEY=VALUE: {printable(text)}", code="usage")
        if key in found:
            raise InvalidInputError(f"the metadata key {printable(key)} is given twice", code="usage")
        found[key] = value
    return found


def collected(texts: Iterable[str] | None, file: str | None) -> dict[str, Value]:
    """The metadata of a package from pairs and a JSON file together.

    Raises:
        InvalidInputError: the file is no strict JSON object, or a key comes twice.
        AccessError: the file cannot be read.
    """
    found: dict[str, Value] = {} if file is None else read_file(file)
    for key, value in pairs(texts).items():
        if key in found:
            message = f"the metadata key {printable(key)} is given twice, by --metadata and in the file"
            raise InvalidInputError(message, code="usage")
        found[key] = value
    return found


def read_file(file: str) -> dict[str, Value]:
    """A JSON object from a file; `-` is stdin.

    Raises:
        InvalidInputError: the file is no strict JSON object.
        AccessError: the file cannot be read.
    """
    name = "stdin" if file == STANDARD_INPUT else printable(file)
    try:
        if file == STANDARD_INPUT:
            data = standard_input().read(_FILE_MAX + 1)
        else:
            with open(file, "rb") as stream:
                data = stream.read(_FILE_MAX + 1)
    except PermissionError as error:
        raise AccessError(f"cannot read {name}: permission denied") from error
    except OSError as error:
        raise InvalidInputError(f"cannot read {name}: {error.strerror}") from error
    if len(data) > _FILE_MAX:
        raise InvalidInputError(f"{name} is larger than {_FILE_MAX} bytes", code="metadata-too-large")
    return read_object(data, name=name)
