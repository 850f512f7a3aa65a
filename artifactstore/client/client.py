"""A store behind an HTTP API, with the calls of a store on this machine."""

from __future__ import annotations

import ssl
import uuid
from typing import TYPE_CHECKING

from artifactstore import fields, packages
from artifactstore.client.address import Address
from artifactstore.client.push import opened_source, read_tree, send_files
from artifactstore.client.retention import ClientRetention
from artifactstore.client.targets import target
from artifactstore.client.transport import Transport
from artifactstore.client.uploads import Uploads, derived_key, entry_of
from artifactstore.errors import AccessError, ConflictError, DuplicateRelativePathError, InvalidInputError
from artifactstore.media_types import check_media_type, guess_media_type
from artifactstore.model import FINALIZED, OPEN, Package
from artifactstore.moment import system_clock
from artifactstore.paths import check_new_path
from artifactstore.results import PushResult

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from artifactstore.client.push import Tree
    from artifactstore.codec import Value
    from artifactstore.digest import Digest
    from artifactstore.ingest import Entry, OnProgress
    from artifactstore.model import File
    from artifactstore.results import IngestResult
    from artifactstore.scan import Selection
    from artifactstore.sources import Source

_AT_ONCE = 1000  # items of one page
_TIMEOUT = 60.0  # seconds of silence after which a server counts as away
_TRIES = 4
_CONNECTIONS = 4


class Client(ClientRetention):
    """A store behind an HTTP API.

    Its calls have the names, arguments, results and errors of `Store`; what a server says is checked as
    strictly as what a server is told. Safe to share between threads and after a fork. A context manager.

    Args:
        url: of the API: `https://store.example`.
        token: goes into a header, and never into an error, a log record or a `repr`.
        ca_file: certificates of the authorities to trust, PEM; those of the system if not given.
        timeout: seconds of silence after which the server counts as away.
        tries: how often a request is sent at most; only one that can be repeated is sent again.
        connections: used at once at most when files are sent or fetched.
    Raises:
        InvalidInputError: an argument is none.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        ca_file: str | None = None,
        timeout: float = _TIMEOUT,
        tries: int = _TRIES,
        connections: int = _CONNECTIONS,
    ) -> None:
        if not (timeout > 0 and tries >= 1 and connections >= 1):
            raise InvalidInputError("timeout, tries and connections must be more than 0")
        self._transport = Transport(
            Address.parse(url),
            token,
            timeout=timeout,
            tries=tries,
            connections=connections,
            tls=None if ca_file is None else _trusting(ca_file),
        )
        self._tries = tries
        self._connections = connections

    # Packages: create, ingest, finalize

    def create_package(
        self,
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        metadata_schema: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """As `Store.create_package`."""
        details = packages.check_details(name, producer, subject, retention_class, metadata, metadata_schema)
        return self._create(details, actor, _key_of(idempotency_key)).package_id

    def ingest_file(
        self,
        package: str,
        relative_path: str,
        source: Source,
        *,
        actor: str,
        media_type: str | None = None,
        executable: bool | None = None,
        idempotency_key: str | None = None,
    ) -> File:
        """As `Store.ingest_file`."""
        fields.check_label(actor, field="actor")
        check_new_path(relative_path)
        chosen = guess_media_type(relative_path) if media_type is None else check_media_type(media_type)
        key = _key_of(idempotency_key)
        uploads = Uploads(self._transport, package, actor, key, tries=self._tries)
        with opened_source(source) as (staged, marked, descriptor):
            digests = staged.digests
            mode = marked if executable is None else executable
            entry = (relative_path, chosen, staged.size, digests.blake3, digests.sha256, mode)
            return uploads.send(entry, descriptor, key=key)

    def ingest_directory(
        self,
        package: str,
        directory: str | os.PathLike[str],
        *,
        actor: str,
        selection: Selection | None = None,
        cache: bool = True,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> IngestResult:
        """As `Store.ingest_directory`, but in several steps: when it fails, some files are in the package.

        The same call with the same key goes on where it ended.

        Args:
            cache: nothing is remembered of what was sent from here; all is read, whatever is said.
        """
        fields.check_label(actor, field="actor")
        with read_tree(directory, selection, on_progress) as tree:
            there = None if idempotency_key is None else self._present(package)
            return self._fill(package, tree, there or {}, actor, _key_of(idempotency_key), on_progress)

    def finalize_package(self, package: str, *, actor: str, idempotency_key: str | None = None) -> Digest:
        """As `Store.finalize_package`."""
        fields.check_label(actor, field="actor")
        digest = self._finalize(package, actor, _key_of(idempotency_key)).manifest_digest
        if digest is None:
            raise self._transport.foreign("the package is still open")
        return digest

    def push(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str,
        producer: str,
        subject: str,
        retention_class: str,
        actor: str,
        metadata: Mapping[str, Value] | None = None,
        metadata_schema: str | None = None,
        selection: Selection | None = None,
        cache: bool = True,
        if_changed: bool = False,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> PushResult:
        """As `Store.push`.

        Nothing is sent before the whole directory has been read and every rule was kept. A push that fails
        after that leaves at most an open package; the same call with the same key goes on with it.

        Args:
            if_changed: asked before the key counts.
            cache: as in `ingest_directory`.
        """
        details = packages.check_details(name, producer, subject, retention_class, metadata, metadata_schema)
        fields.check_label(actor, field="actor")
        key = _key_of(idempotency_key)
        with read_tree(directory, selection, on_progress) as tree:
            details = packages.with_skipped(details, tree.scan)
            content = tree.content_digest(details)
            if if_changed:
                earlier = self._same_content(details, content)
                if earlier is not None:
                    return PushResult(earlier, tree.result(set()), unchanged=True)
            package = self._create(details, actor, derived_key(key, "create"))
            if package.status != OPEN:
                return PushResult(self._having(package, content, key), tree.result(set()), unchanged=True)
            result = self._filled(package, tree, actor, key, on_progress)
            if package.file_count:
                # Somebody has put files into it before, and not every token may see which.
                package = self._create(details, actor, derived_key(key, "create"))
                if package.file_count != tree.entries.count:
                    raise _other_request(key)
            sealed = self._finalize(package.package_id, actor, key)
            return PushResult(self._having(sealed, content, key), result)

    # How it is done

    def _create(self, details: packages.Details, actor: str, key: str) -> Package:
        said: dict[str, Value] = {
            "name": details.name,
            "producer": details.producer,
            "subject": details.subject,
            "retention_class": details.retention_class,
            "metadata": details.metadata,
        }
        if details.metadata_schema is not None:
            said["metadata_schema"] = details.metadata_schema
        return self._changed(Package, target("packages"), said, actor, key)

    def _finalize(self, package: str, actor: str, key: str) -> Package:
        return self._changed(Package, target("packages", package, "finalize"), {}, actor, key)

    def _filled(
        self, package: Package, tree: Tree, actor: str, key: str, on_progress: OnProgress | None
    ) -> IngestResult:
        """Give an open package all files of a directory, of which an earlier try may have put in some.

        Who may not see which sends all of them again, each with the key that it had.
        """
        paths = {entry[0] for entry in tree.entries}
        for tries in reversed(range(self._tries)):
            there = self._present(package.package_id) if package.file_count else {}
            if there is not None and not there.keys() <= paths:
                raise _other_request(key)
            try:
                return self._fill(package.package_id, tree, there or {}, actor, key, on_progress)
            except DuplicateRelativePathError:
                # The last request of a try that was killed ran still.
                if there is None or not tries:
                    raise
                package = self.get_package(package.package_id)
        raise AssertionError("the last try returns or raises")

    def _fill(
        self,
        package: str,
        tree: Tree,
        there: Mapping[str, Entry],
        actor: str,
        key: str,
        on_progress: OnProgress | None,
    ) -> IngestResult:
        """Put all files of a directory into an open package, and send only what the server lacks.

        Args:
            there: files that an earlier try has put into it.
        """
        for entry in tree.entries:
            if there.get(entry[0], entry) != entry:
                raise _other_request(key)
        uploads = Uploads(self._transport, package, actor, key, tries=self._tries)

        def send(chosen: Callable[[Entry], bool]) -> None:
            send_files(tree, chosen, uploads.send, self._connections, on_progress, self._transport.abort)

        known = uploads.known({entry[3] for entry in tree.entries if entry[0] not in there})
        if known is None:
            send(lambda entry: entry[0] not in there)
            return tree.result({entry[3] for entry in tree.entries})
        # Of equal files one is sent; the others are known then.
        first: dict[bytes, str] = {}
        named: list[Entry] = []
        for entry in tree.entries:
            if entry[0] in there:
                continue
            if entry[3] in known or first.setdefault(entry[3], entry[0]) != entry[0]:
                named.append(entry)
        send(lambda entry: first.get(entry[3]) == entry[0])
        gone = {entry[0] for entry in uploads.name(named)}
        if gone:
            send(lambda entry: entry[0] in gone)
        return tree.result(set(first))

    def _present(self, package: str) -> dict[str, Entry] | None:
        """The files of an open package, by their paths; None if this token may not ask."""
        try:
            return {file.relative_path: entry_of(file) for file in self._files(package)}
        except AccessError as error:
            if error.code != "scope-missing":
                raise
            return None

    def _same_content(self, details: packages.Details, content: Digest) -> Package | None:
        """The newest finalized package of this producer, subject and class with exactly these files."""
        cursor: str | None = None
        while True:
            page = self.list_packages(
                producer=details.producer,
                subject=details.subject,
                retention_class=details.retention_class,
                status=FINALIZED,
                limit=_AT_ONCE,
                cursor=cursor,
            )
            for package in page.items:
                if package.content_digest == content and self._stays(package):
                    return package
            if page.next_cursor is None:
                return None
            cursor = page.next_cursor

    def _stays(self, package: Package) -> bool:
        """Whether its time is not over, and no sweep has marked it: else its bytes may go at any time."""
        state = self.explain_retention(package.package_id).state
        return state.eligible_at is None and (state.expires_at is None or state.expires_at > system_clock())

    def _having(self, package: Package, content: Digest, key: str) -> Package:
        """A sealed package, if it holds exactly these files."""
        if package.content_digest != content:
            raise _other_request(key)
        return package

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._transport.address}>"


def _other_request(key: str) -> ConflictError:
    return ConflictError(
        f"the idempotency key {key!r} was used with other arguments",
        hint="use a new key for a new request",
        code="idempotency-conflict",
    )


def _key_of(given: str | None) -> str:
    """The caller's key, or one of our own: with it a request can be sent again."""
    return uuid.uuid4().hex if given is None else fields.check_label(given, field="idempotency key")


def _trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot use the certificates in {ca_file[:200]!r}: {error}") from error
