"""The head of a request: bytes in, a checked value out, or a refusal. Does no input and output.

Stricter than RFC 9112 allows wherever two readers could understand a request in two ways: a front that reads
it otherwise than we do could be made to smuggle one request inside another.

Source: RFC 9110 §5 (fields), §7.2 (Host), §10.1.1 (Expect), §14.2 (Range); RFC 9112 §2 to §6; RFC 3986 §2.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from artifactstore.httpapi.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

LINE_MAX = 8 << 10  # bytes of the first line
HEAD_MAX = 32 << 10  # bytes of the whole head
FIELDS_MAX = 64
QUERY_MAX = 64  # parameters

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Brackets in the query are none of RFC 3986, yet many write `metadata[key]` so.
_TARGET = re.compile(rb"/[!$%&'()*+,./0-9:;=@A-Z_a-z~-]*(?:\?[!$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]*)?")
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# Fields that are read once; a second one would be an attempt to make two readers disagree.
_SINGLE = frozenset(
    {
        "host",
        "authorization",
        "content-length",
        "transfer-encoding",
        "content-type",
        "content-encoding",
        "expect",
        "range",
        "if-range",
        "idempotency-key",
        "origin",
        "last-event-id",
    }
)


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body.

    Args:
        segments: of the path, percent-decoded.
        query: parameters, decoded; each comes once.
        fields: by lower-case name; repeated ones joined by commas.
        version: `(1, 1)` or `(1, 0)`.
        length: of the body in bytes; None if it is chunked.
        persistent: whether the connection may be used again.
    """

    method: str
    path: str
    segments: tuple[str, ...]
    query: Mapping[str, str]
    fields: Mapping[str, str]
    version: tuple[int, int]
    length: int | None
    persistent: bool

    @property
    def has_length(self) -> bool:
        """Whether the request says how its body ends."""
        return self.length is None or "content-length" in self.fields

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for leave to send its body."""
        return self.version >= (1, 1) and self.fields.get("expect", "").lower() == "100-continue"


def parse_head(data: bytes) -> Head:
    """Read the head of a request.

    Args:
        data: everything before the empty line, without the last line end.
    Raises:
        Refusal: it breaks a rule; always closes the connection.
    """
    if b"\0" in data or b"\n" in data.replace(b"\r\n", b"") or b"\r" in data.replace(b"\r\n", b""):
        raise _bad("a line of the head ends with something else than CR LF, or holds a NUL")
    first, *lines = data.split(b"\r\n")
    method, target, version = _request_line(first)
    fields = _fields(lines)
    if method != "GET":
        fields.pop("range", None)  # RFC 9110 §14.2: no other method has one
    path, segments, query = _target(target)
    if "host" not in fields and version >= (1, 1):
        raise _bad("there is no Host")
    if not _HOST.fullmatch(fields.get("host", "localhost")):
        raise _bad("the Host is none")
    expected = fields.get("expect")
    if expected is not None and expected.lower() != "100-continue":
        raise Refusal(417, "only 100-continue can be expected", close=True)
    return Head(
        method,
        path,
        segments,
        query,
        fields,
        version,
        _body_length(fields, version),
        _persistent(fields, version),
    )


def _request_line(line: bytes) -> tuple[str, bytes, tuple[int, int]]:
    if len(line) > LINE_MAX:
        raise Refusal(414, f"the first line is longer than {LINE_MAX} bytes", close=True)
    parts = line.split(b" ")
    if len(parts) != 3:
        raise _bad("the first line is not method, target and version with one blank between them")
    method, target, version = parts
    matched = _VERSION.fullmatch(version)
    if matched is None or not _TOKEN.fullmatch(method):
        raise _bad("the first line is not that of an HTTP request")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        raise Refusal(505, "only HTTP/1.1 and HTTP/1.0 are spoken here", close=True)
    if target == b"*" and method == b"OPTIONS":
        return "OPTIONS", b"/", (1, int(matched[2]))
    if not _TARGET.fullmatch(target):
        raise _bad("the target is not a path with an optional query, in printable ASCII")
    return method.decode("ascii"), target, (1, int(matched[2]))


def _fields(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > FIELDS_MAX:
        raise Refusal(431, f"there are more than {FIELDS_MAX} fields", close=True)
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise _bad("a line of the head is not a field")
        key = name.decode("ascii").lower()
        text = value.strip(b" \t").decode("latin-1")
        if key in fields:
            if key in _SINGLE:
                raise _bad(f"the field {key} comes twice")
            text = f"{fields[key]}, {text}"
        fields[key] = text
    return fields


def _target(target: bytes) -> tuple[str, tuple[str, ...], dict[str, str]]:
    path, _, query = target.decode("ascii").partition("?")
    segments = tuple(_decoded(segment) for segment in path[1:].split("/")) if path != "/" else ()
    for segment in segments:
        if segment in {".", ".."} or "/" in segment or _CONTROL.search(segment):
            raise _bad("a segment of the path is a dot or two, hides a slash, or holds a control character")
    if "" in segments[:-1]:
        raise _bad("a segment of the path is empty")
    found: dict[str, str] = {}
    pairs = query.split("&") if query else []
    if len(pairs) > QUERY_MAX:
        raise _bad(f"the query has more than {QUERY_MAX} parameters")
    for pair in pairs:
        name, _, value = pair.partition("=")
        key = _decoded(name.replace("+", " "))
        if key in found:
            raise _bad("a parameter of the query comes twice")
        found[key] = _decoded(value.replace("+", " "))
    return path, segments, found


def _decoded(text: str) -> str:
    """Percent-decoding, strict: whole escapes, UTF-8 in its one form, no NUL."""
    if "%" not in text:
        return text
    if _ESCAPE.search(text):
        raise _bad("the target has a broken percent escape")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad("the target is not UTF-8 after percent-decoding") from None
    if "\0" in decoded:
        raise _bad("the target holds a NUL")
    return decoded


def _body_length(fields: Mapping[str, str], version: tuple[int, int]) -> int | None:
    coding, length = fields.get("transfer-encoding"), fields.get("content-length")
    if coding is not None:
        if length is not None:
            raise _bad("the head has both Content-Length and Transfer-Encoding")
        if version < (1, 1):
            raise _bad("HTTP/1.0 knows no Transfer-Encoding")
        if coding.lower() != "chunked":
            raise Refusal(501, "the only transfer coding here is chunked", close=True)
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length.encode("latin-1")):
        raise _bad("the Content-Length is not a decimal number")
    return int(length)


def _persistent(fields: Mapping[str, str], version: tuple[int, int]) -> bool:
    options = {option.strip().lower() for option in fields.get("connection", "").split(",")}
    if "close" in options:
        return False
    return version >= (1, 1) or "keep-alive" in options


def _bad(detail: str) -> Refusal:
    return Refusal(400, detail, close=True)
