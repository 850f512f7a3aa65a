"""What the calls of a store have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifactstore import commit, fields
from artifactstore.own_places import OwnPlaces

if TYPE_CHECKING:
    import uuid
    from contextlib import AbstractContextManager

    from artifactstore.backends import Backends
    from artifactstore.commit import Transaction
    from artifactstore.database import Database
    from artifactstore.lifecycle.policy import RetentionPolicy
    from artifactstore.moment import Clock, IdSource


class StoreCalls:
    """What every call works with; the calls themselves are gathered by what they are about.

    A package is named by its id or a unique prefix of it, everywhere.
    """

    def __init__(
        self,
        database: Database,
        backends: Backends,
        store_id: uuid.UUID,
        clock: Clock,
        new_id: IdSource,
        policy: RetentionPolicy,
    ) -> None:
        self._database = database
        self._backends = backends
        self._clock = clock
        self._new_id = new_id
        self._policy = policy
        self.store_id = store_id

    @property
    def _own_places(self) -> OwnPlaces:
        return OwnPlaces(self._database.path, self._backends.folders())

    def _transaction(self, actor: str, *, shares: bool = False) -> AbstractContextManager[Transaction]:
        """The one write transaction of a call.

        Args:
            shares: as in `Database.write`.
        """
        fields.check_label(actor, field="actor")
        return commit.transaction(
            self._database, actor=actor, clock=self._clock, new_id=self._new_id, shares=shares
        )
