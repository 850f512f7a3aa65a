"""Settings: what can be configured, with which defaults, and how its text is read.

An unusable value is refused, never replaced by a default. An empty value means "none" where the default
is empty too, and is refused elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifactstore.errors import SettingsError
from artifactstore.objects.routing import Route
from artifactstore.paths import printable
from artifactstore.setting_values import (
    BACKEND_IDS,
    HIDDEN,
    SecretRef,
    backend_ids,
    base_url,
    bearer_token,
    bearer_tokens,
    boolean,
    choice,
    database_path,
    hide,
    integer,
    key_prefix,
    local_path,
    mask_url,
    matching,
    optional,
    routes,
    secret_ref,
    service_url,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


__all__ = [
    "Route",
    "SecretRef",
    "SettingValue",
    "Settings",
    "Variable",
    "database_path",
    "variables",
]

PREFIX = "ARTIFACTSTORE_"
PREFIXES = (PREFIX, "STATE_HUB_")
# Any number of them: each names a further backend, `ARTIFACTSTORE_STORAGE_URL_OFF_SITE` that with the id
# `off-site`.
STORAGE_URL_PREFIX = f"{PREFIX}STORAGE_URL_"
STORAGE_OPTIONS_PREFIX = f"{PREFIX}STORAGE_OPTIONS_"

_MIB = 1024 * 1024
# A part of a multipart upload, and a single PUT, may have these sizes in bytes.
# Source: Amazon S3 user guide, "Multipart upload limits".
_S3_PART = integer(5 * _MIB, 5 * 1024 * _MIB, "bytes")
_HUB_ID = matching(r"[\x21-\x7e]{1,255}", "up to 255 visible ASCII characters")


@dataclass(frozen=True, slots=True)
class Variable:
    """How one setting is named and read.

    Args:
        name: the name in the environment and in `.env`.
        parse: turns the text into the value; raises `SettingsError`.
        mask: takes what is secret out of the text of a value.
        flag: the command-line option that overrides it.
    """

    name: str
    parse: Callable[[str], object]
    mask: Callable[[str], str]
    flag: str


@dataclass(frozen=True, slots=True)
class SettingValue:
    """An effective value for people to read.

    Args:
        name: the name of the variable.
        text: the value as it could stand in `.env`, secrets masked.
        origin: `flag --name`, `environment`, `<file> line <number>`, `default`, or `argument` for a value
            that a program gave to `Settings`.
    """

    name: str
    text: str
    origin: str


def _from(
    name: str,
    parse: Callable[[str], object],
    *,
    mask: Callable[[str], str] = str,
    flag: str | None = None,
) -> dict[str, Variable]:
    flag = flag or f"--{name.removeprefix(PREFIX).lower().replace('_', '-')}"
    return {"variable": Variable(name, parse, mask, flag)}


def _user_data_directory() -> Path:
    # Here, since it costs 25 ms and is needed only where no place is configured.
    from platformdirs import PlatformDirs

    return Path(PlatformDirs("artifactstore", appauthor=False).user_data_dir)


def _default_database_path() -> Path:
    return _user_data_directory() / "artifactstore.db"


def _default_local_root() -> Path:
    return _user_data_directory() / "storage"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """Every setting of the operator guide, read and checked. Neither `repr` nor `describe` shows a secret.

    Raises:
        SettingsError: two settings contradict each other.
    Source: the operator guide, "Environment variables".
    """

    database_path: Path = field(
        default_factory=_default_database_path,
        metadata=_from("ARTIFACTSTORE_DATABASE_URL", database_path, flag="--database"),
    )
    storage_local_root: Path = field(
        default_factory=_default_local_root,
        metadata=_from("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", local_path, flag="--root"),
    )
    log_level: str = field(
        default="INFO",
        metadata=_from("ARTIFACTSTORE_LOG_LEVEL", choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    )
    log_format: str = field(
        default="text", metadata=_from("ARTIFACTSTORE_LOG_FORMAT", choice("text", "json"))
    )
    no_progress: bool = field(default=False, metadata=_from("ARTIFACTSTORE_NO_PROGRESS", boolean))
    auth_tokens: tuple[str, ...] = field(
        default=(), metadata=_from("ARTIFACTSTORE_AUTH_TOKENS", bearer_tokens, mask=hide)
    )
    anon_read: bool = field(default=False, metadata=_from("ARTIFACTSTORE_ANON_READ", boolean))
    api_url: str | None = field(  # None: commands work on the local store
        default=None, metadata=_from("ARTIFACTSTORE_API_URL", optional(base_url), mask=mask_url)
    )
    api_token: str | None = field(
        default=None, metadata=_from("ARTIFACTSTORE_API_TOKEN", optional(bearer_token), mask=hide)
    )
    guide_board_schema: Path | None = field(  # None: the one that comes with the package
        default=None, metadata=_from("ARTIFACTSTORE_GUIDE_BOARD_SCHEMA", optional(local_path))
    )
    retention_config_path: Path | None = field(
        default=None, metadata=_from("ARTIFACTSTORE_RETENTION_CONFIG_PATH", optional(local_path))
    )
    retention_sweep_interval_seconds: int = field(
        default=3600,
        metadata=_from("ARTIFACTSTORE_RETENTION_SWEEP_INTERVAL_SECONDS", integer(1, 31_536_000, "seconds")),
    )
    storage_backends: tuple[str, ...] = field(
        default=("local",), metadata=_from("ARTIFACTSTORE_STORAGE_BACKENDS", backend_ids)
    )
    storage_default_backend: str = field(
        default="local",
        metadata=_from("ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND", matching(r"[^\s,]+", "one backend id")),
    )
    storage_backend_routes: tuple[Route, ...] = field(
        default=(), metadata=_from("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", routes)
    )
    s3_endpoint_url: str | None = field(
        default=None, metadata=_from("ARTIFACTSTORE_S3_ENDPOINT_URL", optional(service_url), mask=mask_url)
    )
    s3_region: str = field(
        default="us-east-1",
        metadata=_from("ARTIFACTSTORE_S3_REGION", matching("[A-Za-z0-9_-]+", "a name such as us-east-1")),
    )
    s3_bucket: str | None = field(
        default=None,
        metadata=_from(
            "ARTIFACTSTORE_S3_BUCKET",
            # What botocore accepts: AWS wants lower case, Ceph does not.
            optional(matching(r"[A-Za-z0-9._-]{1,255}", "letters, digits, dots, hyphens and underscores")),
        ),
    )
    s3_key_prefix: str | None = field(
        default=None, metadata=_from("ARTIFACTSTORE_S3_KEY_PREFIX", optional(key_prefix))
    )
    s3_access_key_ref: SecretRef | None = field(
        default=None, metadata=_from("ARTIFACTSTORE_S3_ACCESS_KEY_REF", optional(secret_ref))
    )
    s3_secret_key_ref: SecretRef | None = field(
        default=None, metadata=_from("ARTIFACTSTORE_S3_SECRET_KEY_REF", optional(secret_ref))
    )
    s3_storage_class: str | None = field(
        default=None,
        metadata=_from(
            "ARTIFACTSTORE_S3_STORAGE_CLASS",
            optional(matching("[A-Za-z0-9._-]+", "a storage class such as STANDARD")),
        ),
    )
    s3_sse: str | None = field(
        default=None,
        metadata=_from("ARTIFACTSTORE_S3_SSE", optional(choice("AES256", "aws:kms", "aws:kms:dsse"))),
    )
    s3_object_lock: str = field(
        default="off",
        metadata=_from("ARTIFACTSTORE_S3_OBJECT_LOCK", choice("off", "governance", "compliance")),
    )
    s3_multipart_threshold_bytes: int = field(
        default=64 * _MIB, metadata=_from("ARTIFACTSTORE_S3_MULTIPART_THRESHOLD_BYTES", _S3_PART)
    )
    s3_multipart_chunk_bytes: int = field(
        default=8 * _MIB, metadata=_from("ARTIFACTSTORE_S3_MULTIPART_CHUNK_BYTES", _S3_PART)
    )
    state_hub_url: str | None = field(
        default=None, metadata=_from("STATE_HUB_URL", optional(service_url), mask=mask_url)
    )
    state_hub_workstream_id: str | None = field(
        default=None, metadata=_from("STATE_HUB_WORKSTREAM_ID", optional(_HUB_ID))
    )
    state_hub_task_id: str | None = field(
        default=None, metadata=_from("STATE_HUB_TASK_ID", optional(_HUB_ID))
    )
    # Further backends by id: the root of a local one, or the URL of a file system that fsspec knows.
    storage_urls: Mapping[str, Path | str] = field(default_factory=dict, hash=False)
    # Arguments of those file systems by id of backend; may be secret.
    storage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    # Values of the file of settings that a reference names.
    referenced: Mapping[str, str] = field(default_factory=dict, compare=False)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)  # by name of variable

    def __post_init__(self) -> None:
        backends = "ARTIFACTSTORE_STORAGE_BACKENDS"
        for backend_id in self.storage_backends:
            if backend_id not in {*BACKEND_IDS, *self.storage_urls}:
                raise SettingsError(
                    f"{backends} ({self._origin(backends)}): there is no backend {backend_id!r}",
                    hint=f"use {' or '.join(BACKEND_IDS)}, or set {_storage_name(backend_id)}",
                )
        for backend_id in self.storage_options:
            if not isinstance(self.storage_urls.get(backend_id), str):
                name = _storage_name(backend_id, STORAGE_OPTIONS_PREFIX)
                raise SettingsError(
                    f"{name} ({self._origin(name)}): the backend has no URL that takes options",
                    hint=f"set {_storage_name(backend_id)}",
                )
        named = [("ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND", self.storage_default_backend)]
        named += [
            ("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", rule.backend_id) for rule in self.storage_backend_routes
        ]
        for name, backend_id in named:
            if backend_id not in {*self.storage_backends, *self.storage_urls}:
                raise SettingsError(
                    f"{name} ({self._origin(name)}): {printable(backend_id)} is not among the backends of "
                    f"{backends} ({self._origin(backends)}): {show(self.storage_backends)}",
                    hint=f"add it to {backends} or name one of those",
                )

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{value.name}={value.text!r}' for value in self.describe())})"

    def describe(self) -> tuple[SettingValue, ...]:
        """Each effective value and where it came from, in the order of the operator guide."""
        described = [
            SettingValue(
                variable.name,
                variable.mask(show(getattr(self, attribute))),
                self._origin(variable.name),
            )
            for attribute, variable in variables().items()
        ]
        for backend_id, place in self.storage_urls.items():
            name = _storage_name(backend_id)
            text = mask_url(place) if isinstance(place, str) else place.absolute().as_uri()
            described.append(SettingValue(name, text, self._origin(name)))
        for backend_id in self.storage_options:
            name = _storage_name(backend_id, STORAGE_OPTIONS_PREFIX)
            described.append(SettingValue(name, HIDDEN, self._origin(name)))
        return tuple(described)

    def _origin(self, name: str) -> str:
        return self.origins.get(name, "argument")


def variables() -> dict[str, Variable]:
    """All known variables by the attribute of `Settings` that holds the value."""
    return {item.name: item.metadata["variable"] for item in fields(Settings) if "variable" in item.metadata}


def _storage_name(backend_id: str, prefix: str = STORAGE_URL_PREFIX) -> str:
    return f"{prefix}{backend_id.upper().replace('-', '_')}"
