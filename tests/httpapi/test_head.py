"""The parser of heads: whatever comes in, a head or a refusal comes out, and each head means one thing."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.httpapi.head import FIELDS_MAX, Head, parse_head
from artifactstore.httpapi.negotiation import chosen, names_etag, wanted_range
from artifactstore.httpapi.refusals import Refusal

TOKEN = st.text("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters, min_size=1, max_size=20)
VALUE = st.text([chr(code) for code in range(0x20, 0x7F)], max_size=40).map(str.strip)
SEGMENT = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@", min_size=1, max_size=20).filter(
    lambda text: text not in {".", ".."}
)
CONTROLS = {*map(chr, range(32)), "\x7f"}
LINES = st.lists(st.binary(max_size=30), max_size=6)
KNOWN = [
    b"GET / HTTP/1.1", b"POST /packages HTTP/1.1", b"GET /%41?a=b&c HTTP/1.0", b"Host: localhost",
    b"Content-Length: 2", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"Expect: 100-continue", b"Connection: close", b"Host: evil", b" folded", b"X: \xff", b"", b"a:b",
]  # fmt: skip


def read(data: bytes) -> Head | int:
    """The head, or the status of the refusal."""
    try:
        return parse_head(data)
    except Refusal as refusal:
        assert refusal.close  # noqa: PT017 - the other way out is as good
        assert 400 <= refusal.status < 600  # noqa: PT017 - as above
        return refusal.status


@given(st.one_of(st.binary(max_size=300), LINES.map(b"\r\n".join)))
def test_any_bytes(data: bytes) -> None:
    read(data)


@given(st.lists(st.one_of(st.sampled_from(KNOWN), st.binary(max_size=10)), max_size=8))
def test_lines_that_nearly_are_a_request(lines: list[bytes]) -> None:
    found = read(b"\r\n".join(lines))
    if isinstance(found, Head):
        assert lines.count(b"Host: localhost") + lines.count(b"Host: evil") <= 1
        both = [line for line in lines if line.startswith((b"Content-Length", b"Transfer-Encoding"))]
        assert len(both) <= 1, "two readers could frame the body in two ways"


@given(
    TOKEN,
    st.lists(SEGMENT, min_size=1, max_size=5),
    st.dictionaries(
        TOKEN.filter(lambda name: name.lower() not in {"host", "connection", "expect"}), VALUE, max_size=5
    ),
)
def test_a_good_head_is_read_as_it_was_written(
    method: str, segments: list[str], fields: dict[str, str]
) -> None:
    special = {"host", "connection", "expect", "content-length", "transfer-encoding"}
    taken = {name.lower(): value for name, value in fields.items() if name.lower() not in special}
    lines = [f"{method} /{'/'.join(segments)} HTTP/1.1", "Host: localhost:1"]
    lines += [f"{name}: {value}" for name, value in taken.items()]
    head = parse_head("\r\n".join(lines).encode())
    assert (head.method, head.segments, head.length) == (method, tuple(segments), 0)
    assert taken.items() <= head.fields.items()


@given(st.text(max_size=30).filter(lambda text: "\0" not in text and "\ud800" not in text))
def test_percent_encoding_is_undone_once(text: str) -> None:
    from urllib.parse import quote

    try:
        encoded = quote(text, safe="")
    except UnicodeEncodeError:
        return
    assert parse_head(f"GET /a?q={encoded} HTTP/1.1\r\nHost: a".encode()).query == {"q": text}
    request = f"GET /a/{encoded}/b HTTP/1.1\r\nHost: a".encode()
    if text in {"", ".", ".."} or any(character == "/" or character in CONTROLS for character in text):
        with pytest.raises(Refusal):
            parse_head(request)
    else:
        assert parse_head(request).segments == ("a", text, "b")


@pytest.mark.parametrize("count", [FIELDS_MAX, FIELDS_MAX + 1])
def test_the_number_of_fields(count: int) -> None:
    lines = [b"GET / HTTP/1.1", b"Host: a", *(b"X-%d: 1" % number for number in range(count - 1))]
    assert isinstance(read(b"\r\n".join(lines)), Head) is (count == FIELDS_MAX)


@pytest.mark.parametrize(
    ("version", "fields", "persistent"),
    [("1.1", "", True), ("1.1", "Connection: close", False), ("1.1", "Connection: x, Close", False),
     ("1.0", "", False), ("1.0", "Connection: keep-alive", True)],
)  # fmt: skip
def test_connections_that_go_on(version: str, fields: str, persistent: bool) -> None:
    lines = [f"GET / HTTP/{version}", "Host: a", *([fields] if fields else [])]
    assert parse_head("\r\n".join(lines).encode()).persistent is persistent


@given(st.text(max_size=40), st.text(max_size=20), st.integers(0, 100))
def test_any_range_and_condition(text: str, condition: str, size: int) -> None:
    """Never an exception but 416, and never a part that is not there."""
    for given_condition in (None, condition):
        try:
            part = wanted_range(text, given_condition, '"e"', size)
        except Refusal as refusal:
            assert refusal.status == 416  # noqa: PT017 - the other way out is as good
            continue
        if part is not None:
            start, length = part
            assert 0 <= start < start + length <= size
    names_etag(text, '"e"')


@given(
    st.from_regex(r"bytes=([0-9]{1,3})?-([0-9]{1,3})?", fullmatch=True),
    st.integers(0, 300),
)
def test_ranges_that_nearly_fit(text: str, size: int) -> None:
    test_any_range_and_condition.hypothesis.inner_test(text, '"e"', size)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        (None, "a/b"),
        ("", "a/b"),
        ("*/*", "a/b"),
        ("c/d", "c/d"),
        ("c/*", "c/d"),
        ("C/D", "c/d"),
        ("a/b;q=0.1, c/d;q=0.2", "c/d"),
        ("a/b;q=0, */*", "c/d"),
        ("c/*;q=0.5, */*;q=0.1", "c/d"),
        ("x/y", None),
        ("a/b;q=0, c/d;q=0", None),
        ("a/b;q=2", "a/b"),
    ],
)
def test_accept(accept: str | None, found: str | None) -> None:
    if found is None:
        with pytest.raises(Refusal) as caught:
            chosen(accept, ("a/b", "c/d"))
        assert caught.value.status == 406
    else:
        assert chosen(accept, ("a/b", "c/d")) == found


@given(st.text(max_size=60))
def test_any_accept(accept: str) -> None:
    try:
        assert chosen(accept, ("a/b", "c/d")) in {"a/b", "c/d"}
    except Refusal as refusal:
        assert refusal.status == 406  # noqa: PT017 - as above
