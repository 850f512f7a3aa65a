"""One run of the program: its global options, its settings and the store they name."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from artifactstore.cli.output import Output, say
from artifactstore.cli.progress import ProgressLine
from artifactstore.errors import SettingsError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from artifactstore.any_store import AnyStore
    from artifactstore.moment import IdSource
    from artifactstore.settings import Settings
    from artifactstore.store import Store

PROGRAM = "artifactstore"
_LOCAL_FLAGS = {"ARTIFACTSTORE_DATABASE_URL": "--database", "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": "--root"}


@dataclass(slots=True)
class Invocation:
    """What the global options say, and what follows from it.

    Args:
        output: where the answer goes.
        overrides: settings that a flag gave, by name of variable.
        env_file: read instead of `./.env`.
        quiet: print the answer only.
        verbosity: how often `-v` was given.
    """

    output: Output = field(default_factory=lambda: Output(sys.stdout))
    overrides: dict[str, str] = field(default_factory=dict)
    env_file: str | None = None
    quiet: bool = False
    verbosity: int = 0
    _settings: Settings | None = None

    @property
    def brief(self) -> bool:
        """Whether the bare answer is wanted: by a program, or by a person who said so."""
        return self.quiet or not self.output.terminal

    def note(self, text: str) -> None:
        """Tell a person something beside the answer, behind what was written of it so far."""
        if not self.quiet:
            self.output.flush()
            say(text)

    def settings(self) -> Settings:
        """Read the settings, once, and let the log go where they say.

        Raises:
            SettingsError: a setting is wrong.
        """
        if self._settings is None:
            self._settings = self._load()
        return self._settings

    def _load(self) -> Settings:
        from artifactstore.environment import default_env_file, load_settings
        from artifactstore.logs import LOGGER_NAME, configure_logging

        env_file = default_env_file() if self.env_file is None else Path(self.env_file)
        # What loading warns about is kept until it is known in which form to write it.
        logger = logging.getLogger(LOGGER_NAME)
        kept = _Kept()
        logger.addHandler(kept)
        try:
            settings = load_settings(env_file=env_file, overrides=self.overrides)
        finally:
            logger.removeHandler(kept)
        configure_logging(self._log_level(settings), settings.log_format, sys.stderr)
        for record in kept.records:
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
        return settings

    def local_settings(self) -> Settings:
        """The settings of a command that works on the store of this machine.

        Raises:
            SettingsError: a setting is wrong, or names an HTTP API instead.
        """
        settings = self.settings()
        if settings.api_url is not None:
            raise SettingsError(
                "this command works on a store of this machine, and ARTIFACTSTORE_API_URL"
                f" ({settings.origins.get('ARTIFACTSTORE_API_URL', 'argument')}) names an API",
                hint="run it on the machine of the store, with ARTIFACTSTORE_API_URL unset",
            )
        return settings

    def local_store(self, *, create: bool = False, new_id: IdSource | None = None) -> Store:
        """Open the store that the settings name, on this machine.

        Args:
            create: make it if it is not there.
            new_id: source of its ids, if it has to be a special one.
        """
        from artifactstore.app import open_configured

        return open_configured(self.local_settings(), create=create, new_id=new_id)

    def store(self, *, create: bool = False) -> AnyStore:
        """Open the store that the settings name, here or behind the HTTP API.

        Args:
            create: make it if it is not there and is one of this machine.
        Raises:
            SettingsError: a flag names a local store, and another setting an API.
        """
        settings = self.settings()
        if settings.api_url is None:
            return self.local_store(create=create)
        named = [_LOCAL_FLAGS[name] for name in self.overrides if name in _LOCAL_FLAGS]
        if named:
            raise SettingsError(
                f"{' and '.join(named)} name a store of this machine, and ARTIFACTSTORE_API_URL"
                f" ({settings.origins.get('ARTIFACTSTORE_API_URL', 'argument')}) an API",
                hint="give one of them",
            )
        from artifactstore.client import Client

        return Client(settings.api_url, settings.api_token)

    def new_file(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file for an answer, as `newfile.new_file`, and not among those of the store."""
        from artifactstore.cli.newfile import new_file
        from artifactstore.own_places import OwnPlaces

        settings = self.settings()
        places = (settings.storage_local_root, *settings.storage_urls.values())
        folders = tuple(os.fspath(place) for place in places if isinstance(place, Path))
        OwnPlaces(os.fspath(settings.database_path), folders).refuse_output(path)
        return new_file(path)

    def progress(self) -> ProgressLine:
        """A line that shows how far a call has come, if a person is watching."""
        from artifactstore.environment import in_continuous_integration

        watched = sys.stderr is not None and sys.stderr.isatty() and not self.quiet
        hidden = not watched or in_continuous_integration() or self.settings().no_progress
        return ProgressLine(shown=not hidden)

    def _log_level(self, settings: Settings) -> str:
        if self.verbosity:
            return "DEBUG"
        if self.quiet and settings.log_level != "CRITICAL":
            return "ERROR"
        return settings.log_level


class _Kept(logging.Handler):
    """Keeps records until it is known where they go."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self.records.append(record)
