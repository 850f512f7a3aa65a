"""Requests that no honest client sends, as raw bytes: each gets its one answer and the connection is closed.

The rows are those of the threat model, docs/explanation/threats.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from store.harness import Home

from artifactstore.httpapi import Limits
from httpapi.harness import OPERATOR, PUSHER, READER, raw, serving

if TYPE_CHECKING:
    from artifactstore import Store
    from artifactstore.httpapi import Server

HOST = b"Host: 127.0.0.1\r\n"
KEY = f"Authorization: Bearer {PUSHER}\r\n".encode()
JSON = b"Content-Type: application/json\r\n"
BODY = b'{"name":"evil","producer":"p","subject":"s"}'
LENGTH = b"Content-Length: %d" % len(BODY)
SMUGGLED = b"POST /packages HTTP/1.1\r\n" + HOST + KEY + JSON + LENGTH + b"\r\n\r\n" + BODY


def get(target: bytes = b"/health", *lines: bytes, version: bytes = b"HTTP/1.1", host: bytes = HOST) -> bytes:
    """A GET with further lines."""
    return (
        b"GET "
        + target
        + b" "
        + version
        + b"\r\n"
        + host
        + b"".join(line + b"\r\n" for line in lines)
        + b"\r\n"
    )


def post(*lines: bytes, body: bytes = BODY) -> bytes:
    """A POST of a package whose framing the lines give."""
    return (
        b"POST /packages HTTP/1.1\r\n" + HOST + KEY + JSON + b"".join(line + b"\r\n" for line in lines)
        + b"\r\n" + body
    )  # fmt: skip


CHUNKED = b"Transfer-Encoding: chunked"
LINES_OF_LF = (b"2\n{}\n0\n\n", b"2\n", b"2\r{}", b"2\0")


@dataclass(frozen=True)
class Attack:
    """Bytes, and the one status that answers them."""

    name: str
    data: bytes
    status: int


ATTACKS = [
    # H1: framing that two readers could understand in two ways
    Attack("both lengths", post(LENGTH, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED), 400),
    Attack("both lengths, other order", post(CHUNKED, LENGTH, body=b"0\r\n\r\n" + SMUGGLED), 400),
    Attack("two lengths", post(b"Content-Length: 0", LENGTH), 400),
    Attack("two equal lengths", post(LENGTH, LENGTH), 400),
    Attack("list of lengths", post(b"Content-Length: 2, 2"), 400),
    *(
        Attack(f"length {text!r}", post(b"Content-Length: " + text), 400)
        for text in (b"+2", b"1_0", b"-1", b"0x2", b"", b"2 2", b"1" + b"0" * 20, b"2.0", b"\xb2")
    ),
    Attack("blank before colon", post(b"Content-Length : 44"), 400),
    Attack("folded field", get(b"/health", b"X-A: 1", b" folded"), 400),
    Attack("tab-folded field", get(b"/health", b"X-A: 1", b"\tfolded"), 400),
    Attack("bare CR in a value", get(b"/health", b"X-A: 1\rX-B: 2"), 400),
    Attack("bare LF in a value", get(b"/health", b"X-A: 1\nX-B: 2"), 400),
    Attack("bare LF at the ends of lines", get().replace(b"\r\n", b"\n"), 400),
    Attack("NUL in a value", get(b"/health", b"X-A: 1\x002"), 400),
    Attack("control character in a value", get(b"/health", b"X-A: 1\x012"), 400),
    Attack("NUL in a name", get(b"/health", b"X\x00A: 1"), 400),
    Attack("no colon", get(b"/health", b"X-A 1"), 400),
    Attack("no name", get(b"/health", b": 1"), 400),
    Attack("name outside ASCII", get(b"/health", b"X-\xc3\xa4: 1"), 400),
    Attack("first field begins with a blank", b"GET /health HTTP/1.1\r\n X: 1\r\n" + HOST + b"\r\n", 400),
    # H2: transfer codings
    Attack("unknown coding", post(b"Transfer-Encoding: gzip", body=b""), 501),
    Attack("coding after chunked", post(b"Transfer-Encoding: chunked, gzip", body=b""), 501),
    Attack("coding before chunked", post(b"Transfer-Encoding: gzip, chunked", body=b""), 501),
    Attack("two codings in two fields", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 400),
    Attack("disguised coding", post(b"Transfer-Encoding: xchunked", body=b""), 501),
    Attack("chunked in HTTP/1.0", post(CHUNKED, body=b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    Attack("chunk without a size", post(CHUNKED, body=b"\r\nab\r\n0\r\n\r\n"), 400),
    Attack("chunk of -1", post(CHUNKED, body=b"-1\r\n\r\n"), 400),
    Attack("chunk of 0x2", post(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"), 400),
    Attack("chunk of +2", post(CHUNKED, body=b"+2\r\n{}\r\n0\r\n\r\n"), 400),
    Attack("chunk with an extension", post(CHUNKED, body=b"2;a=b\r\n{}\r\n0\r\n\r\n"), 400),
    Attack("chunk of 2^64", post(CHUNKED, body=b"1" + b"0" * 16 + b"\r\n{}\r\n0\r\n\r\n"), 400),
    Attack("chunk that is longer", post(CHUNKED, body=b"2\r\n{}x\r\n0\r\n\r\n"), 400),
    Attack("chunk line that ends by LF", post(CHUNKED, body=b"2\n{}\r\n0\r\n\r\n"), 400),
    Attack("chunks whose lines all end by LF", post(CHUNKED, body=b"2\n{}\n0\n\n"), 400),
    Attack("chunk line that ends by CR", post(CHUNKED, body=b"2\r{}\r0\r\r"), 400),
    Attack("endless size of a chunk", post(CHUNKED, body=b"0" * 100), 400),
    Attack("size of a chunk longer than its line may be", post(CHUNKED, body=b"0" * 100 + b"\r\n\r\n"), 400),
    Attack("endless trailer", post(CHUNKED, body=b"0\r\nX: " + b"a" * 9000), 400),
    Attack("too many trailers", post(CHUNKED, body=b"0\r\n" + b"X: 1\r\n" * 50 + b"\r\n"), 400),
    # H3: bodies without a length, or too long ones
    Attack("no length", post(body=b""), 411),
    Attack("JSON too large", post(b"Content-Length: 99999999"), 413),
    Attack("body that is not wanted", get(b"/packages", KEY.strip(), b"Content-Length: 5") + b"abcde", 413),
    # H4: sizes
    Attack("long target", get(b"/" + b"a" * 9000), 414),
    Attack("long field", get(b"/health", b"X-A: " + b"a" * 40_000), 431),
    Attack("many fields", get(b"/health", *(b"X-%d: 1" % number for number in range(100))), 431),
    Attack("endless first line", b"G" * 20_000, 414),
    # H6: hosts and forms of targets
    Attack("no host", get(host=b""), 400),
    Attack("two hosts", get(host=HOST + b"Host: evil.example\r\n"), 400),
    Attack("foreign host", get(host=b"Host: evil.example\r\n"), 421),
    Attack("foreign host with our name in it", get(host=b"Host: 127.0.0.1.evil.example\r\n"), 421),
    Attack("host with user", get(host=b"Host: a@127.0.0.1\r\n"), 400),
    Attack("empty host", get(host=b"Host:\r\n"), 400),
    Attack("absolute form", get(b"http://127.0.0.1/health"), 400),
    Attack("absolute form, foreign", get(b"http://evil.example/health"), 400),
    Attack("authority form", b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Attack("fragment", get(b"/health#a"), 400),
    Attack("blank in the target", get(b"/hea lth"), 400),
    Attack("target outside ASCII", get("/hällth".encode()), 400),
    Attack("control character in the target", get(b"/hea\x7flth"), 400),
    Attack("no version", b"GET /health\r\n\r\n", 400),
    Attack("version 0.9", get(version=b"HTTP/0.9"), 505),
    Attack("version 2", get(version=b"HTTP/2.0"), 505),
    Attack("version in small letters", get(version=b"http/1.1"), 400),
    Attack("two blanks", b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    Attack("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Attack("TLS to a plain port", bytes.fromhex("16030100c8010000c40303") + bytes(200), 400),
    # Percent-encoding
    Attack("broken escape", get(b"/packages/%zz", KEY.strip()), 400),
    Attack("half an escape", get(b"/packages/%4", KEY.strip()), 400),
    Attack("encoded NUL", get(b"/packages/a%00b", KEY.strip()), 400),
    Attack("overlong slash", get(b"/packages/%c0%af", KEY.strip()), 400),
    Attack("overlong dot", get(b"/packages/%e0%80%ae", KEY.strip()), 400),
    Attack("surrogate", get(b"/packages/%ed%a0%80", KEY.strip()), 400),
    # Paths that a proxy in front could take for others
    Attack("traversal", get(b"/files/../packages", KEY.strip()), 400),
    Attack("encoded traversal", get(b"/files/%2e%2e/packages", KEY.strip()), 400),
    Attack("half encoded traversal", get(b"/files/.%2E/packages", KEY.strip()), 400),
    Attack("encoded dot", get(b"/%2e/health", KEY.strip()), 400),
    Attack("encoded slash", get(b"/files/a%2Fb", KEY.strip()), 400),
    Attack("encoded line break", get(b"/files/a%0d%0aX:b", KEY.strip()), 400),
    Attack("empty segment", get(b"//health"), 400),
    Attack("parameter twice", get(b"/packages?limit=1&limit=2", KEY.strip()), 400),
    # H11: expectations
    Attack("other expectation", get(b"/health", b"Expect: 200-ok"), 417),
    # H12: methods
    Attack("unknown method", b"BREW /health HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    Attack("method with a strange letter", b"G\xc3T /health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> object:
    """One server for all attacks: none of them may harm those who come later."""
    with Home(tmp_path_factory.mktemp("victim")).open() as store, serving(store) as server:
        yield store, server


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_gets_one_refusal_and_the_connection_ends(
    victim: tuple[Store, Server], attack: Attack
) -> None:
    store, server = victim
    before = store.newest_sequence()
    answers = raw(server, attack.data + SMUGGLED)
    assert answers.statuses == [attack.status], answers.data
    assert answers.closed
    assert b"application/problem+json" in answers.data
    assert b"Traceback" not in answers.data
    assert re.search(rb"\bPython\b", answers.data, re.IGNORECASE) is None
    assert store.newest_sequence() == before, "something of the attack was done"


def test_there_are_as_many_attacks_as_were_asked_for() -> None:
    assert len(ATTACKS) >= 53
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


def test_two_good_requests_on_one_connection_get_two_answers(victim: tuple[Store, Server]) -> None:
    """What the attacks try is not refused because nothing is answered."""
    answers = raw(victim[1], SMUGGLED + get(b"/health", b"Connection: close"))
    assert answers.statuses == [201, 200]
    assert answers.closed


def test_a_chunked_body_is_decoded(victim: tuple[Store, Server]) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:]))
    answers = raw(victim[1], post(CHUNKED, b"Connection: close", body=chunks + b"0\r\nX-Trailer: 1\r\n\r\n"))
    assert answers.statuses == [201]


@pytest.mark.parametrize(
    "wanted",
    [b"bytes=5-2", b"bytes=a-b", b"lines=0-1", b"bytes=", b"bytes=0-1,3-4", b"bytes=-", b"bytes 0-1",
     b"bytes=" + b",".join(b"%d-%d" % (number, number) for number in range(1000))],
)  # fmt: skip
def test_a_range_that_is_none_is_answered_with_the_whole(
    server: Server, client: object, wanted: bytes
) -> None:
    package = client.finalized({"a.txt": b"0123456789"})  # type: ignore[operator,attr-defined]
    key = f"Authorization: Bearer {READER}".encode()
    target = f"/packages/{package}/files/a.txt".encode()
    answers = raw(server, get(target, key, b"Range: " + wanted, b"Connection: close"))
    assert answers.statuses == [200]
    assert answers.final == b"0123456789"


@pytest.mark.parametrize("wanted", [b"bytes=999-", b"bytes=10-", b"bytes=-0", b"bytes=10-12"])
def test_a_range_outside_is_416(server: Server, client: object, wanted: bytes) -> None:
    package = client.finalized({"a.txt": b"0123456789"})  # type: ignore[operator,attr-defined]
    key = f"Authorization: Bearer {READER}".encode()
    target = f"/packages/{package}/files/a.txt".encode()
    answers = raw(server, get(target, key, b"Range: " + wanted, b"Connection: close"))
    assert answers.statuses == [416]
    assert b"Content-Range: bytes */10\r\n" in answers.data


def test_a_bad_token_is_refused_before_the_client_is_asked_for_its_body(server: Server) -> None:
    request = post(LENGTH, b"Expect: 100-continue", body=b"").replace(PUSHER.encode(), b"wrong")
    answers = raw(server, request)
    assert answers.statuses == [401]
    assert answers.closed


def test_a_client_that_waits_for_leave_gets_it(server: Server) -> None:
    request = post(LENGTH, b"Expect: 100-continue", b"Connection: close")
    assert raw(server, request).statuses == [100, 201]


@pytest.mark.parametrize(
    "line",
    [
        b"Origin: https://evil.example",
        b"Origin: null",
        b"Origin: file://127.0.0.1",
        b"Origin: https://127.0.0.1",
        b"Origin: 127.0.0.1",
        b"Sec-Fetch-Site: cross-site",
        b"Sec-Fetch-Site: same-site",
    ],
)  # fmt: skip
def test_a_page_of_another_site_changes_nothing(store: Store, server: Server, line: bytes) -> None:
    before = store.newest_sequence()
    answers = raw(server, post(LENGTH, line))
    assert answers.statuses == [403]
    assert b"Access-Control" not in answers.data
    assert store.newest_sequence() == before


def test_a_page_of_our_own_changes_something(server: Server) -> None:
    answers = raw(server, post(LENGTH, b"Origin: http://127.0.0.1", b"Connection: close"))
    assert answers.statuses == [201]


@pytest.mark.parametrize("line", LINES_OF_LF)
def test_a_chunk_without_its_line_end_is_answered_at_once(server: Server, line: bytes) -> None:
    """The client says no more, and waits: the refusal comes long before the time for a line is up."""
    answers = raw(server, post(CHUNKED, body=line), patience=Limits().stall / 2)
    assert answers.statuses == [400]


@pytest.mark.parametrize(
    "kind", [b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=a", b"text/plain", b""]
)
def test_what_a_form_can_send_is_415(server: Server, kind: bytes) -> None:
    request = post(LENGTH).replace(JSON, b"Content-Type: " + kind + b"\r\n")
    assert raw(server, request).statuses == [415]


def test_a_method_that_a_path_does_not_have_is_405(server: Server) -> None:
    for method in (b"DELETE", b"PATCH", b"TRACE"):
        answers = raw(server, method + b" /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert answers.statuses == [405]
        assert b"Allow: GET, HEAD, OPTIONS\r\n" in answers.data


def test_a_field_that_overrides_the_method_is_not_read(server: Server) -> None:
    request = get(b"/health", b"X-HTTP-Method-Override: DELETE", b"Connection: close")
    assert raw(server, request).statuses == [200]


def test_a_refusal_does_not_echo_what_was_sent(server: Server) -> None:
    evil = b"<script>alert(1)</script>"
    answers = raw(
        server,
        get(
            b"/packages/" + evil.replace(b"<", b"%3c").replace(b">", b"%3e"),
            KEY.strip(),
            b"Connection: close",
        ),
    )
    assert b"application/problem+json" in answers.data
    long = raw(server, get(b"/packages/" + b"a" * 5000, KEY.strip(), b"Connection: close"))
    assert b"a" * 200 not in long.data


def test_nothing_is_done_by_a_request_that_breaks_off(store: Store, home: Home, server: Server) -> None:
    before = home.snapshot()
    cut = [SMUGGLED[:length] for length in (1, 20, 60, len(SMUGGLED) - 1)]
    for part in cut:
        assert raw(server, part, finish=True).closed
    key = f"Authorization: Bearer {OPERATOR}\r\n".encode()
    upload = b"PUT /packages/00000000/files/a HTTP/1.1\r\n" + HOST + key + b"Content-Length: 100\r\n\r\nabc"
    assert raw(server, upload, finish=True).closed
    assert home.snapshot() == before
