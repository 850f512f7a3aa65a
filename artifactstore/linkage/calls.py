"""The calls of a store about messages to other systems."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from artifactstore import events, fields, package_queries, query_arguments
from artifactstore.calls import StoreCalls
from artifactstore.errors import InvalidInputError
from artifactstore.linkage import records
from artifactstore.model import DELIVERED

if TYPE_CHECKING:
    from artifactstore.linkage.message import LinkageRequest
    from artifactstore.model import Linkage

_REASON_MAX = 500  # characters


class LinkageCalls(StoreCalls):
    """The outbox: what somebody wants to be told of a package, and whether it was.

    A message is recorded with the package and delivered after the commit, by whoever runs next. Each attempt
    carries the id of the message, so that a receiver which got it twice can tell.
    """

    def request_linkage(self, package: str, linkage: LinkageRequest, *, actor: str) -> Linkage:
        """Put a message about a finalized package into the outbox.

        The same package for the same workstream and task again changes nothing.

        Raises:
            StateError: the package is open.
        """
        from artifactstore.linkage.message import requested

        fields.check_label(actor, field="actor")
        with self._database.read() as connection:
            sequence = package_queries.package_sequence(connection, package)
            known = records.linkage_of(connection, sequence, linkage.workstream_id, linkage.task_id)
        if known is not None:
            return known
        with self._transaction(actor) as transaction:
            connection = transaction.connection
            known = records.linkage_of(connection, sequence, linkage.workstream_id, linkage.task_id)
            if known is not None:
                return known
            link_id = self._new_id()
            transaction.record([requested(package_queries.package(connection, sequence), linkage, link_id)])
            return records.linkage(connection, link_id)

    def list_linkages(
        self, *, undelivered: bool = False, due_at: int | None = None, limit: int = 1000
    ) -> tuple[Linkage, ...]:
        """The messages of the outbox, oldest first.

        Args:
            undelivered: only those that wait, in the order in which they are to be tried.
            due_at: only those that may be tried at this instant, in microseconds.
            limit: 1 to 1,000.
        """
        query_arguments.check_limit(limit)
        with self._database.read() as connection:
            return tuple(records.linkages(connection, undelivered=undelivered, due_at=due_at, limit=limit))

    def record_linkage_delivered(self, link_id: str, *, status: int, actor: str) -> Linkage:
        """Record that a message has arrived; one that had arrived already stays as it is.

        Args:
            status: the HTTP status that said so.
        Raises:
            NotFoundError: there is no such message.
        """
        with self._transaction(actor) as transaction:
            found = records.linkage(transaction.connection, _uuid(link_id))
            if found.state != DELIVERED:
                package_id = uuid.UUID(found.package_id).bytes
                key = uuid.UUID(found.link_id).bytes
                transaction.record([events.linkage_delivered(package_id, link_id=key, status=status)])
            return records.linkage(transaction.connection, _uuid(link_id))

    def record_linkage_failed(self, link_id: str, *, reason: str, retry_at: int, actor: str) -> Linkage:
        """Record that a message did not arrive; one that has arrived meanwhile stays as it is.

        Args:
            reason: why, without secrets.
            retry_at: when to try again, in microseconds.
        Raises:
            NotFoundError: there is no such message.
        """
        fields.check_text(reason, field="reason")
        fields.check_integer(retry_at, field="retry_at")
        with self._transaction(actor) as transaction:
            found = records.linkage(transaction.connection, _uuid(link_id))
            if found.state != DELIVERED:
                failed = events.linkage_failed(
                    uuid.UUID(found.package_id).bytes,
                    link_id=uuid.UUID(found.link_id).bytes,
                    reason=reason[:_REASON_MAX],
                    retry_at=retry_at,
                )
                transaction.record([failed])
            return records.linkage(transaction.connection, _uuid(link_id))


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except (ValueError, AttributeError, TypeError):
        raise InvalidInputError(f"not the id of a linkage: {str(text)[:80]!r}") from None
