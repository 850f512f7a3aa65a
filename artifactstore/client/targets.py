"""What stands in the first line of a request: paths and queries, percent-encoded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from artifactstore.errors import InvalidInputError
from artifactstore.paths import printable
from artifactstore.query_arguments import id_range

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNSENDABLE = re.compile("[/\x00-\x1f\x7f\ud800-\udfff]")


def target(*segments: str, query: Iterable[tuple[str, object]] = ()) -> str:
    """A path from its segments, with what is asked for behind it.

    Args:
        query: names and values; None is left out.
    Raises:
        InvalidInputError: a segment is none that servers and proxies take for what it is, or no id.
    """
    if segments[0] == "packages" and len(segments) > 1:
        id_range(segments[1], what="package")  # with the words of a store on this machine
    for segment in segments:
        if segment in {"", ".", ".."} or _UNSENDABLE.search(segment):
            raise InvalidInputError(f"nothing has the name {printable(segment)}")
    path = "".join(f"/{quote(segment, safe='')}" for segment in segments)
    given = [(name, _text(value)) for name, value in query if value is not None]
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


def file_target(package: str, relative_path: str, query: Iterable[tuple[str, object]] = ()) -> str:
    """The path of a file in its package."""
    return target("packages", package, "files", *relative_path.split("/"), query=query)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
