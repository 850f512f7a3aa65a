"""The library's values from what a server says of them; nothing is taken on trust.

The JSON of a value is what the commands print with `--json`. A key that is not known is passed over, since a
newer server may say more; one that is missing or holds something else makes the whole answer unusable.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from artifactstore import codec, model
from artifactstore.digest import Digest
from artifactstore.errors import ArtifactStoreError
from artifactstore.event_log import leaf_hash
from artifactstore.events import Event
from artifactstore.model import Page
from artifactstore.moment import parse_moment
from artifactstore.paths import broken_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import DataclassInstance

ValueT = TypeVar("ValueT", bound="DataclassInstance")
ItemT = TypeVar("ItemT")

_EVENT_KINDS: dict[str, Any] = {
    "sequence": int,
    "event_id": bytes,
    "type": str,
    "package_id": (bytes, type(None)),
    "actor": str,
    "recorded_at": int,
    "payload": dict,
    "leaf_hash": bytes,
}
_IDS = frozenset({"package_id", "file_id", "hold_id"})
_DEEPEST = 8  # values within values; ours have three levels
# Names that the annotations of `model` use.
_NAMES = {**vars(model), "Digest": Digest, "Mapping": Mapping, "Value": object}


class MalformedError(Exception):
    """An answer is not what it should be; says where and how."""


def value(kind: type[ValueT], document: object, where: str = "the answer") -> ValueT:
    """A value of the library from its JSON object.

    Raises:
        MalformedError: the object is not one.
    """
    return typing.cast("ValueT", _dataclass(kind, document, where))


def member(document: object, name: str) -> object:
    """A member of an object that is the whole answer.

    Raises:
        MalformedError: there is none.
    """
    members = _object(document, "the answer")
    if name not in members:
        raise MalformedError(f"the answer has no {name}")
    return members[name]


def page(kind: type[ValueT], document: object) -> Page[ValueT]:
    """A page of a list.

    Raises:
        MalformedError: it is none, or one of its items is not what it should be.
    """
    return page_of(lambda item, where: value(kind, item, where), document)


def page_of(read: Callable[[object, str], ItemT], document: object) -> Page[ItemT]:
    """A page of a list, each item read by a function that is told where it stands."""
    members = _object(document, "the answer")
    items = members.get("items")
    cursor = members.get("next_cursor")
    if not isinstance(items, list):
        raise MalformedError("items is not a list")
    if cursor is not None and not (isinstance(cursor, str) and cursor):
        raise MalformedError("next_cursor is not text")
    return Page(tuple(read(item, f"items[{number}]") for number, item in enumerate(items)), cursor)


def events(data: bytes, after: int) -> list[Event]:
    """A page of the log, as the log has it.

    Args:
        data: the CBOR of an answer.
        after: the sequence before the first event.
    Raises:
        MalformedError: it is none, has a gap, or an event is not what its leaf hash says.
    """
    try:
        items = _object(codec.decode(data), "the answer").get("items")
    except ArtifactStoreError as error:
        raise MalformedError(error.message) from error
    if not isinstance(items, list):
        raise MalformedError("items is not a list")
    found = []
    for number, item in enumerate(items):
        if not isinstance(item, dict) or item.keys() != {*Event._fields}:
            raise MalformedError(f"items[{number}] is no event")
        event = Event(**item)
        for name, kinds in _EVENT_KINDS.items():
            if not isinstance(item[name], kinds):
                raise MalformedError(f"items[{number}].{name} has a wrong type")
        payload = codec.encode(event.payload)
        if event.sequence != after + number + 1 or event.leaf_hash != leaf_hash(*event[:6], payload):
            raise MalformedError(f"items[{number}] is not the event {after + number + 1} of a log")
        found.append(event)
    return found


def event(document: object, where: str) -> Event:
    """An event from its JSON object; the payload keeps its JSON form."""
    members = _object(document, where)
    package = members.get("package_id")
    payload = _object(members.get("payload"), f"{where}.payload")
    _json_shaped(payload, f"{where}.payload")
    return Event(
        sequence=_read(int, "sequence", members.get("sequence"), where),
        event_id=uuid.UUID(_read(str, "package_id", members.get("event_id"), where)).bytes,
        type=_read(str, "type", members.get("type"), where),
        package_id=None if package is None else uuid.UUID(_read(str, "package_id", package, where)).bytes,
        actor=_read(str, "actor", members.get("actor"), where),
        recorded_at=_read(int, "recorded_at", members.get("recorded_at"), where),
        payload=payload,
        leaf_hash=_read(bytes, "leaf_hash", members.get("leaf_hash"), where),
    )


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, localns=_NAMES)


def _dataclass(kind: Any, document: object, where: str, depth: int = 0) -> object:
    if depth > _DEEPEST:
        raise MalformedError(f"{where} is nested too deep")
    members = _object(document, where)
    hints = _hints(kind)
    found: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        if field.name not in members:
            raise MalformedError(f"{where} has no {field.name}")
        found[field.name] = _read(hints[field.name], field.name, members[field.name], where, depth)
    return kind(**found)


def _read(hint: Any, name: str, given: object, where: str, depth: int = 0) -> Any:
    """A member of an object as its annotation says."""
    place = f"{where}.{name}"
    origin = typing.get_origin(hint)
    if origin in {types.UnionType, typing.Union}:
        if given is None:
            return None
        (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
        origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(given, list):
            raise MalformedError(f"{place} is not a list")
        inner = typing.get_args(hint)[0]
        return tuple(
            _read(inner, f"{name}[{number}]", item, where, depth + 1) for number, item in enumerate(given)
        )
    if origin is Mapping:
        _json_shaped(_object(given, place), place)
        return given
    if dataclasses.is_dataclass(hint) and hint is not Digest:
        return _dataclass(hint, given, place, depth + 1)
    return _scalar(hint, name, given, place)


def _scalar(hint: Any, name: str, given: object, place: str) -> object:
    if hint is bool and isinstance(given, bool):
        return given
    if hint is int and name.endswith("_at") and isinstance(given, str):
        return _checked(parse_moment, given, place)
    if hint is int and isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 1 << 63:
        return given
    if hint is str and isinstance(given, str) and len(given.encode("utf-8", "surrogatepass")) <= 1 << 20:
        return _text(name, given, place)
    if hint is Digest and isinstance(given, str):
        return _checked(Digest.parse, given, place)
    if hint is bytes and isinstance(given, str):
        return _checked(Digest.parse, given, place).value
    raise MalformedError(f"{place} is no {getattr(hint, '__name__', hint)}")


def _text(name: str, given: str, place: str) -> str:
    if not given.isascii() and any("\ud800" <= character <= "\udfff" for character in given):
        raise MalformedError(f"{place} is not Unicode")
    if name in _IDS:
        try:
            if str(uuid.UUID(given)) == given:
                return given
        except ValueError:
            pass
        raise MalformedError(f"{place} is no id")
    rule = broken_rule(given) if name == "relative_path" else None
    if rule is not None:
        raise MalformedError(f"{place} is unsafe: {rule}")
    return given


def _checked(read: Callable[[str], ItemT], given: str, place: str) -> ItemT:
    try:
        return read(given)
    except ArtifactStoreError as error:
        raise MalformedError(f"{place}: {error.message}") from error


def _json_shaped(document: Mapping[str, Any], place: str) -> None:
    try:
        codec.check_json_shaped(dict(document), name=place)
    except ArtifactStoreError as error:
        raise MalformedError(error.message) from error


def _object(document: object, where: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise MalformedError(f"{where} is not a JSON object")
    return document
