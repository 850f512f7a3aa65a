"""The library's values as JSON says them: the same keys, digests and times as text."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

from artifactstore.digest import Digest
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def plain(value: object) -> object:
    """A value of the library, or a list of them, made of what JSON knows.

    Digests become `algorithm:hex`, moments RFC 3339. Metadata stays as its producer gave it.
    """
    if isinstance(value, Digest):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return members(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def members(value: DataclassInstance) -> dict[str, object]:
    """The JSON object of a dataclass: the same keys in the same order."""
    return {field.name: _member(field.name, getattr(value, field.name)) for field in fields(value)}


def _member(name: str, value: object) -> object:
    if isinstance(value, bytes):
        return f"{'blake3' if name == 'blake3' else 'sha256'}:{value.hex()}"
    if name.endswith("_at") and isinstance(value, int):
        return format_moment(value)
    return plain(value)
