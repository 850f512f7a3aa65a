"""Repeating a call safely: a caller's key for a request, kept in the log with the request's digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import codec, package_queries
from artifactstore.errors import ConflictError, StateError
from artifactstore.events import Idempotency
from artifactstore.fields import check_label
from artifactstore.model import GARBAGE_COLLECTED

if TYPE_CHECKING:
    from artifactstore.codec import Value
    from artifactstore.connection import Connection
    from artifactstore.model import Package


def request(key: str | None, call: str, *arguments: Value) -> Idempotency | None:
    """What a key stands for: the call with all its arguments; None without a key.

    Raises:
        InvalidInputError: the key is empty, too long or unprintable.
    """
    if key is None:
        return None
    check_label(key, field="idempotency key")
    return Idempotency(key, hashlib.sha256(codec.encode([call, *arguments])).digest())


def first_use(connection: Connection, wanted: Idempotency | None) -> int | None:
    """The sequence of the event that this very request made before, or None if it is new.

    Raises:
        ConflictError: the key was used for another request.
    """
    found = None if wanted is None else package_queries.idempotent_event(connection, wanted.key)
    if wanted is None or found is None:
        return None
    known, sequence = found
    if known != wanted.request:
        raise ConflictError(
            f"the idempotency key {wanted.key!r} was used with other arguments",
            hint="use a new key for a new request",
            code="idempotency-conflict",
        )
    return sequence


def is_repeated(connection: Connection, key: str | None) -> bool:
    """Whether a key was used before: then the first result counts, and not what the rules are by now.

    Raises:
        InvalidInputError: the key is empty, too long or unprintable.
    """
    if key is None:
        return False
    return package_queries.idempotent_event(connection, check_label(key, field="idempotency key")) is not None


@dataclass(frozen=True, slots=True)
class KnownContent:
    """When a push may return an earlier package: the same key, or, if asked, the same files.

    Args:
        content_digest: raw sha256 over the files of the push.
        now: microseconds.
    """

    idempotency: Idempotency | None
    if_changed: bool
    producer: str
    subject: str
    retention_class: str
    content_digest: bytes
    now: int

    def package(self, connection: Connection) -> Package | None:
        """The earlier package, or None if this push makes a new one.

        Raises:
            ConflictError: the key was used for another request.
            StateError: the package of the key is collected, so nothing would be stored.
        """
        first = first_use(connection, self.idempotency)
        if first is not None:
            found = package_queries.package(connection, package_queries.package_of_event(connection, first))
            if self.idempotency is not None and found.status == GARBAGE_COLLECTED:
                raise StateError(
                    f"the idempotency key {self.idempotency.key!r} made package {found.package_id}, which is"
                    " collected: its bytes are gone",
                    hint="use a new key to store them again",
                    code="collected",
                )
            return found
        if not self.if_changed:
            return None
        sequence = package_queries.same_content(
            connection,
            producer=self.producer,
            subject=self.subject,
            retention_class=self.retention_class,
            content_digest=self.content_digest,
            now=self.now,
        )
        return None if sequence is None else package_queries.package(connection, sequence)
