"""A gate for releases: is there finalized, intact evidence of each required kind about a subject?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.fields import check_label, check_slug
from artifactstore.lifecycle.durations import format_duration
from artifactstore.model import FINALIZED, GARBAGE_COLLECTED, OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artifactstore.any_store import AnyStore
    from artifactstore.model import Package

_BLOCK = 1 << 20  # bytes read at once
_PAGE = 100
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class KindResult:
    """What was found of one kind of evidence.

    Args:
        slug: of the metadata schema that names the kind.
        package_id: the newest package that will do; None if none will.
        reasons: why the packages that were looked at will not do, newest first.
    """

    slug: str
    package_id: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GateResult:
    """Whether a subject may pass, and why not."""

    subject: str
    kinds: tuple[KindResult, ...]

    @property
    def passed(self) -> bool:
        """Whether there is evidence of every kind."""
        return all(kind.package_id is not None for kind in self.kinds)


def judge(
    store: AnyStore,
    *,
    subject: str,
    required: Sequence[str],
    now: int,
    newer_than: int | None = None,
    producer: str | None = None,
) -> GateResult:
    """Look for evidence of each required kind, and read it. Changes nothing.

    Args:
        required: slugs of metadata schemas.
        now: microseconds since 1970.
        newer_than: seconds; what was finalized longer ago will not do.
        producer: only its packages will do.
    Raises:
        InvalidInputError: nothing is required, or a name cannot be one.
    """
    if not required:
        raise InvalidInputError("a gate that requires nothing is always open", hint="name a kind of evidence")
    check_label(subject, field="subject")
    kinds = []
    for slug in dict.fromkeys(required):
        check_slug(slug)
        reasons: list[str] = []
        chosen = None
        for package in _packages(store, subject, producer, slug):
            reason = _what_is_wrong(store, package, now, newer_than)
            if reason is None:
                chosen = package.package_id
                break
            reasons.append(f"{package.package_id}: {reason}")
        kinds.append(KindResult(slug, chosen, tuple(reasons) or (() if chosen else ("no such evidence",))))
    return GateResult(subject, tuple(kinds))


def _packages(store: AnyStore, subject: str, producer: str | None, slug: str) -> Iterator[Package]:
    """All packages of one kind about a subject, newest first, those whose bytes are gone last."""
    for status in (FINALIZED, OPEN, GARBAGE_COLLECTED):
        cursor = None
        while True:
            page = store.list_packages(
                subject=subject, producer=producer, status=status, limit=_PAGE, cursor=cursor
            )
            yield from (package for package in page.items if package.metadata_schema == slug)
            cursor = page.next_cursor
            if cursor is None:
                break


def _what_is_wrong(store: AnyStore, package: Package, now: int, newer_than: int | None) -> str | None:
    """Why a package will not do; None if it will."""
    if package.status == GARBAGE_COLLECTED:
        return "its bytes are deleted"
    if package.finalized_at is None:
        return "it is not finalized"
    if newer_than is not None:
        age = max(now - package.finalized_at, 0) // _MICROSECONDS
        if age > newer_than:
            return f"it was finalized {format_duration(age)} ago"
    try:
        _read_all(store, package)
    except ArtifactStoreError as error:
        return f"it is not intact: {error.message}"
    return None


def _read_all(store: AnyStore, package: Package) -> None:
    """Read every file to its end, where its digest is compared."""
    for file in store.get_manifest(package.package_id).files:
        with store.open_file(package.package_id, file.relative_path) as stream:
            while stream.read(_BLOCK):
                pass
