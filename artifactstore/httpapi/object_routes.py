"""Routes of single files and of the bytes that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from artifactstore.digest import Digest
from artifactstore.errors import InvalidInputError
from artifactstore.facts import plain
from artifactstore.httpapi.answers import Answer, document
from artifactstore.httpapi.contents import file_answer
from artifactstore.httpapi.package_routes import ROUTES as PACKAGE_ROUTES
from artifactstore.httpapi.package_routes import download_path
from artifactstore.httpapi.routes import Reply, Route

if TYPE_CHECKING:
    from artifactstore.codec import Value
    from artifactstore.httpapi.routes import Call

DIGESTS_MAX = 10_000  # asked for at once
_DOWNLOAD = next(route for route in PACKAGE_ROUTES if route.respond is download_path)


def show_file(call: Call) -> Answer:
    """One file: its package, path, size, type and digests."""
    return document(call.store.find_file(call.path["file"]))


def download_file(call: Call) -> Answer:
    """The bytes of a file."""
    return file_answer(call, call.store.find_file(call.path["file"]))


def find_object(call: Call) -> Answer:
    """All packages and paths that hold the bytes with a digest; a unique prefix is enough."""
    return document({"items": plain(call.store.find_object(call.path["digest"])), "next_cursor": None})


def query_objects(call: Call) -> Answer:
    """Which of these bytes the store has, so that they need not be sent."""
    given = cast("list[Value]", call.document(digests=list)["digests"])
    if len(given) > DIGESTS_MAX:
        raise InvalidInputError(f"at most {DIGESTS_MAX} digests can be asked for at once", code="too-many")
    digests = [Digest.parse(text if isinstance(text, str) else str(type(text))) for text in given]
    known = set(call.store.known_objects(digests))
    return document(
        {
            "present": [str(digest) for digest in dict.fromkeys(digests) if digest in known],
            "missing": [str(digest) for digest in dict.fromkeys(digests) if digest not in known],
        }
    )


ROUTES = (
    Route(
        "GET",
        "/files/{file}",
        show_file,
        "Show one file",
        Reply("The file.", "File"),
    ),
    Route(
        "GET",
        "/files/{file}/content",
        download_file,
        "Download a file",
        Reply("The bytes.", media_types=("*/*",)),
        description="The entity tag is the blake3 digest; `Repr-Digest` carries the sha256.",
        fields=_DOWNLOAD.fields,
        refuses=_DOWNLOAD.refuses,
    ),
    Route(
        "GET",
        "/objects/{digest}",
        find_object,
        "Find who holds bytes",
        Reply("Each place: the package and the file.", "HitList"),
    ),
    Route(
        "POST",
        "/objects/query",
        query_objects,
        "Ask which bytes are there",
        Reply("The digests, sorted into present and missing.", "KnownDigests"),
        description=f"At most {DIGESTS_MAX} digests at once. Changes nothing.",
        body="Digests",
        body_required=True,
    ),
)
