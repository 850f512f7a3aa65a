"""A second deterministic encoder, written from RFC 8949 alone; it shares no code with the package.

Source: RFC 8949 §3 (heads), §4.2.1 (shortest forms, bytewise order of keys), §8 (diagnostic notation).
"""

from __future__ import annotations

import json
import struct
from typing import Any

WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}  # additional information -> bytes of the argument


def encode(value: Any) -> bytes:
    """The one deterministic encoding of a value."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return encode_float(value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        data = value.encode("utf-8")
        return head(3, len(data)) + data
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(entry)) for key, entry in value.items())
        return head(5, len(pairs)) + b"".join(key + entry for key, entry in pairs)
    return head(4, len(value)) + b"".join(map(encode, value))


def head(major: int, argument: int) -> bytes:
    """The initial byte and the shortest form of its argument."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for information, width in WIDTHS.items():
        if argument < 1 << (8 * width):
            return bytes([major << 5 | information]) + argument.to_bytes(width, "big")
    raise OverflowError(argument)


def encode_float(value: float) -> bytes:
    """The shortest of the three forms that gives the same value back, its sign included."""
    for initial, form in ((0xF9, ">e"), (0xFA, ">f")):
        try:
            data = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.pack(">d", struct.unpack(form, data)[0]) == struct.pack(">d", value):
            return bytes([initial]) + data
    return b"\xfb" + struct.pack(">d", value)


def diagnostic(value: Any) -> str:
    """A value in the diagnostic notation, which tells bytes from text and 1.0 from 1."""
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{diagnostic(key)}: {diagnostic(value[key])}" for key in value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(diagnostic, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def annotate(data: bytes) -> list[tuple[str, str]]:
    """Each data item of an encoding, in order: its own bytes in hex, and what they say."""
    lines, end = _annotate(data, 0, 1)
    if end != len(data):
        raise ValueError("bytes follow the end")
    return lines


def _annotate(data: bytes, position: int, count: int) -> tuple[list[tuple[str, str]], int]:
    lines: list[tuple[str, str]] = []
    for _ in range(count):
        major, information = data[position] >> 5, data[position] & 31
        end = position + 1 + WIDTHS.get(information, 0)
        argument = information if information < 24 else int.from_bytes(data[position + 1 : end], "big")
        content = data[end : end + argument] if major in {2, 3} else b""
        said = _say(major, argument, content, data[position:end])
        end += len(content)
        lines.append((data[position:end].hex(), said))
        if major in {4, 5}:
            inner, end = _annotate(data, end, argument * (major - 3))
            lines += inner
        position = end
    return lines, position


def _say(major: int, argument: int, content: bytes, head: bytes) -> str:
    if major == 3:
        return json.dumps(content.decode("utf-8"), ensure_ascii=False)
    if major == 7 and len(head) > 1:
        return repr(struct.unpack({3: ">e", 5: ">f", 9: ">d"}[len(head)], head[1:])[0])
    if major == 7:
        return {20: "false", 21: "true", 22: "null"}[argument]
    words = ["{}", "-{}", "{} bytes", "", "array of {}", "map of {}"]
    return words[major].format(argument + 1 if major == 1 else argument)
