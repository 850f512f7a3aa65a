"""Deterministic CBOR: one value, one encoding.

Source: RFC 8949 §4.2.1 (core deterministic encoding). Map keys are text only: then the length-first order
of cbor2's canonical mode and the bytewise order of §4.2.1 are the same, which a test proves against an
encoder of its own. Everything the encoder would not write is refused when it is read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

import cbor2

from artifactstore.errors import IntegrityError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Value = (
        None | bool | int | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]
    )  # what an encoding can hold

MAX_DEPTH = 64  # nested lists and maps in a document from outside
ENVELOPE_DEPTH = 8  # levels that our own records put around such a document
INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1
INTEGER, TEXT, ARRAY = 0, 3, 4  # major types; the first is that of integers from 0 on
_LEAST_OF_HEAD = (24, 1 << 8, 1 << 16, 1 << 32)  # what needs one byte behind the head, two, four, eight
# Tags that cbor2 would turn into live objects (dates, regular expressions, cycles, ...).
_KNOWN_TAGS = (
    0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799
)  # fmt: skip


def encode(value: Value) -> bytes:
    """Encode a value deterministically.

    Args:
        value: null, bool, int of 64 bits, finite float, text, bytes, list or text-keyed map, at most
            `MAX_DEPTH` deep and `ENVELOPE_DEPTH` around that.
    Raises:
        InvalidInputError: the value holds anything else; the message names where.
    """
    check_encodable(value, max_depth=MAX_DEPTH + ENVELOPE_DEPTH)
    return cbor2.dumps(value, canonical=True)


def encode_ordered(value: Value) -> bytes:
    """Encode a value whose map keys already stand in canonical order and which holds no floats.

    The fast path for the records that the package itself writes by the ten thousand: cbor2's canonical
    mode costs four times as much. A test compares it with `encode` for each such record.
    """
    return cbor2.dumps(value)


def encode_sequence(items: Sequence[Value]) -> bytes:
    """The encodings of many values, as by `encode_ordered`, one behind the other.

    Source: RFC 8742 (CBOR sequences).
    """
    # One call for all is half again as fast; what it puts in front is the head of an array.
    return cbor2.dumps(items)[len(array_head(len(items))) :]


def array_head(count: int) -> bytes:
    """The head of an array of that many items, in the shortest form."""
    if count < 24:
        return bytes((0x80 | count,))
    for code, width in ((0x98, 1), (0x99, 2), (0x9A, 4)):
        if count < 1 << (8 * width):
            return bytes((code,)) + count.to_bytes(width, "big")
    message = f"{count} items are too many for one array"
    raise InvalidInputError(message)


def decode(data: bytes, *, max_depth: int = MAX_DEPTH + ENVELOPE_DEPTH) -> Value:
    """Decode bytes that must be exactly what `encode` writes.

    Raises:
        IntegrityError: the bytes are not CBOR, not the deterministic form, or hold what is not allowed.
    """
    try:
        value = _loads(data, max_depth)
        check_encodable(value, max_depth=max_depth)
        canonical = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, InvalidInputError, ValueError, RecursionError, OverflowError) as error:
        message = f"not deterministic CBOR: {error}"
        raise IntegrityError(message, code="not-canonical") from error
    if canonical != data:
        message = "not deterministic CBOR: the same value has another encoding"
        raise IntegrityError(message, code="not-canonical")
    return value


def decode_head(data: bytes, position: int, major: int) -> tuple[int, int]:
    """The number in the head of a value, a length or an integer, and where the head ends.

    For what is read piece by piece because its form is known; the pieces are canonical, as by `decode`.

    Args:
        position: of the value in the data.
        major: the type that the value has to have.
    Raises:
        InvalidInputError: another type, not the shortest form, or the data end.
    """
    information = data[position] - (major << 5) if position < len(data) else -1
    if 0 <= information < 24:
        return information, position + 1
    if 24 <= information < 28:
        end = position + 1 + (1 << (information - 24))
        number = int.from_bytes(data[position + 1 : end], "big")
        if end <= len(data) and number >= _LEAST_OF_HEAD[information - 24]:
            return number, end
    message = f"not the type or not the shortest form that is expected, near byte {position}"
    raise InvalidInputError(message)


def decode_text(data: bytes, position: int) -> tuple[str, int]:
    """The text at a position, and where it ends.

    Raises:
        InvalidInputError: as `decode_head`, or it is not UTF-8.
    """
    length, start = decode_head(data, position, TEXT)
    end = start + length
    try:
        if end <= len(data):
            return data[start:end].decode(), end
    except UnicodeDecodeError:
        pass
    raise InvalidInputError(f"a text is not UTF-8 or ends too early, near byte {position}")


def _loads(data: bytes, max_depth: int) -> Value:
    value: Value = cbor2.loads(
        data,
        max_depth=max_depth,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
        semantic_decoders=dict.fromkeys(_KNOWN_TAGS, _refuse_tag),
        tag_hook=_refuse_tag,
    )
    return value


def decode_trusted(data: bytes) -> Value:
    """Decode what this store wrote itself; whether it is still that, its hashes tell.

    Raises:
        IntegrityError: it is no CBOR.
    """
    try:
        value: Value = cbor2.loads(data)
    except cbor2.CBORError as error:
        message = f"not CBOR: {error}"
        raise IntegrityError(message, code="not-canonical") from error
    return value


def decode_sequence(encodings: Sequence[bytes]) -> Sequence[Value]:
    """Decode many encodings as `decode_trusted` does; one call for all is a third faster.

    Raises:
        IntegrityError: they are not one item each.
    """
    try:
        joined = b"".join(encodings)
    except TypeError as error:  # a damaged page may have anything in its place
        raise IntegrityError("not CBOR: no bytes", code="not-canonical") from error
    # A null at the end: with an item too many in between, something else stands in its place.
    values = decode_trusted(array_head(len(encodings) + 1) + joined + b"\xf6")
    if not isinstance(values, list) or values.pop() is not None:
        raise IntegrityError("not CBOR: an encoding holds more than one item", code="not-canonical")
    return values


def check_encodable(
    value: object, *, where: str = "", max_depth: int = MAX_DEPTH, allow_bytes: bool = True
) -> None:
    """Refuse what has no deterministic encoding.

    Args:
        where: what the document is called in a refusal.
        allow_bytes: false refuses bytes too, which JSON cannot say.
    Raises:
        InvalidInputError: names the place, for example `/runs/3/score`, and the rule.
    """
    # A stack of its own: a hostile document must not exhaust Python's. And a place is put together only for a
    # refusal: a document with one long key and many entries below it would have as many long places.
    keys: list[object] = []  # of the open maps and lists, from the outside in
    levels: list[Iterator[tuple[object, object]]] = [iter(((None, value),))]
    while levels:
        for key, item in levels[-1]:
            if item.isascii() if isinstance(item, str) else allow_bytes and isinstance(item, bytes):
                continue  # nearly every value; the full check costs twice as much
            rule = _broken_rule(item, allow_bytes=allow_bytes)
            if rule is not None:
                _refuse(where, [*keys, key], rule)
            if isinstance(item, dict | list | tuple):
                if len(keys) >= max_depth:
                    _refuse(where, [*keys, key], f"nested deeper than {max_depth} levels")
                keys.append(key)
                levels.append(iter(item.items() if isinstance(item, dict) else enumerate(item)))
                break
        else:
            levels.pop()
            del keys[-1:]


def holds_more_values(value: object, most: int) -> bool:
    """Whether a document holds more values than allowed; it is told before each of them is looked at.

    What lies deeper than `MAX_DEPTH` is not counted.
    """
    left, level = most - 1, [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [each for each in level if isinstance(each, dict | list | tuple)]
        left -= sum(map(len, containers))
        if left < 0:
            return True
        level = [
            entry for each in containers for entry in (each.values() if isinstance(each, dict) else each)
        ]
    return False


def check_json_shaped(value: object, *, name: str) -> None:
    """Refuse what JSON cannot say: all that `check_encodable` refuses, and bytes.

    Raises:
        InvalidInputError: names the place and the rule.
    """
    check_encodable(value, where=name, allow_bytes=False)


def _broken_rule(item: object, *, allow_bytes: bool) -> str | None:
    """Why a value, without what it holds, has no encoding; None if it has one."""
    if item is None or isinstance(item, bool | list | tuple):
        return None
    if isinstance(item, str):
        return _broken_text_rule(item)
    if isinstance(item, bytes):
        return None if allow_bytes else "bytes are not a JSON value"
    if isinstance(item, int):
        if INTEGER_MIN <= item <= INTEGER_MAX:
            return None
        return f"the integer {integer_text(item)} does not fit into 64 bits"
    if isinstance(item, float):
        return None if math.isfinite(item) else f"{item} is not a JSON number"
    if isinstance(item, dict):
        for key in item:
            if not isinstance(key, str):
                return f"the key {_shorten(repr(key))} is not text"
            rule = _broken_text_rule(key)
            if rule is not None:
                return rule
        return None
    return f"a {type(item).__name__} is not a JSON value"


def _broken_text_rule(text: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return f"{_shorten(ascii(text))} is not valid Unicode text"
    return None


def integer_text(value: int) -> str:
    """Any integer for an error, shortened; Python refuses to write very long ones in decimal."""
    return _shorten(str(value) if value.bit_length() < 1000 else hex(value))


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _refuse(where: str, keys: Sequence[object], rule: str) -> NoReturn:
    # The first key is that of the document itself, which has none; the others come from a foreign document.
    place = where + "".join(f"/{key}" for key in keys[1:])
    shortened = place if len(place) <= 120 else f"{place[:60]}...{place[-50:]}"
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shortened)
    message = f"{shown}: {rule}" if place else rule
    raise InvalidInputError(message, code="not-json-shaped")


def _refuse_tag(*_arguments: object) -> NoReturn:
    message = "tags are not allowed"
    raise InvalidInputError(message)
