"""Waiting for events behind an HTTP API: a long poll instead of asking again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore.client import answers
from artifactstore.client.connection import Request
from artifactstore.client.targets import target
from artifactstore.client.transport import CBOR, DOCUMENT_MAX

if TYPE_CHECKING:
    from artifactstore.client.transport import Transport

_WAIT_MAX = 60.0  # seconds that a server lets us wait


class Arrivals:
    """Tells when the log behind an API has grown beyond a place; as `arrivals.Arrivals` does for one here."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def wait(self, after: int, timeout: float, /) -> bool:
        """Wait until there is an event behind `after`.

        Args:
            timeout: seconds, 60 at most.
        Returns:
            False if there is none when the time is up.
        """
        seconds = min(timeout, _WAIT_MAX)
        query = (("after", after), ("limit", 1), ("wait", f"{seconds:.3f}"))
        request = Request("GET", target("events", query=query), {"Accept": CBOR}, waits=seconds)
        _, data = self._transport.read(request, DOCUMENT_MAX)
        try:
            return bool(answers.events(data, after))
        except answers.MalformedError as error:
            raise self._transport.foreign(str(error)) from None

    def close(self) -> None:
        """The connection belongs to the client."""
