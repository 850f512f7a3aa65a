"""Deterministic CBOR: the encoder against a second one, the decoder against everything else."""

from __future__ import annotations

import datetime
import decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifactstore import codec
from artifactstore.errors import IntegrityError, InvalidInputError
from format import reference_cbor
from format.cbor_cases import ENCODED, REFUSED_CBOR
from format.values import scalars, texts, values

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def refuse(data: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        codec.decode(data)
    assert type(caught.value) is IntegrityError
    assert caught.value.code == "not-canonical"


def in_metadata(encoded: bytes, depth: int = 0) -> bytes:
    """The bytes at some depth of a document."""
    return b"\xa1\x65probe" + b"\x81" * depth + encoded


@settings(max_examples=500, deadline=None)
@given(values)
def test_the_encoder_agrees_with_a_second_one(value: Any) -> None:
    data = codec.encode(value)
    assert data == reference_cbor.encode(value)
    # Compared as text, which tells 1 from 1.0 and true, and -0.0 from 0.0.
    in_order = reference_cbor.diagnostic(sort_keys(value))
    assert reference_cbor.diagnostic(codec.decode(data)) == in_order


def sort_keys(value: Any) -> Any:
    if isinstance(value, dict):
        ordered = sorted(value, key=reference_cbor.encode)
        return {key: sort_keys(value[key]) for key in ordered}
    return [sort_keys(entry) for entry in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(st.dictionaries(texts, scalars, min_size=2), st.randoms(use_true_random=False))
def test_the_order_in_which_keys_came_does_not_matter(document: dict[str, Any], random: Any) -> None:
    shuffled = list(document.items())
    random.shuffle(shuffled)
    assert codec.encode(dict(shuffled)) == codec.encode(document)


@settings(deadline=None)
@given(values)
def test_the_fast_path_agrees_when_keys_are_in_order_and_no_float_is_there(value: Any) -> None:
    fixed = without_floats(sort_keys(value))
    assert codec.encode_ordered(fixed) == reference_cbor.encode(fixed)


def without_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_floats(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_floats(entry) for entry in value]
    return None if isinstance(value, float) else value


@pytest.mark.parametrize("name", ENCODED)
def test_each_known_value_and_its_encoding(name: str) -> None:
    value = ENCODED[name]
    data = codec.encode(value)
    assert data == reference_cbor.encode(value)
    assert repr(codec.decode(data)) == repr(value)


def test_a_tuple_is_a_list() -> None:
    assert codec.encode((1, ("a",))) == codec.encode([1, ["a"]])


@pytest.mark.parametrize("reason", REFUSED_CBOR)
@pytest.mark.parametrize("depth", [0, 1, 60])
def test_what_the_encoder_would_not_write_is_refused(verify: ModuleType, reason: str, depth: int) -> None:
    encoded = bytes.fromhex(REFUSED_CBOR[reason])
    refuse(encoded)
    refuse(in_metadata(encoded, depth))
    assert not accepted_by(verify, encoded)


def accepted_by(verify: ModuleType, encoded: bytes) -> bool:
    """Whether the auditor's reader takes the bytes as one value."""
    reader = verify.Reader(encoded)
    try:
        reader.value(0)
    except verify.ManifestError:
        return False
    return bool(reader.position == len(encoded))


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=40), values.map(codec.encode)))
def test_any_bytes_are_refused_or_are_the_encoding_of_what_they_say(verify: ModuleType, data: bytes) -> None:
    try:
        value = codec.decode(data)
    except IntegrityError:
        assert not accepted_by(verify, data)
        return
    assert accepted_by(verify, data)
    assert reference_cbor.encode(value) == data


def heads(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Position, major type, width of the argument and length of the head of each data item."""
    position = 0
    for text, _ in reference_cbor.annotate(data):
        information = data[position] & 31
        width = reference_cbor.WIDTHS.get(information, 0)
        yield position, data[position] >> 5, width, 1 + width
        position += len(text) // 2


@settings(max_examples=200, deadline=None)
@given(values, st.data())
def test_every_longer_form_of_every_head_is_refused(value: Any, draw: st.DataObject) -> None:
    data = codec.encode(value)
    found = [head for head in heads(data) if head[1] < 6 and head[2] < 8]
    if not found:
        return
    position, major, width, length = draw.draw(st.sampled_from(found))
    argument = (
        data[position] & 31 if width == 0 else int.from_bytes(data[position + 1 : position + length], "big")
    )
    for information, longer in reference_cbor.WIDTHS.items():
        if longer > width:
            head = bytes([major << 5 | information]) + argument.to_bytes(longer, "big")
            refuse(data[:position] + head + data[position + length :])


@settings(max_examples=200, deadline=None)
@given(values, st.data(), st.sampled_from([0, 1, 2, 3, 4, 5, 28, 29, 258, 55799, 2**40]))
def test_a_tag_before_any_item_is_refused(value: Any, draw: st.DataObject, tag: int) -> None:
    data = codec.encode(value)
    position = draw.draw(st.sampled_from([head[0] for head in heads(data)]))
    refuse(data[:position] + reference_cbor.head(6, tag) + data[position:])


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), texts, st.lists(scalars), st.dictionaries(texts, scalars)))
def test_every_indefinite_length_is_refused(value: Any) -> None:
    data = codec.encode(value)
    _, major, _, length = next(heads(data))
    indefinite = bytes([major << 5 | 31])
    content = data if major in {2, 3} else data[length:]
    refuse(indefinite + content + b"\xff")
    refuse(in_metadata(indefinite + content + b"\xff"))


@settings(deadline=None)
@given(st.dictionaries(texts, scalars, min_size=2, max_size=30), st.data())
def test_keys_out_of_order_and_keys_twice_are_refused(document: dict[str, Any], draw: st.DataObject) -> None:
    pairs = sorted(
        (reference_cbor.encode(key), reference_cbor.encode(entry)) for key, entry in document.items()
    )
    first = draw.draw(st.integers(0, len(pairs) - 2))
    second = draw.draw(st.integers(first + 1, len(pairs) - 1))
    swapped = pairs.copy()
    swapped[first], swapped[second] = pairs[second], pairs[first]
    doubled = pairs.copy()
    doubled[second] = pairs[first][0], pairs[second][1]
    for wrong in (swapped, sorted(doubled)):
        refuse(reference_cbor.head(5, len(wrong)) + b"".join(key + entry for key, entry in wrong))


@settings(max_examples=200, deadline=None)
@given(values, st.binary(min_size=1, max_size=3))
def test_trailing_bytes_and_missing_bytes_are_refused(value: Any, more: bytes) -> None:
    data = codec.encode(value)
    refuse(data + more)
    refuse(data[:-1])


def nested(levels: int) -> Any:
    value: Any = []
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return value


@given(st.integers(0, 2**64 - 1) | st.integers(0, 300))
def test_a_head_is_read_in_its_shortest_form_alone(number: int) -> None:
    data = reference_cbor.encode(number)
    for major in (codec.INTEGER, codec.TEXT, codec.ARRAY):
        head = bytes((data[0] | major << 5,)) + data[1:]
        assert codec.decode_head(b"before" + head + b"behind", 6, major) == (number, 6 + len(head))
        for other in range(8):
            if other != major:
                with pytest.raises(InvalidInputError, match="not the type"):
                    codec.decode_head(head, 0, other)
        for cut in range(len(head)):
            with pytest.raises(InvalidInputError, match="near byte 0"):
                codec.decode_head(head[:cut], 0, major)
        for information, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if width >= len(head) and number < 1 << (8 * width):
                longer = bytes((major << 5 | information,)) + number.to_bytes(width, "big")
                with pytest.raises(InvalidInputError, match="not the shortest form"):
                    codec.decode_head(longer, 0, major)
        for information in (28, 29, 30, 31):
            with pytest.raises(InvalidInputError, match="not the type"):
                codec.decode_head(bytes((major << 5 | information,)) + bytes(8), 0, major)


@given(texts)
def test_a_text_is_read_as_any_decoder_reads_it(text: str) -> None:
    data = reference_cbor.encode(text)
    assert codec.decode_text(b"before" + data + b"behind", 6) == (text, 6 + len(data))
    for cut in range(len(data)):
        with pytest.raises(InvalidInputError, match="near byte 0"):
            codec.decode_text(data[:cut], 0)


@pytest.mark.parametrize("data", [b"\x61\xff", b"\x63\xed\xa0\x80", b"\x62\xc0\x80", b"\x7b" + b"\xff" * 8])
def test_a_text_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="not UTF-8 or ends too early"):
        codec.decode_text(data, 0)


def test_a_document_nests_64_levels_and_our_envelopes_8_more() -> None:
    codec.check_json_shaped(nested(64), name="metadata")
    with pytest.raises(InvalidInputError, match=r"metadata/.*: nested deeper than 64 levels"):
        codec.check_json_shaped(nested(65), name="metadata")
    assert codec.decode(codec.encode(nested(72))) == nested(72)
    with pytest.raises(InvalidInputError, match="nested deeper than 72 levels"):
        codec.encode(nested(73))
    refuse(reference_cbor.encode(nested(73)))


@pytest.mark.parametrize(
    "level", [b"\x81", b"\xa1\x61a", b"\x82\x00", b"\xc1", b"\xd8\x1c", b"\x9f", b"\xbf\x61a"]
)
@pytest.mark.parametrize("count", [1_000, 1_000_000])
def test_a_bomb_of_levels_is_refused_without_a_crash(level: bytes, count: int) -> None:
    refuse(level * count)
    refuse(level * count + b"\x00")


@pytest.mark.parametrize("major", [2, 3, 4, 5])
@pytest.mark.parametrize("length", [2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_huge_length_is_refused_by_the_bytes_that_are_missing(major: int, length: int) -> None:
    refuse(reference_cbor.head(major, length))
    refuse(reference_cbor.head(major, length) + b"\x60" * 1000)
    refuse(in_metadata(reference_cbor.head(major, length)))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), ""),
        ([0, float("inf")], "/1"),
        ({"a": [-float("inf")]}, "/a/0"),
        (2**63, ""),
        ({"a": -(2**63) - 1}, "/a"),
        ({1: 1}, ""),
        ({"a": {b"b": 1}}, "/a"),
        ({"a": {None: 1}}, "/a"),
        ({(): 1}, ""),
        ("\ud800", ""),
        ({"a": ["\udfff"]}, "/a/0"),
        ({"\ud800": 1}, ""),
        ({1, 2}, ""),
        ([object()], "/0"),
        (decimal.Decimal(1), ""),
        (datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC), ""),
        (bytearray(b"a"), ""),
        (1j, ""),
        (Ellipsis, ""),
    ],
)
def test_what_has_no_encoding_is_refused_with_its_place(value: Any, place: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        codec.encode(value)
    assert caught.value.code == "not-json-shaped"
    assert caught.value.message.startswith(f"{place}: " if place else "")
    assert caught.value.message.isprintable()


def test_json_has_no_bytes() -> None:
    with pytest.raises(InvalidInputError, match="metadata/a/1: bytes are not a JSON value"):
        codec.check_json_shaped({"a": [1, b""]}, name="metadata")


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidInputError, match="nested deeper"):
        codec.encode(endless)
