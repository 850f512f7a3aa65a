"""How much a verify may do, and of what."""

from __future__ import annotations

from dataclasses import dataclass

from artifactstore import fields
from artifactstore.errors import InvalidInputError

SHARDS_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a verify may do, and of what; everything given must hold.

    Args:
        max_bytes: stop when so many bytes were read.
        max_seconds: stop after so long.
        verified_before: microseconds; only what was not verified since then.
        sample: share of the objects, over 0 and up to 1.
        shard: part number i of n, from 1; together the parts are all objects, and no two have one in common.
        package: only the objects of this package, by the key of its rows.
        failed_only: only locations that are marked failed.
    """

    max_bytes: int | None = None
    max_seconds: float | None = None
    verified_before: int | None = None
    sample: float | None = None
    shard: tuple[int, int] | None = None
    package: int | None = None
    failed_only: bool = False

    def __post_init__(self) -> None:
        if self.max_bytes is not None:
            fields.check_integer(self.max_bytes, field="a budget of bytes")
        for name, share in (("a budget of seconds", self.max_seconds), ("a sample", self.sample)):
            if share is not None:
                fields.check_number(share, field=name)
        if self.sample is not None and not 0 < self.sample <= 1:
            raise InvalidInputError("a sample is a share over 0 and up to 1")
        if self.shard is not None:
            number, parts = (fields.check_integer(value, field="a shard") for value in self.shard)
            if not 1 <= number <= parts <= SHARDS_MAX:
                raise InvalidInputError(
                    f"a shard is i of n, from 1 of 1 to {SHARDS_MAX} of {SHARDS_MAX}",
                    hint="`(1, 4)` is the first of four parts",
                )
        for name, value in (("bytes", self.max_bytes), ("seconds", self.max_seconds)):
            if value is not None and not value > 0:  # a NaN is no budget either
                raise InvalidInputError(f"a budget of {name} that is not over 0 verifies nothing")

    def is_spent(self, size: int, seconds: float) -> bool:
        """Whether so many bytes and so long a time use it up."""
        return (self.max_bytes is not None and size >= self.max_bytes) or (
            self.max_seconds is not None and seconds >= self.max_seconds
        )
