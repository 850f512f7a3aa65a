"""State Hub: tells it of packages, from the outbox in the event log.

`POST <hub>/progress/` with identifiers, counts and a verdict, never evidence. The hub may be down, slow or
rude: an ingest neither fails nor waits for it, and the message stays in the outbox until it is delivered.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from artifactstore.errors import InvalidInputError, SettingsError
from artifactstore.model import DELIVERED
from artifactstore.setting_values import is_link_local
from artifactstore.version import __version__

if TYPE_CHECKING:
    from artifactstore.model import Linkage
    from artifactstore.store import Store

PATH = "/progress/"
TIME_LIMIT = 10.0  # seconds for one attempt, all in all
FIRST_WAIT = 30  # seconds after the first failure; doubled after each further one
LONGEST_WAIT = 6 * 3600  # seconds
_ANSWER_MAX = 1 << 16  # bytes
_TRY_LATER = {408, 429}  # request timeout, too many requests: they say nothing of the message
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message: the HTTP status, or why it did not arrive."""

    linkage: Linkage

    @property
    def delivered(self) -> bool:
        """Whether it has arrived."""
        return self.linkage.state == DELIVERED


class StateHub:
    """A State Hub at an address.

    Args:
        url: `http://` or `https://`, without credentials.
        time_limit: seconds for one attempt, whatever the number of addresses that the host has.
    Raises:
        SettingsError: the address is no such URL.
        InvalidInputError: its host or its port is malformed.
    """

    def __init__(self, url: str, *, time_limit: float = TIME_LIMIT) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidInputError(
                "the address of State Hub is malformed",
                hint="as http://host:port/path, with a port up to 65535",
            ) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError("the address of State Hub is not an http or https URL")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise SettingsError(
                "the address of State Hub holds credentials, a query or a fragment",
                hint="give scheme, host, port and path only",
            )
        if is_link_local(parts.hostname):
            raise SettingsError(
                "the address of State Hub is link-local, where clouds keep their machines' secrets",
                hint="use the name or another address of the hub",
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._path = f"{parts.path.rstrip('/')}{PATH}"
        self._time_limit = time_limit

    def send(self, linkage: Linkage) -> int:
        """Try once to deliver a message.

        Returns:
            The HTTP status, which is one of success.
        Raises:
            HubError: it did not arrive, or nobody can say that it did.
        """
        body = json.dumps(payload(linkage), sort_keys=True, separators=(",", ":")).encode()
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port)
        deadline = time.monotonic() + self._time_limit
        late = threading.Event()
        watch = threading.Timer(self._time_limit, _cut, (connection, late))
        watch.daemon = True
        watch.start()
        try:
            self._connect(connection, deadline)
            if late.is_set():
                # There was nothing yet to cut.
                raise TimeoutError
            connection.request("POST", self._path, body, _fields(linkage))
            response = connection.getresponse()
            answer = response.read(_ANSWER_MAX + 1)
            if len(answer) <= _ANSWER_MAX and response.length:
                # What it promised and did not send.
                raise http.client.IncompleteRead(answer, response.length)
            status = response.status
        except (OSError, http.client.HTTPException, ValueError) as error:
            in_time = not late.is_set() and not isinstance(error, TimeoutError)
            raise HubError(_reason(error) if in_time else "it did not answer in time", away=True) from None
        finally:
            watch.cancel()
            connection.close()
        return _accepted(status, answer)

    def _connect(self, connection: http.client.HTTPConnection, deadline: float) -> None:
        """Connect to the first address that answers; each has what is left of the time."""
        failure = OSError("the host has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            connection.host, connection.port, type=socket.SOCK_STREAM
        ):
            raw = socket.socket(family, kind, protocol)
            connection.sock = raw
            try:
                raw.settimeout(_left(deadline))
                raw.connect(address)
                break
            except OSError as error:
                raw.close()
                failure = error
        else:
            raise failure
        if self._secure:
            tls = ssl.create_default_context()
            connection.sock = tls.wrap_socket(
                raw, server_hostname=connection.host, do_handshake_on_connect=False
            )
            connection.sock.settimeout(_left(deadline))
            connection.sock.do_handshake()
        connection.sock.settimeout(_left(deadline))


class HubError(Exception):
    """An attempt failed; the text says why, without addresses or secrets.

    Args:
        away: the hub is likely away for all messages; else it has answered, and does not want this one.
    """

    def __init__(self, reason: str, *, away: bool) -> None:
        super().__init__(reason)
        self.away = away


def payload(linkage: Linkage) -> dict[str, object]:
    """What is sent of a message."""
    return {
        "idempotency_key": linkage.link_id,
        "workstream_id": linkage.workstream_id,
        "task_id": linkage.task_id,
        **linkage.message,
    }


def deliver(store: Store, hub: StateHub, *, actor: str, now: int, everything: bool = False) -> list[Delivery]:
    """Deliver what is due, the longest due first.

    A hub that is away (no connection, no answer in time, 5xx, 408 or 429) ends it; a message that the hub
    refuses waits longer and holds up no other.

    Args:
        now: the present moment, in microseconds.
        everything: also what is not due yet.
    Returns:
        What was tried.
    """
    tried = []
    for linkage in store.list_linkages(undelivered=True, due_at=None if everything else now):
        try:
            status = hub.send(linkage)
        except HubError as error:
            retry_at = now + wait_after(linkage.attempts + 1) * _MICROSECONDS
            failed = store.record_linkage_failed(
                linkage.link_id, reason=str(error), retry_at=retry_at, actor=actor
            )
            tried.append(Delivery(failed))
            if error.away:
                break
            continue
        tried.append(Delivery(store.record_linkage_delivered(linkage.link_id, status=status, actor=actor)))
    return tried


def wait_after(attempts: int) -> int:
    """Seconds until a message is due again after so many attempts."""
    return min(LONGEST_WAIT, FIRST_WAIT << min(attempts - 1, 20))


def _fields(linkage: Linkage) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": linkage.link_id,
        "User-Agent": f"artifactstore/{__version__}",
    }


def _accepted(status: int, answer: bytes) -> int:
    """The status, if the hub has said clearly that it has the message."""
    if 300 <= status < 400:
        raise HubError(f"it answered {status}, and redirects are not followed", away=False)
    if not 200 <= status < 300:
        raise HubError(f"it answered {status}", away=status >= 500 or status in _TRY_LATER)
    if len(answer) > _ANSWER_MAX:
        raise HubError(f"it answered {status} with too long a text", away=False)
    if answer.strip():
        # A proxy or a portal may answer 200 to anything, but hardly with JSON.
        try:
            json.loads(answer)
        except (ValueError, RecursionError):
            raise HubError(f"it answered {status} with something that is not JSON", away=False) from None
    return status


def _cut(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    """End a conversation from another thread: a hub that sends a byte now and then would go on for ever."""
    late.set()
    with contextlib.suppress(OSError, AttributeError):
        # Below TLS: its own way would send what is left in the clear.
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _left(deadline: float) -> float:
    """Seconds until then.

    Raises:
        TimeoutError: there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"it cannot be reached: {error.strerror or type(error).__name__}"
    return f"its answer is broken: {type(error).__name__}"
