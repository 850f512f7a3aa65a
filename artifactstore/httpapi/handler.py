"""One connection: request after request, each read, admitted, answered and logged."""

from __future__ import annotations

import contextlib
import logging
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, cast

from artifactstore.errors import ArtifactStoreError
from artifactstore.httpapi.access import ADMIN, ANONYMOUS
from artifactstore.httpapi.answers import JSON, Answer, head_bytes, problem
from artifactstore.httpapi.head import Head, parse_head
from artifactstore.httpapi.refusals import Disconnected, Refusal, refusal_of
from artifactstore.httpapi.routes import BYTES, Call
from artifactstore.httpapi.table import find
from artifactstore.httpapi.wire import Body, Wire
from artifactstore.paths import printable

if TYPE_CHECKING:
    from artifactstore.httpapi.routes import Route
    from artifactstore.httpapi.server import Server
    from artifactstore.httpapi.service import Service

_log = logging.getLogger(__name__)
_ACCESS = logging.getLogger("artifactstore.access")
_DRAINED = 1 << 16  # bytes of an unwanted body that are read to keep a connection


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection, on its own thread.

    The reading of a request is ours: the standard library's takes lines that other readers take otherwise.
    """

    def setup(self) -> None:
        """Take the connection over."""
        self._server = cast("Server", self.server)
        self._service: Service = self._server.service
        self._wire = Wire(self.request, self._service.limits)
        self._peer = str(self.client_address[0])

    def finish(self) -> None:
        """End the connection; while its last answer is taken, it gives way as an idle one does."""
        self._server.mark_ending(self.request)
        self._wire.close()

    def handle(self) -> None:
        """Answer until the connection ends."""
        self.close_connection = False
        try:
            while not self.close_connection:
                self.handle_one_request()
        except Disconnected:
            pass

    def handle_one_request(self) -> None:
        """Read, answer and log one request."""
        self._server.mark_idle(self.request)
        exchange = _Exchange(self._service, self._wire, self._peer, self._server)
        try:
            data = self._wire.read_head()
        except TimeoutError:
            data = None
        except Refusal as refusal:
            exchange.refuse(refusal)
            data = None
        if data is None or not self._server.mark_busy(self.request):
            self.close_connection = True
            return
        self.close_connection = not exchange.run(data)


class _Exchange:
    """One request and its answer."""

    def __init__(self, service: Service, wire: Wire, peer: str, server: Server) -> None:
        self._service = service
        self._wire = wire
        self._peer = peer
        self._server = server
        self._started = time.monotonic()
        self._head: Head | None = None
        self._body: Body | None = None
        self._name = ANONYMOUS
        self._begun = False
        wire.begin_answer()

    def run(self, data: bytes) -> bool:
        """Answer a request; false if the connection cannot be used any more."""
        answer: Answer | None = None
        try:
            answer = self._answer(data)
            return self._send(answer)
        except Refusal as refusal:
            return self.refuse(refusal)
        except ArtifactStoreError as error:
            told = refusal_of(error)
            if told.status >= 500:
                _log.error("%s: %s", error.code, error.message)
            return self.refuse(told)
        except Disconnected:
            self._note(499)
            return False
        except Exception:  # noqa: BLE001 - as the comment says
            # Whatever it is, the client gets no trace of it, and the operator all of it.
            _log.exception("a request failed")
            return self.refuse(Refusal(500, "something is wrong in the server", code="internal", close=True))
        finally:
            if answer is not None and not isinstance(answer.body, bytes):
                answer.body.close()

    def refuse(self, refusal: Refusal) -> bool:
        """Answer with a problem; false if the connection cannot be used any more."""
        if self._begun:
            # An answer is under way: all that is left is to let it end too early.
            self._note(refusal.status)
            return False
        try:
            return self._send(problem(refusal))
        except Disconnected:
            self._note(499)
            return False

    # In

    def _answer(self, data: bytes) -> Answer:
        head = self._head = parse_head(data)
        changes = head.method not in {"GET", "HEAD", "OPTIONS"}
        self._service.hosts.check(head.fields, changes=changes)
        found = find(head.method, head.segments)
        if isinstance(found, str):
            return Answer(204, fields={"Allow": found})
        route, path = found
        principal = self._service.tokens.admit(head.fields, route.scope)
        self._name = principal.name
        limits = self._service.limits
        document = limits.plan if route.scope == ADMIN else limits.document
        limit = limits.body if route.body == BYTES else document
        _refuse_body(head, route, limit)
        self._body = Body(self._wire, head.length, limits=limits, limit=limit, proceed=self._proceed)
        with contextlib.ExitStack() as held:
            call = Call(self._service, route, head, self._body, principal, path, held)
            call.check_query()
            held.enter_context(self._service.working(sending=head.length != 0))
            return route.respond(call)

    def _proceed(self) -> None:
        if self._head is not None and self._head.expects_continue:
            self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _drained(self) -> bool:
        """Whether nothing of the request is left on the connection."""
        if self._head is None:
            return False
        body = self._body
        if body is None:
            return self._head.length == 0
        if not body.begun and self._head.expects_continue:
            return body.done  # nobody knows whether the client sends it now
        try:
            while not body.done and body.count < _DRAINED and body.read(_DRAINED):
                pass
        except (Refusal, Disconnected):
            return False
        return body.done

    # Out

    def _send(self, answer: Answer) -> bool:
        head = self._head
        size = len(answer.body) if isinstance(answer.body, bytes) else answer.body.size
        modern = head is not None and head.version >= (1, 1)
        chunked = size is None and modern
        without_body = answer.status in {204, 304} or (head is not None and head.method == "HEAD")
        persistent = (
            head is not None
            and head.persistent
            and not answer.close
            and (size is not None or modern)
            and not self._server.stopping
            and self._drained()
        )
        first = head_bytes(answer, persistent=persistent, size=size, chunked=chunked)
        self._begun = True
        if isinstance(answer.body, bytes):
            self._wire.send(first if without_body else first + answer.body)
        else:
            self._wire.send(first)
            if not without_body:
                # Not one of those that work: a client that takes it slowly must keep nobody else waiting.
                answer.body.write(self._wire, self._chunks if chunked else self._wire.send)
                if chunked:
                    self._wire.send(b"0\r\n\r\n")
        self._note(answer.status)
        return persistent

    def _chunks(self, data: bytes) -> None:
        if data:
            self._wire.send(b"%x\r\n%b\r\n" % (len(data), data))

    def _note(self, status: int) -> None:
        """One line in the access log: no query, no fields, no bodies, so no secret either."""
        head = self._head
        method = "-" if head is None else head.method
        path = "-" if head is None else head.path
        milliseconds = round((time.monotonic() - self._started) * 1000, 1)
        _ACCESS.info(
            "%s %s %s %d %d %.1fms %s",
            self._peer,
            method[:16],
            printable(path)[1:-1],
            status,
            self._wire.sent,
            milliseconds,
            self._name,
            extra={
                "peer": self._peer,
                "method": method[:16],
                "path": path[:200],
                "status": status,
                "sent": self._wire.sent,
                "received": 0 if self._body is None else self._body.count,
                "milliseconds": milliseconds,
                "token": self._name,
            },
        )


def _refuse_body(head: Head, route: Route, limit: int) -> None:
    """Refuse a body that the route cannot take before any of it is read."""
    if route.changes and route.body is not None and route.body_required and not head.has_length:
        raise Refusal(411, "the length of the body is missing", hint="send Content-Length", close=True)
    if head.length is not None and head.length > limit:
        raise Refusal(413, f"the body is larger than {limit} bytes", close=True)
    if head.length == 0:
        return
    if route.body is None:
        raise Refusal(413, "this takes no body", close=True)
    if "content-encoding" in head.fields:
        raise Refusal(415, "no content coding is taken", hint="send the bytes as they are", close=True)
    kind = head.fields.get("content-type", "").partition(";")[0].strip().lower()
    if route.body != BYTES and kind != JSON:
        raise Refusal(415, "the body is to be application/json", close=True)
