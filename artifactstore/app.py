"""Opening a store from settings: the composition at the edge of the library."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from artifactstore.database import BUSY_TIMEOUT, Database
from artifactstore.environment import credentials, default_env_file, load_settings
from artifactstore.errors import SettingsError, StoreNotFoundError
from artifactstore.lifecycle.policy import RetentionPolicy, read_policy
from artifactstore.lifecycle.retention import DEFAULT_CLASSES
from artifactstore.moment import system_clock
from artifactstore.objects.local import LocalBackend
from artifactstore.paths import printable
from artifactstore.setting_values import mask_url
from artifactstore.store import Store

if TYPE_CHECKING:
    from artifactstore.any_store import AnyStore
    from artifactstore.moment import Clock, IdSource
    from artifactstore.objects.backend import Backend
    from artifactstore.registry import Registry
    from artifactstore.results import Health
    from artifactstore.settings import Settings

_log = logging.getLogger(__name__)
DATABASE_NAME = "artifactstore.db"
OBJECTS_NAME = "storage"
LOCAL = "local"  # id of the backend in a local directory
S3 = "s3"


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


def open_anywhere(root: str | os.PathLike[str] | None = None, *, create: bool = True) -> AnyStore:
    """Open the store in a directory, or the one that the environment names: here, or behind an HTTP API.

    Args:
        create: make the store if it is not there and is one of this machine; False refuses.
    Raises:
        as `open`.
    """
    if root is not None:
        return open(root, create=create)
    settings = load_settings()
    if settings.api_url is None:
        return open_configured(settings, create=create)
    from artifactstore.client.client import Client

    return Client(settings.api_url, settings.api_token)


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
    _refuse_shared_roots(settings)
    backends = configured_backends(settings)
    first = LOCAL if LOCAL in backends else next(iter(backends))
    return Store.open(
        settings.database_path,
        backends.pop(first),
        further=backends,
        default_backend=settings.storage_default_backend,
        routes=settings.storage_backend_routes,
        policy=_configured_policy(settings),
        create=create,
        clock=clock,
        new_id=new_id,
        busy_timeout=busy_timeout,
    )


def require_retention_class(settings: Settings, retention_class: str) -> None:
    """Refuse a class that the store which the settings name does not know; makes no store.

    Raises:
        InvalidInputError: neither the store nor the policy knows it; of a store that is not there, what a
            new one would know counts.
        as `Store.open`.
    """
    try:
        with open_configured(settings, create=False) as store:
            store.retention_seconds(retention_class)
    except StoreNotFoundError:
        (_configured_policy(settings) or RetentionPolicy()).duration(retention_class, DEFAULT_CLASSES)


def _configured_policy(settings: Settings) -> RetentionPolicy | None:
    path = settings.retention_config_path
    return None if path is None else read_policy(path)


def configured_backends(settings: Settings) -> dict[str, Backend]:
    """The backends that the settings name, by id; nothing is opened yet.

    Raises:
        SettingsError: something is missing.
    """
    backends: dict[str, Backend] = {}
    for backend_id in (*settings.storage_backends, *settings.storage_urls):
        if backend_id in backends:
            continue
        place = settings.storage_urls.get(backend_id)
        if backend_id == LOCAL:
            backends[LOCAL] = LocalBackend(os.fspath(settings.storage_local_root))
        elif backend_id == S3:
            backends[S3] = _s3_backend(settings)
        elif isinstance(place, Path):
            backends[backend_id] = LocalBackend(os.fspath(place), backend_id=backend_id)
        else:
            from artifactstore.objects.file_system import FileSystemService
            from artifactstore.objects.remote import RemoteBackend

            url = str(place)
            if url.lower().startswith("memory:"):
                _log.warning(
                    "what backend %s takes is in memory, and gone when this process ends", backend_id
                )
            service = FileSystemService(url, settings.storage_options.get(backend_id), name=mask_url(url))
            backends[backend_id] = RemoteBackend(service, backend_id=backend_id)
    return backends


def _s3_backend(settings: Settings) -> Backend:
    from artifactstore.objects.remote import RemoteBackend
    from artifactstore.objects.s3.config import S3Config
    from artifactstore.objects.s3.service import S3Service

    if settings.s3_bucket is None:
        raise SettingsError(
            "the backend 's3' has no bucket",
            hint="set ARTIFACTSTORE_S3_BUCKET, or take s3 out of ARTIFACTSTORE_STORAGE_BACKENDS",
        )
    config = S3Config(
        bucket=settings.s3_bucket,
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        prefix=settings.s3_key_prefix or "",
        credentials=lambda: credentials(settings),
        storage_class=settings.s3_storage_class,
        sse=settings.s3_sse,
        object_lock=None if settings.s3_object_lock == "off" else settings.s3_object_lock.upper(),
        multipart_threshold=settings.s3_multipart_threshold_bytes,
        part_size=settings.s3_multipart_chunk_bytes,
    )
    return RemoteBackend(S3Service(config), backend_id=S3)


def _refuse_shared_roots(settings: Settings) -> None:
    """Two backends in one directory would count its one copy of the bytes twice."""
    owners: dict[str, str] = {}
    for backend_id, root in {LOCAL: settings.storage_local_root, **settings.storage_urls}.items():
        if isinstance(root, str):
            continue
        owner = owners.setdefault(os.path.realpath(root), backend_id)
        if owner != backend_id:
            raise SettingsError(
                f"the backends {owner!r} and {backend_id!r} are the same directory, {printable(str(root))}",
                hint="give each backend a directory of its own, best on a disk of its own",
            )


def configured_database(settings: Settings) -> Database:
    """The database that the settings name, unopened: for `migrate` and `replay`, which repair views."""
    return Database(os.fspath(settings.database_path))


def configured_health(settings: Settings, *, deep: bool = False) -> Health:
    """The health of the store that the settings name, also when it cannot be opened. Changes nothing.

    Args:
        deep: also write a probe into each remote backend and remove it.
    Raises:
        SettingsError: the retention policy is wrong, without which no other command works either.
    """
    from artifactstore.health import probe

    _configured_policy(settings)
    database = configured_database(settings)
    backends = configured_backends(settings).values()
    try:
        return probe(database, backends, system_clock, deep=deep)
    finally:
        for backend in backends:
            backend.close()
        database.close()


def build_registry() -> Registry:
    """The async face of the store that the environment and `./.env` name, made if it is not there.

    Raises:
        as `Store.open`; also SettingsError if the settings are wrong.
    """
    from artifactstore.registry import Registry

    return Registry(open_configured(load_settings(env_file=default_env_file()), create=True))
