"""Versions that must never be used, one row each. A new advisory is one line; the tests do the rest."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.specifiers import SpecifierSet


@dataclass(frozen=True)
class KnownBad:
    """Versions of one distribution and what is wrong with them.

    Args:
        versions: as in a requirement, like `<6.1.4` or `>=1.2,<1.2.5`.
    """

    package: str
    versions: str
    reason: str

    @property
    def specifier(self) -> SpecifierSet:
        """The bad versions, pre-releases too."""
        return SpecifierSet(self.versions, prereleases=True)


KNOWN_BAD = (
    # What we ask for ourselves
    KnownBad(
        "aiobotocore", "<=2.12.0", "follows redirects with the session token, and cannot be kept from it"
    ),
    KnownBad("apsw", "<3.51.3", "SQLite's WAL-reset bug: checkpoints that race with a commit may lose it"),
    KnownBad("apsw", ">=3.52,<3.53", "SQLite 3.52.0 was withdrawn by its makers"),
    KnownBad("cbor2", "<5.8.0", "CVE-2025-68131: shared values leak from one document into the next"),
    KnownBad("cbor2", "<5.9.0", "CVE-2026-26209: nested arrays end the process"),
    KnownBad("cbor2", ">=6.1,<6.1.1", "load() returns other bytes than were stored beyond 4,096"),
    KnownBad("cbor2", "<6.1.4", "a crash, a dropped last key, and decoding in quadratic time"),
    # What comes with it
    KnownBad("aiohttp", "<3.13.4", "CVE-2026-22815 and CVE-2026-34525: trailers without end, several Hosts"),
    KnownBad("idna", "<3.7", "CVE-2024-3651: encoding in quadratic time"),
    KnownBad("urllib3", "<2.6.3", "CVE-2025-66418, CVE-2025-66471, CVE-2026-21441: decompression bombs"),
)
