"""Requests that get an answer: with the token, tried again where that is safe, refusals as errors."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import random
import ssl
import time
from typing import TYPE_CHECKING, Any, TypeVar

from artifactstore.client.connection import Body, BrokenError, NotSentError, Pool, Request
from artifactstore.client.failures import (
    PROBLEM,
    foreign,
    is_unreachable,
    redirected,
    refusal,
    unreachable,
)
from artifactstore.errors import BackendError, InvalidInputError
from artifactstore.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from http.client import HTTPResponse

    from _typeshed import WriteableBuffer

    from artifactstore.client.address import Address
    from artifactstore.client.connection import Connection

ResultT = TypeVar("ResultT")

JSON = "application/json"
CBOR = "application/cbor"

_PAUSES = (0.1, 0.4, 1.6)  # seconds before each further try, on the average
_PAUSE_MAX = 30.0  # seconds; of what a server asks for
_GOOD = frozenset({200, 201, 202, 204, 206})
_BUSY = frozenset({429, 503})  # not begun, says a server of ours
_UNKNOWN = frozenset({"no-such-path", "method-not-allowed", "not-implemented"})  # of which version is it?
_GATEWAY = frozenset({502, 504})  # says a proxy; nobody knows whether it was done
DOCUMENT_MAX = 256 << 20  # bytes of one JSON or CBOR answer
_PROBLEM_MAX = 64 << 10


class Answer(io.RawIOBase):
    """The answer to a request: its status, its headers and, as a stream, its body.

    Reading to the end or closing gives the connection back.

    Raises:
        BackendError: from every read, if the connection fails or the body is cut short.
    """

    def __init__(self, transport: Transport, connection: Connection, raw: HTTPResponse) -> None:
        self.status = raw.status
        self.reason = raw.reason
        self.headers = raw.headers
        self.length = raw.length  # bytes, None if the server does not say
        self._transport = transport
        self._connection = connection
        self._raw = raw
        self._left = raw.length

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there; 0 at the end."""
        try:
            count = self._raw.readinto(buffer)
        except (OSError, http.client.HTTPException) as error:
            raise self._transport.lost(error) from error
        if self._left is not None:
            self._left -= count
            with memoryview(buffer) as view:
                wanted = view.nbytes
            if not count and wanted and self._left:
                raise self._transport.lost(None)
        return count

    def whole(self, limit: int) -> bytes:
        """All of the body.

        Raises:
            BackendError: it is longer than the limit, in bytes.
        """
        with self:
            data = bytearray()
            while part := self.read(min(1 << 20, limit + 1 - len(data))):
                data += part
                if len(data) > limit:
                    raise self._transport.foreign(f"it has more than {limit} bytes")
            return bytes(data)

    def close(self) -> None:
        """Give the connection back."""
        if not self.closed:
            super().close()
            self._transport.done(self._connection, self._raw)


class Transport:
    """Sends requests to one server. Safe to share between threads and after a fork.

    Args:
        token: goes into a header of each request, and nowhere else.
        timeout: seconds of silence after which the server counts as away.
        tries: how often a request is sent at most.
        connections: kept open at most.
        tls: trusts the authorities of the system if not given.
    """

    def __init__(
        self,
        address: Address,
        token: str | None,
        *,
        timeout: float,
        tries: int,
        connections: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise InvalidInputError("the token holds a character that no header can carry")
        self.address = address
        self._token = token
        self._tries = tries
        context = (tls or ssl.create_default_context()) if address.secure else None
        self._pool = Pool(address, context, timeout, keep=connections)

    def __repr__(self) -> str:
        return f"<Transport to {self.address}>"

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def abort(self) -> None:
        """Give up whatever is under way on other threads; of no use after that."""
        self._pool.abort()

    def ask(self, request: Request) -> Answer:
        """Send a request until it is answered, and hand out a good answer.

        Raises:
            ArtifactStoreError: what the server refuses with, in its own words.
            BackendError: no answer, a redirect, or one that is none of ours.
        """
        return self._tried(request, lambda answer: answer)

    def read(self, request: Request, limit: int = DOCUMENT_MAX) -> tuple[str, bytes]:
        """Send a request until it is answered to the end; the media type and the bytes of the answer.

        Args:
            limit: of the answer, in bytes.
        Raises:
            as `ask`.
        """
        return self._tried(request, lambda answer: (answer.headers.get_content_type(), answer.whole(limit)))

    def _tried(self, request: Request, use: Callable[[Answer], ResultT]) -> ResultT:
        pauses = self.pauses()
        while True:
            pause = pauses.pop(0) if pauses else None
            wait = 0.0
            try:
                answer = self._send(request)
                asked = self._asked_to_wait(answer, request)
                if pause is None or asked is None:
                    return use(self._accepted(answer, request))
                wait = asked
                with contextlib.suppress(BackendError):
                    answer.whole(_PROBLEM_MAX)
            except NotSentError as error:
                if pause is None or not _may_pass(error.__cause__):
                    raise unreachable(self.address, error.__cause__, sent=False) from error.__cause__
            except BrokenError as error:
                if pause is None or not request.repeatable:
                    cause = error.__cause__
                    raise unreachable(self.address, cause, sent=not request.repeatable) from cause
            except BackendError as error:
                if pause is None or not request.repeatable or not is_unreachable(error):
                    raise
            time.sleep(max(pause, wait))

    def pauses(self) -> list[float]:
        """Seconds to wait before each further try.

        Spread, so that many clients that a server has turned away do not come back together.
        """
        return [pause * random.uniform(0.5, 1.5) for pause in _PAUSES[: self._tries - 1]]  # noqa: S311 - no secret

    def document(self, request: Request) -> Any:
        """Send a request and read the JSON document that it is answered with.

        Raises:
            as `ask`; BackendError also if it is not JSON.
        """
        content_type, data = self.read(request)
        if content_type != JSON:
            raise self.foreign(f"it is {content_type} instead of JSON")
        try:
            return json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise self.foreign("it is not JSON") from error

    def send(
        self, method: str, place: str, document: object, headers: Mapping[str, str], *, waits: float = 0.0
    ) -> Any:
        """Send a JSON document and read the one that it is answered with.

        It is tried again only with an idempotency key among the headers.

        Args:
            waits: seconds that the server may let us wait beyond the usual.
        """
        again = "Idempotency-Key" in headers
        return self.document(
            Request(
                method,
                place,
                {"Content-Type": JSON, **headers},
                _json_body(document),
                repeatable=again,
                waits=waits,
            )
        )

    def ask_with(self, method: str, place: str, document: object) -> Any:
        """The same for a question that is too long for a URL: it changes nothing."""
        return self.document(Request(method, place, {"Content-Type": JSON}, _json_body(document)))

    def foreign(self, what: str) -> BackendError:
        """The answer is not one that an artifactstore of this version gives.

        Args:
            what: is wrong with it.
        """
        version = self._version_there()
        return foreign(self.address, what, None if version == __version__ else version, self._token)

    def _version_there(self) -> str | None:
        """The version that the server says it is; None if it is no artifactstore, or away by now."""
        try:
            with self._send(Request("GET", "/")) as answer:
                banner = json.loads(answer.read(_PROBLEM_MAX))
        except (NotSentError, BrokenError, BackendError, ValueError, RecursionError):
            return None
        if not isinstance(banner, dict) or banner.get("service") != "artifactstore":
            return None
        return str(banner.get("version"))

    def lost(self, cause: BaseException | None) -> Exception:
        """The connection failed in the middle of an answer."""
        return unreachable(self.address, cause, sent=False)

    def done(self, connection: Connection, raw: HTTPResponse) -> None:
        """An answer is read, or not wanted any more."""
        self._pool.give_back(connection, raw)

    def _send(self, request: Request) -> Answer:
        headers = {
            "User-Agent": f"artifactstore/{__version__}",
            "Accept": JSON,
            **({} if self._token is None else {"Authorization": f"Bearer {self._token}"}),
            **request.headers,
        }
        connection = self._pool.take(new=not request.repeatable)
        try:
            sent = Request(
                request.method, self.address.path + request.target, headers, request.body, waits=request.waits
            )
            return Answer(self, connection, connection.send(sent))
        except BaseException:
            self._pool.discard(connection)
            raise

    def _asked_to_wait(self, answer: Answer, request: Request) -> float | None:
        """Seconds after which to try again; None if this answer is the one."""
        if _is_expected(answer, request):
            return None
        ours = answer.headers.get_content_type() == PROBLEM
        again = (answer.status in _BUSY and (ours or request.repeatable)) or (
            answer.status in _GATEWAY and request.repeatable
        )
        if not again:
            return None
        with contextlib.suppress(ValueError):
            return min(max(float(answer.headers.get("Retry-After", "0")), 0.0), _PAUSE_MAX)
        return 0.0

    def _accepted(self, answer: Answer, request: Request) -> Answer:
        if answer.status in _GOOD or _is_expected(answer, request):
            return answer
        with answer:
            if 300 <= answer.status < 400 and answer.status != 304:
                raise redirected(self.address, answer.headers.get("Location"), self._token)
            body = answer.read(_PROBLEM_MAX)
            while (more := answer.read(_PROBLEM_MAX)) and len(body) < _PROBLEM_MAX:
                body += more
        error = refusal(answer.status, answer.reason, answer.headers.get_content_type(), body, self._token)
        raise self.foreign(error.message) if error.code in _UNKNOWN else error


def _json_body(document: object) -> Body:
    return Body.of(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())


def _is_expected(answer: Answer, request: Request) -> bool:
    return answer.status in request.expects and answer.headers.get_content_type() == JSON


def _may_pass(cause: BaseException | None) -> bool:
    """Whether a connection that did not come about may do so in a moment."""
    return not isinstance(cause, ssl.SSLCertVerificationError | ConnectionAbortedError)


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not a JSON number")
