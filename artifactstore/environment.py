"""Where settings come from: the only module that reads the environment and `.env`.

Flags win over the environment, the environment over the `.env` file, the file over the defaults.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifactstore.errors import SettingsError
from artifactstore.paths import printable
from artifactstore.secret_values import read_secret
from artifactstore.setting_values import BACKEND_IDS, ValueT, storage_options, storage_url
from artifactstore.settings import (
    PREFIX,
    PREFIXES,
    STORAGE_OPTIONS_PREFIX,
    STORAGE_URL_PREFIX,
    Settings,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from artifactstore.dotenv import Assignment

_logger = logging.getLogger(__name__)


def load_settings(
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings from flags, environment, file and defaults, in this order of precedence.

    Args:
        environ: None reads the environment of the process.
        env_file: None reads no file. The command line and `build_registry` give `default_env_file()`.
        overrides: what the flags said, by name of variable.
    Raises:
        SettingsError: names the variable, where its value came from, the value unless it may be secret,
            and what is allowed.
    """
    environ = os.environ if environ is None else environ
    overrides = overrides or {}
    for name in overrides.keys() - {variable.name for variable in variables().values()}:
        raise SettingsError(
            f"no setting is named {printable(name)}", hint="give overrides by name of variable"
        )
    assignments: dict[str, Assignment] = {}
    if env_file is not None:
        from artifactstore.dotenv import read_env_file

        assignments = read_env_file(env_file, PREFIXES)
    values: dict[str, Any] = {}  # each parser returns the type of its field
    origins: dict[str, str] = {}
    for attribute, variable in variables().items():
        name = variable.name
        if name in overrides:
            text, origin = overrides[name], f"flag {variable.flag}"
        elif name in environ:
            text, origin = environ[name], "environment"
        elif name in assignments:
            text, origin = assignments[name].value, f"{env_file} line {assignments[name].line}"
        else:
            origins[name] = "default"
            continue
        origins[name] = origin
        try:
            values[attribute] = variable.parse(text)
        except SettingsError as error:
            raise SettingsError(f"{name} ({origin}): {error.message}", hint=error.hint) from None
    found = {name: (line.value, f"{env_file} line {line.line}") for name, line in assignments.items()}
    found.update({name: (text, "environment") for name, text in environ.items()})
    values["storage_urls"] = _by_backend(found, STORAGE_URL_PREFIX, storage_url, origins)
    values["storage_options"] = _by_backend(found, STORAGE_OPTIONS_PREFIX, storage_options, origins)
    references = (values.get("s3_access_key_ref"), values.get("s3_secret_key_ref"))
    names = {ref.name for ref in references if ref is not None and ref.kind == "env"}
    values["referenced"] = {name: assignments[name].value for name in names & assignments.keys()}
    settings = Settings(**values, origins=origins)
    _warn_of_unknown_names(settings, environ, env_file, assignments)
    return settings


def _by_backend(
    found: Mapping[str, tuple[str, str]],
    prefix: str,
    parse: Callable[[str], ValueT],
    origins: dict[str, str],
) -> dict[str, ValueT]:
    """The values of all variables with a prefix by the backend that they name; notes where each came from.

    Args:
        found: text and origin by name.
    """
    values: dict[str, ValueT] = {}
    for name, (text, origin) in sorted(found.items()):
        if not name.startswith(prefix):
            continue
        try:
            backend_id = _backend_id(name, prefix)
            if text:
                values[backend_id] = parse(text)
                origins[name] = origin
        except SettingsError as error:
            raise SettingsError(f"{name} ({origin}): {error.message}", hint=error.hint) from None
    return values


def _backend_id(name: str, prefix: str) -> str:
    """The id of the backend that a variable with the prefix names."""
    written = name.removeprefix(prefix)
    if re.fullmatch("[A-Z0-9]+(?:_[A-Z0-9]+)*", written) is None:
        raise SettingsError(
            "the name ends with no id of a backend", hint=f"write {prefix}OFF_SITE for off-site"
        )
    backend_id = written.lower().replace("_", "-")
    if backend_id in BACKEND_IDS:
        raise SettingsError(f"the id {backend_id!r} has a meaning of its own", hint="choose another id")
    return backend_id


def _warn_of_unknown_names(
    settings: Settings,
    environ: Mapping[str, str],
    env_file: Path | None,
    assignments: Mapping[str, Assignment],
) -> None:
    """A misspelt name would otherwise be a setting that silently does nothing."""
    known = {variable.name for variable in variables().values()}
    several = (STORAGE_URL_PREFIX, STORAGE_OPTIONS_PREFIX)
    known.update(name for name in (*environ, *assignments) if name.startswith(several))
    references = (settings.s3_access_key_ref, settings.s3_secret_key_ref)
    known.update(ref.name for ref in references if ref is not None and ref.kind == "env")
    found = {name: f"{env_file} line {assignment.line}" for name, assignment in assignments.items()}
    found.update(dict.fromkeys(environ, "environment"))
    unknown = sorted(name for name in found if name.startswith(PREFIX) and name not in known)
    if not unknown:
        return
    from difflib import get_close_matches

    for name in unknown:
        # Without the prefix, which all share and which would make every name look near.
        rest = [candidate.removeprefix(PREFIX) for candidate in known]
        near = get_close_matches(name.removeprefix(PREFIX), rest, n=1)
        suggestion = f"; did you mean {PREFIX}{near[0]}?" if near else ""
        _logger.warning("unknown setting %s (%s)%s", name, found[name], suggestion)


def credentials(settings: Settings) -> tuple[str, str] | None:
    """The access key and the secret key of S3, read now; None leaves them to the chain of the AWS tools.

    Raises:
        SettingsError: only one of them is configured, or one cannot be read.
    """
    access, secret = settings.s3_access_key_ref, settings.s3_secret_key_ref
    if access is None and secret is None:
        return None
    if access is None or secret is None:
        raise SettingsError(
            "only one of ARTIFACTSTORE_S3_ACCESS_KEY_REF and ARTIFACTSTORE_S3_SECRET_KEY_REF is set",
            hint="set both, or neither to use what the AWS tools use",
        )
    environ = {**settings.referenced, **os.environ}
    return read_secret(access, environ), read_secret(secret, environ)


def default_env_file() -> Path | None:
    """`.env` in the working directory if there is one; a folder of that name is a virtual environment."""
    path = Path(".env")
    return path if os.path.lexists(path) and not path.is_dir() else None


def in_continuous_integration(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a CI system runs this process, even if it gives it a terminal: all of them set `CI`."""
    value = (os.environ if environ is None else environ).get("CI", "")
    return value.lower() not in {"", "0", "false", "no", "off"}


def chosen_environment(names: Iterable[str]) -> dict[str, str]:
    """The variables of the process with these names and no others: what a CI system says of itself."""
    return {name: os.environ[name] for name in names if name in os.environ}
