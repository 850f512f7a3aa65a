"""What a client can take and what it wants a part of: Accept, conditions and ranges.

Source: RFC 9110 §12.5.1 (Accept), §13 (conditional requests), §14 (ranges).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from artifactstore.httpapi.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))", re.IGNORECASE)
_QUALITY = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def chosen(accept: str | None, offers: Sequence[str]) -> str:
    """The media type to answer with.

    Args:
        accept: the field of the request.
        offers: what can be had; the first one is given to those who do not care.
    Raises:
        Refusal: 406, none of them is wanted.
    """
    if accept is None or not accept.strip():
        return offers[0]
    wanted: list[tuple[str, float]] = []
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            if match := _QUALITY.fullmatch(parameter):
                quality = float(match[1])
        wanted.append((name.lower(), quality))
    best, best_quality = "", 0.0
    for offer in offers:
        quality = _quality(offer, wanted)
        if quality > best_quality:
            best, best_quality = offer, quality
    if not best:
        raise Refusal(406, f"this can be had as {', '.join(offers)} only", hint="change the Accept field")
    return best


def _quality(offer: str, wanted: Sequence[tuple[str, float]]) -> float:
    """How much an offer is wanted, by the most precise of the ranges that take it in."""
    found = dict(wanted)
    kind = offer.partition("/")[0]
    for name in (offer, f"{kind}/*", "*/*"):
        if name in found:
            return found[name]
    return 0.0


def names_etag(condition: str | None, etag: str) -> bool:
    """Whether an If-None-Match field names this entity tag."""
    if condition is None:
        return False
    return condition.strip() == "*" or etag in {
        part.strip().removeprefix("W/") for part in condition.split(",")
    }


def wanted_range(text: str | None, condition: str | None, etag: str, size: int) -> tuple[int, int] | None:
    """The one range to send: offset and length; None for the whole.

    What is no range of bytes, or several of them, is passed over, as RFC 9110 §14.2 allows.

    Args:
        condition: the If-Range field.
    Raises:
        Refusal: 416, it lies outside.
    """
    if text is None or (condition is not None and condition.strip() != etag):
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        start = size - length
    else:
        start = int(first)
        if last is not None and int(last) < start:
            return None
        length = min(int(last) + 1 if last is not None else size, size) - start
    if length <= 0:
        raise Refusal(
            416,
            f"there are {size} bytes",
            headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"},
        )
    return start, length
