"""Sizes and shares as people write them: `10GiB`, `500MB`, `5%`."""

from __future__ import annotations

import re

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

_SIZE = re.compile(r"(\d{1,18}) ?(?:([kmgtpe])(i?))?b?", re.ASCII | re.IGNORECASE)
_POWERS = "kmgtpe"
_SHARE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(%?)", re.ASCII)
_SHARD = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")


def parse_size(text: str) -> int:
    """Read a number of bytes: plain, in powers of 1000 (`500MB`), or of 1024 (`10GiB`).

    Raises:
        InvalidInputError: it is none, or none at all: zero.
    """
    match = _SIZE.fullmatch(text)
    size = 0
    if match is not None:
        number, power, binary = match.groups()
        size = int(number)
        if power:
            size *= (1024 if binary else 1000) ** (_POWERS.index(power.lower()) + 1)
    if not size:
        raise InvalidInputError(
            f"not a size: {printable(text)}", hint="write 10GiB, 500MB or a number of bytes", code="usage"
        )
    return size


def parse_shard(text: str) -> tuple[int, int]:
    """Read a part of a whole that is cut in equal parts: `2/8`.

    Raises:
        InvalidInputError: it is none.
    """
    match = _SHARD.fullmatch(text)
    number, parts = (0, 0) if match is None else (int(match[1]), int(match[2]))
    if not 1 <= number <= parts:
        raise InvalidInputError(
            f"not a part of so many: {printable(text)}",
            hint="write 1/8, 2/8 up to 8/8 for the parts of eight",
            code="usage",
        )
    return number, parts


def parse_share(text: str) -> float:
    """Read a share over 0 and up to 1: `5%` or `0.05`.

    Raises:
        InvalidInputError: it is none, is zero, or more than the whole.
    """
    match = _SHARE.fullmatch(text)
    share = 0.0 if match is None else float(match[1]) / (100 if match[2] else 1)
    if not 0 < share <= 1:
        raise InvalidInputError(
            f"not a share over 0% and up to 100%: {printable(text)}",
            hint="write 5% or 0.05",
            code="usage",
        )
    return share
