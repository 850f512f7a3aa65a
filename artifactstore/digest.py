"""Digests: blake3 is the address of an object, sha256 stands beside it for the rest of the world."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    # What hashlib, blake3 and `memoryview` agree on.
    Buffer = bytes | bytearray | memoryview

ALGORITHMS = ("blake3", "sha256")
DIGEST_SIZE = 32  # bytes, for both algorithms


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest with the name of its algorithm; its text form is `algorithm:hex`.

    Args:
        algorithm: `blake3` or `sha256`.
        value: the 32 bytes.
    """

    algorithm: str
    value: bytes

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise InvalidInputError(
                f"unknown digest algorithm {printable(self.algorithm)}",
                hint="use blake3:<hex> or sha256:<hex>",
            )
        if len(self.value) != DIGEST_SIZE:
            raise InvalidInputError(f"a {self.algorithm} digest has 32 bytes, not {len(self.value)}")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `algorithm:hex`.

        Raises:
            InvalidInputError: the algorithm is unknown or the rest is not 64 lower-case hex digits.
        """
        algorithm, _, hexadecimal = text.partition(":")
        if len(hexadecimal) != 2 * DIGEST_SIZE or not is_lower_hex(hexadecimal):
            raise InvalidInputError(
                f"not a digest: {printable(text)}",
                hint="write it as blake3:<64 hex digits> or sha256:<64 hex digits>",
            )
        return cls(algorithm, bytes.fromhex(hexadecimal))

    @property
    def hex(self) -> str:
        """The digest in lower-case hex, without the algorithm."""
        return self.value.hex()

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"


@dataclass(frozen=True, slots=True)
class DigestPair:
    """Both digests of the same bytes, raw, as the log keeps them."""

    blake3: bytes
    sha256: bytes


def new_blake3(data: Buffer = b"") -> blake3:
    """A running blake3 over the bytes given so far; it has `update` and `digest`."""
    return blake3(data)


def is_lower_hex(text: str) -> bool:
    """Whether the text is made of lower-case hex digits only."""
    return all(character in "0123456789abcdef" for character in text)


def digest_pair(data: Buffer) -> DigestPair:
    """Both digests of bytes in memory, in one pass over a warm buffer."""
    return DigestPair(blake3(data).digest(), hashlib.sha256(data).digest())


class Hasher:
    """Both digests of a stream.

    `update_blake3` and `update_sha256` may run on two threads over the same buffers: the two states are
    independent and each releases the interpreter lock while it works.
    """

    def __init__(self) -> None:
        self._blake3 = new_blake3()
        self._sha256 = hashlib.sha256()
        self.update_blake3: Callable[[Buffer], object] = self._blake3.update
        self.update_sha256: Callable[[Buffer], object] = self._sha256.update

    def update(self, data: Buffer) -> None:
        """Add bytes to both digests."""
        self.update_blake3(data)
        self.update_sha256(data)

    def pair(self) -> DigestPair:
        """The digests of all bytes so far."""
        return DigestPair(self._blake3.digest(), self._sha256.digest())


def object_key(blake3: bytes) -> str:
    """Where an object lies below the root of a backend: `blake3/ab/cd/abcd...`.

    Source: the layout `<algorithm>/<hex[0:2]>/<hex[2:4]>/<hex>` of the operator guide.
    """
    hexadecimal = blake3.hex()
    return f"blake3/{hexadecimal[0:2]}/{hexadecimal[2:4]}/{hexadecimal}"
