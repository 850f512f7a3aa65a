"""The places of a store's objects: which are in use, which are away, and which takes what."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from artifactstore import fields, object_queries
from artifactstore.errors import AccessError, BackendError, InvalidInputError, StateError
from artifactstore.objects.local import LocalBackend
from artifactstore.objects.routing import chosen

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping

    from artifactstore.database import Database
    from artifactstore.objects.backend import Backend
    from artifactstore.objects.routing import Route

    Place = str | os.PathLike[str] | Backend

_log = logging.getLogger(__name__)

LOCAL = "local"  # id of the backend of a store's own folder
STALE_AFTER = 86_400  # seconds after which what a crash left in the staging folder is removed


class Backends:
    """All backends of a store.

    One is in use once its place was found to be there and to belong to the store. The others wait: they are
    away, or remote and not needed yet.

    Args:
        database: of the store; its log tells which places have been used.
        first: the place without which the store cannot be opened, the backend `local` if it is a folder.
        further: by their ids.
        default: id of the one that takes what no route matches; that of the first if not given.
        routes: where objects of a producer and a retention class go; the first that matches counts.
    Raises:
        InvalidInputError: an id is unknown, or there twice.
    """

    def __init__(
        self,
        database: Database,
        first: Place,
        further: Mapping[str, Place],
        *,
        default: str | None,
        routes: Iterable[Route],
    ) -> None:
        self._database = database
        self._first = _backend(first, LOCAL)
        self._routes = tuple(routes)
        self._waiting = {self._first.backend_id: self._first}
        self._in_use: dict[str, Backend] = {}
        for backend_id, place in further.items():
            if backend_id in self._waiting:
                raise InvalidInputError(f"the backend {backend_id[:80]!r} is there already")
            self._waiting[backend_id] = _backend(place, backend_id)
        default = self._first.backend_id if default is None else default
        for named in (default, *(route.backend_id for route in self._routes)):
            self.known(named)
        self.default = self._waiting[default]

    def attach(self, store_id: uuid.UUID, *, new: bool) -> None:
        """Take those into use that are there, and remove what crashes have left in them.

        Args:
            new: the store was made just now, and all its places are claimed.
        Raises:
            AccessError, BackendError, StateError: the first cannot be used.
        """
        self._store_id = store_id
        for name, each in list(self._waiting.items()):
            # A remote one costs a request, and may be away: it is looked at when somebody needs it.
            if not each.folder and not new:
                continue
            try:
                self.ready(name)
            except (BackendError, AccessError, StateError) as error:
                if each is self._first and each.folder:
                    raise
                # The store works without a copy; health says that it is away.
                _log.warning("backend %s is not available: %s", name, error.message)
            else:
                if each.folder:
                    each.remove_stale(older_than=STALE_AFTER)

    def check_free(self) -> None:
        """Raise if the first place cannot be a new store's."""
        if self._first.folder:
            self._first.check_free()

    def close(self) -> None:
        """Release what they hold. Idempotent."""
        for backend in self.all():
            backend.close()

    # Which there are

    def all(self) -> list[Backend]:
        """Every one, whether in use or not."""
        # First those that wait: what another thread takes into use meanwhile is seen twice, and not never.
        waiting = list(self._waiting.values())
        return list(dict.fromkeys((*self._in_use.values(), *waiting)))

    def known(self, backend: str) -> Backend:
        """The one of an id, whether its place is there or not.

        Raises:
            InvalidInputError: there is none.
        """
        found = self._waiting.get(backend) or self._in_use.get(backend)
        if found is None:
            raise InvalidInputError(
                f"unknown backend {backend[:80]!r}",
                hint=f"one of {', '.join(sorted({*self._in_use, *self._waiting}))}",
                code="unknown-backend",
            )
        return found

    def present(self) -> dict[str, Backend]:
        """All but those that are away, by their ids."""
        for name in list(self._waiting):
            try:
                self.ready(name)
            except (AccessError, BackendError, StateError) as error:
                _log.warning("backend %s is not available: %s", name, error.message)
        return dict(self._in_use)

    def sound(self) -> dict[str, Backend]:
        """The same, and the place of each is there this very moment.

        Raises:
            BackendError: that of one in use is gone.
        """
        return {name: self.named(name) for name in self.present()}

    def away(self) -> dict[str, Backend]:
        """Those that are not in use, by their ids."""
        return dict(self._waiting)

    def locking(self) -> list[Backend]:
        """Those that enforce retention themselves."""
        return [backend for backend in self.all() if backend.object_locks is not None]

    def folders(self) -> tuple[str, ...]:
        """Those of objects that lie on this machine."""
        return tuple(backend.folder for backend in self.all() if backend.folder)

    # Which one to use

    def routed(self, producer: str, retention_class: str) -> Backend:
        """The one that takes the objects of a package, ready to be written to.

        Raises:
            AccessError, BackendError: it is away, or belongs to another store.
        """
        return self.ready(chosen(self._routes, producer, retention_class) or self.default.backend_id)

    def named(self, backend: str | None) -> Backend:
        """One whose place is there: an unmounted volume must not pass for a store without objects.

        Args:
            backend: its id; the default one if not given.
        """
        if backend is not None:
            fields.check_text(backend, field="the id of a backend")
        found = self.default if backend is None else self.known(backend)
        if not found.folder:
            self.ready(found.backend_id).attach(self._store_id, create=False)
            return found
        problems = found.problems(self._store_id)
        if problems:
            raise BackendError(
                f"backend {found.backend_id} is not available: {problems[0]}",
                hint="mount or restore it, make it readable and writable, or, if it is another store's,"
                " take it over with `artifactstore storage adopt`",
                code="backend-missing",
            )
        return self.ready(found.backend_id)

    def readable(self, backend: str) -> Backend | None:
        """One to read from: a remote one needs no preparation, a local one must be there."""
        waiting = self._waiting.get(backend)
        return self._in_use.get(backend) or (None if waiting is None or waiting.folder else waiting)

    def ready(self, backend: str) -> Backend:
        """One that is in use: its place is there and belongs to this store.

        Args:
            backend: an id that is known.
        """
        waiting = self._waiting.get(backend)
        if waiting is not None:
            self._take(waiting)
            self._in_use[backend] = waiting
            self._waiting.pop(backend, None)
        return self._in_use[backend]

    def _take(self, backend: Backend) -> None:
        """Take a place into use, and claim it if the log names no object there yet."""
        try:
            backend.attach(self._store_id, create=False)
        except BackendError as error:
            if error.code != "backend-missing":
                raise
            with self._database.read() as connection:
                used = object_queries.backend_is_used(connection, backend.backend_id)
            if used:
                # Another process may have claimed it, and put objects there, after the look.
                backend.attach(self._store_id, create=False)
                return
            with self._database.write():
                backend.attach(self._store_id, create=True)


def _backend(place: Place, backend_id: str) -> Backend:
    return (
        LocalBackend(os.fspath(place), backend_id=backend_id)
        if isinstance(place, str | os.PathLike)
        else place
    )
