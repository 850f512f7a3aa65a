"""Sizes and shares as people write them: `10GiB`, `500MB`, `5%`."""

from __future__ import annotations

import re

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable

_SIZE = re.compile(r"(\d{1,18}) ?(?:([kmgtpe])(i?))?b?", re.ASCII | re.IGNORECASE)
_POWERS = "kmgtpe"
_SHARE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(%?)", re.ASCII)


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
