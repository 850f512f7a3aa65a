"""Durations as people write them: `90d`, `7y`, `2h30m`, `P90D`, or seconds."""

from __future__ import annotations

import re

from artifactstore import codec, fields
from artifactstore.errors import InvalidInputError

# Seconds. A year has 365 days and there are no months, as in the classes of the operator guide.
_UNITS = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PLAIN = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_ISO = re.compile(r"P(?:(\d+)Y)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII)
DURATION_MAX = 1000 * _UNITS["y"]  # seconds; more is "for ever" said badly


def parse_duration(text: str) -> int:
    """Read a duration, in seconds.

    Args:
        text: units from years to seconds in falling order, ISO 8601, or a bare number of seconds.
    Raises:
        InvalidInputError: it is none, is zero, or is longer than 1,000 years.
    Source: ISO 8601-1 §5.5.2 without months.
    """
    if text.isascii() and text.isdigit() and len(text) < 20:
        seconds = int(text)
    else:
        match = _PLAIN.fullmatch(text.lower()) or _ISO.fullmatch(text)
        if match is None or not any(match.groups()) or len(text) > 40:
            raise InvalidInputError(
                f"not a duration: {text[:40]!r}",
                hint="write 90d, 7y, 2h30m, P90D or a number of seconds",
                code="invalid-duration",
            )
        parts = zip(match.groups(), _UNITS.values(), strict=True)
        seconds = sum(int(number) * unit for number, unit in parts if number)
    if not 0 < seconds <= DURATION_MAX:
        raise InvalidInputError(
            f"the duration {text[:40]!r} is not between 1 second and 1,000 years", code="invalid-duration"
        )
    return seconds


def check_age(seconds: int, *, field: str) -> int:
    """Return a distance from now in seconds, either way, if it is at most 1,000 years.

    Raises:
        InvalidInputError: it is longer, or no whole number.
    """
    fields.check_integer(seconds, field=field)
    if not -DURATION_MAX <= seconds <= DURATION_MAX:
        raise InvalidInputError(
            f"{field}: {codec.integer_text(seconds)} seconds are more than 1,000 years",
            code="invalid-duration",
        )
    return seconds


def format_duration(seconds: int) -> str:
    """A duration in its two largest units: `2y`, `90d`, `1d 3h`."""
    parts = []
    for unit, size in _UNITS.items():
        if unit == "w":
            continue
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
