"""Opening a store from settings: the composition at the edge of the library."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from artifactstore.database import BUSY_TIMEOUT, Database
from artifactstore.errors import SettingsError
from artifactstore.health import probe
from artifactstore.lifecycle.policy import read_policy
from artifactstore.moment import system_clock
from artifactstore.objects.local import LocalBackend
from artifactstore.paths import printable
from artifactstore.settings import default_env_file, load_settings
from artifactstore.store import Store

if TYPE_CHECKING:
    from artifactstore.lifecycle.policy import RetentionPolicy
    from artifactstore.model import Health
    from artifactstore.moment import Clock, IdSource
    from artifactstore.registry import Registry
    from artifactstore.settings import Settings

DATABASE_NAME = "artifactstore.db"
OBJECTS_NAME = "storage"
LOCAL = "local"  # id of the backend in a local directory


def open(  # noqa: A001 - `artifactstore.open`, as `gzip.open`
    root: str | os.PathLike[str] | None = None,
    *,
    policy: RetentionPolicy | None = None,
    create: bool = True,
    clock: Clock = system_clock,
    new_id: IdSource | None = None,
    busy_timeout: float = BUSY_TIMEOUT,
) -> Store:
    """Open the store in a directory, or the one that the environment names.

    With a root, nothing but the arguments counts: the database is `<root>/artifactstore.db`, the objects
    are in `<root>/storage`. Without one, the `ARTIFACTSTORE_` variables of the environment decide.

    Args:
        policy: how long packages are kept, with a root; without one the environment names its file.
        create: make the store if it is not there; False refuses.
        clock: microseconds since 1970, UTC.
        new_id: source of UUIDv7.
        busy_timeout: seconds that a writer waits for other writers.
    Raises:
        as `Store.open`; also SettingsError if the environment is wrong.
    """
    if root is None:
        return open_configured(
            load_settings(), create=create, clock=clock, new_id=new_id, busy_timeout=busy_timeout
        )
    return Store.open(
        Path(root, DATABASE_NAME),
        Path(root, OBJECTS_NAME),
        policy=policy,
        create=create,
        clock=clock,
        new_id=new_id,
        busy_timeout=busy_timeout,
    )


def open_configured(
    settings: Settings,
    *,
    create: bool,
    clock: Clock = system_clock,
    new_id: IdSource | None = None,
    busy_timeout: float = BUSY_TIMEOUT,
) -> Store:
    """Open the store that the settings name.

    Raises:
        as `Store.open`; also SettingsError if they ask for what this version does not have.
    """
    _refuse_unbuilt(settings)
    _refuse_shared_roots(settings)
    policy = settings.retention_config_path
    return Store.open(
        settings.database_path,
        settings.storage_local_root,
        further=settings.storage_urls,
        policy=None if policy is None else read_policy(policy),
        create=create,
        clock=clock,
        new_id=new_id,
        busy_timeout=busy_timeout,
    )


def _refuse_unbuilt(settings: Settings) -> None:
    """A setting that would be ignored is refused: evidence must not go where nobody expects it."""
    if settings.storage_backends != (LOCAL,) or settings.storage_default_backend != LOCAL:
        raise SettingsError(
            "this version has the backend 'local' only",
            hint="unset ARTIFACTSTORE_STORAGE_BACKENDS and ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND",
        )


def _refuse_shared_roots(settings: Settings) -> None:
    """Two backends in one directory would count its one copy of the bytes twice."""
    owners: dict[str, str] = {}
    for backend_id, root in {LOCAL: settings.storage_local_root, **settings.storage_urls}.items():
        owner = owners.setdefault(os.path.realpath(root), backend_id)
        if owner != backend_id:
            raise SettingsError(
                f"the backends {owner!r} and {backend_id!r} are the same directory, {printable(str(root))}",
                hint="give each backend a directory of its own, best on a disk of its own",
            )


def configured_database(settings: Settings) -> Database:
    """The database that the settings name, unopened: for `migrate` and `replay`, which repair views."""
    return Database(os.fspath(settings.database_path))


def configured_health(settings: Settings) -> Health:
    """The health of the store that the settings name, also when it cannot be opened. Changes nothing."""
    database = configured_database(settings)
    backends = [LocalBackend(os.fspath(settings.storage_local_root))]
    backends += [
        LocalBackend(os.fspath(root), backend_id=backend_id)
        for backend_id, root in settings.storage_urls.items()
    ]
    try:
        return probe(database, backends, system_clock)
    finally:
        database.close()


def build_registry() -> Registry:
    """The async face of the store that the environment and `./.env` name, made if it is not there.

    Raises:
        as `Store.open`; also SettingsError if the settings are wrong.
    """
    from artifactstore.registry import Registry

    return Registry(open_configured(load_settings(env_file=default_env_file()), create=True))
