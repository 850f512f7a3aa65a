"""Routes of packages: create, list, inspect, put files in, finalize, manifest, whole packages."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, cast
from urllib.parse import urlencode

from artifactstore.digest import Digest
from artifactstore.errors import InvalidInputError
from artifactstore.facts import package_document, plain
from artifactstore.httpapi.access import READ, WRITE
from artifactstore.httpapi.answers import CBOR, JSON, Answer, Streamed, disposition, document
from artifactstore.httpapi.contents import expected_of, file_answer
from artifactstore.httpapi.negotiation import chosen, names_etag
from artifactstore.httpapi.refusals import Refusal
from artifactstore.httpapi.routes import BYTES, Parameter, Reply, Route, bad_query
from artifactstore.known_files import KnownFile
from artifactstore.moment import parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

    from artifactstore.codec import Value
    from artifactstore.httpapi.routes import Call

TAR = "application/x-tar"
ZIP = "application/zip"
PAGE_SIZE = 4 << 20  # bytes of payloads or metadata with which a page ends, before its limit
TEXT_OR_NOTHING = (str, NoneType)

LIMIT = Parameter(
    "limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}
)
CURSOR = Parameter("cursor", "`next_cursor` of the page before.")
KEY = Parameter("Idempotency-Key", "The same key with the same request returns the first result.")
ACTOR = Parameter("Artifactstore-Actor", "Whom the client acts for; recorded beside the name of the token.")
DIGEST = Parameter("Artifactstore-Digest", "`blake3:<hex>` or `sha256:<hex>` that the bytes must have.")
CONTENT_DIGEST = Parameter("Content-Digest", "RFC 9530: `sha-256=:<base64>:` that the bytes must have.")
EXECUTABLE = Parameter("executable", "Whether the file is a program.", {"type": "boolean", "default": False})


def create_package(call: Call) -> Answer:
    """Open a package."""
    given = call.document(
        name=str,
        producer=str,
        subject=str,
        retention_class=TEXT_OR_NOTHING,
        metadata=(dict, NoneType),
        metadata_schema=TEXT_OR_NOTHING,
    )
    package_id = call.store.create_package(
        name=cast("str", given["name"]),
        producer=cast("str", given["producer"]),
        subject=cast("str", given["subject"]),
        retention_class=cast("str", given["retention_class"] or "raw-evidence"),
        metadata=cast("Mapping[str, Value] | None", given["metadata"]),
        metadata_schema=cast("str | None", given["metadata_schema"]),
        actor=call.actor,
        idempotency_key=call.idempotency_key,
    )
    package = call.store.get_package(package_id)
    return document(package, status=201, fields={"Location": f"/packages/{package_id}"})


def list_packages(call: Call) -> Answer:
    """List packages, newest first."""
    if "metadata" in call.head.query:
        raise bad_query("a filter of metadata names its key", hint="write metadata.KEY=VALUE")
    page = call.store.list_packages(
        producer=call.text("producer"),
        subject=call.text("subject"),
        retention_class=call.text("retention_class"),
        status=call.text("status"),
        name=call.text("name"),
        created_after=_moment(call, "created_after"),
        created_before=_moment(call, "created_before"),
        metadata=call.metadata(),
        limit=call.integer("limit", default=50, minimum=1, maximum=1000),
        size=PAGE_SIZE,
        cursor=call.text("cursor"),
    )
    return listed(call, page.items, page.next_cursor)


def listed(call: Call, items: object, next_cursor: str | None) -> Answer:
    """A page of a list, with a link to the next one."""
    fields = {}
    if next_cursor is not None:
        query = urlencode({**call.head.query, "cursor": next_cursor})
        fields["Link"] = f'<{call.head.path}?{query}>; rel="next"'
    return document({"items": plain(items), "next_cursor": next_cursor}, fields=fields)


def show_package(call: Call) -> Answer:
    """Show a package: who made it, its digests, how long it is kept and why, when its bytes were checked."""
    package = call.store.get_package(call.path["package"])
    explained = call.store.explain_retention(package.package_id)
    checked = call.store.verification(package.package_id)
    return document(package_document(package, explained, checked))


def list_files(call: Call) -> Answer:
    """List the files of a package, sorted by path."""
    page = call.store.list_files(
        call.path["package"],
        limit=call.integer("limit", default=1000, minimum=1, maximum=1000),
        cursor=call.text("cursor"),
    )
    return listed(call, page.items, page.next_cursor)


def upload_file(call: Call) -> Answer:
    """Put one file into an open package: its bytes, or, without a body, bytes that the store has already.

    The second way needs a token that may read, and a digest.
    """
    package, path = call.path["package"], call.path["path"]
    media_type = call.head.fields.get("content-type")
    executable, known = _boolean(call, "executable"), _boolean(call, "known")
    expected = expected_of(call.head.fields)
    if known:
        call.require(READ)
        if not call.body.done:
            raise Refusal(422, "known=true takes no body", hint="send the bytes without it", close=True)
        if not expected:
            raise Refusal(422, "a file is known by its digest alone", hint="send Artifactstore-Digest")
        wanted = [KnownFile(path, expected[0], media_type, executable)]
        [file] = call.store.ingest_known(
            package, wanted, actor=call.actor, idempotency_key=call.idempotency_key
        )
    else:
        if not call.head.has_length:
            raise Refusal(411, "the length of the body is missing", close=True)
        file = call.store.ingest_file(
            package,
            path,
            call.body,
            actor=call.actor,
            media_type=media_type,
            executable=executable,
            expected_size=call.head.length,
            expected_digests=expected,
            idempotency_key=call.idempotency_key,
        )
    return document(file, status=201, fields={"Location": f"/files/{file.file_id}"})


def add_known_files(call: Call) -> Answer:
    """Put files into an open package whose bytes the store has already, in one transaction.

    If it lacks the bytes of any of them, nothing is added and the code is `object-unknown`.
    """
    call.require(READ)
    files = [_known_file(entry) for entry in cast("list[Value]", call.document(files=list)["files"])]
    found = call.store.ingest_known(
        call.path["package"], files, actor=call.actor, idempotency_key=call.idempotency_key
    )
    return document({"items": plain(found), "next_cursor": None}, status=201)


def _known_file(entry: Value) -> KnownFile:
    kinds = {"relative_path": str, "digest": str, "media_type": str, "executable": bool}
    if not isinstance(entry, dict) or not {"relative_path", "digest"} <= entry.keys() <= kinds.keys():
        message = "an entry of files has relative_path and digest, and may have media_type and executable"
        raise InvalidInputError(message, code="invalid-field")
    for name, value in entry.items():
        if not isinstance(value, kinds[name]) and not (value is None and name == "media_type"):
            raise InvalidInputError(f"{name} of an entry of files has a wrong type", code="invalid-field")
    return KnownFile(
        cast("str", entry["relative_path"]),
        Digest.parse(cast("str", entry["digest"])),
        cast("str | None", entry.get("media_type")),
        bool(entry.get("executable", False)),
    )


def download_path(call: Call) -> Answer:
    """The bytes of a file by its path in a package; ranges and conditions as for `/files/{file}/content`."""
    return file_answer(call, call.store.get_file(call.path["package"], call.path["path"]))


def finalize_package(call: Call) -> Answer:
    """Seal a package: its manifest is stored and its clock of retention starts."""
    call.document()
    call.store.finalize_package(call.path["package"], actor=call.actor, idempotency_key=call.idempotency_key)
    return document(call.store.get_package(call.path["package"]))


def show_manifest(call: Call) -> Answer:
    """The manifest of a finalized package: its JSON projection, or by Accept its very bytes in CBOR."""
    form = chosen(call.head.fields.get("accept"), (JSON, CBOR))
    package = call.store.get_package(call.path["package"])
    data = call.store.get_manifest_bytes(package.package_id, format="cbor" if form == CBOR else "json")
    fields = {"Vary": "Accept"}
    if form == CBOR:
        fields["ETag"] = f'"{package.manifest_digest}"'
        if names_etag(call.head.fields.get("if-none-match"), fields["ETag"]):
            return Answer(304, fields=fields)
    return Answer(200, data, form, fields)


def download_package(call: Call) -> Answer:
    """A finalized package as a tar or, by Accept, as a zip: the same bytes each time, checked on the way."""
    form = chosen(call.head.fields.get("accept"), (TAR, ZIP))
    bare = _boolean(call, "bare")
    package = call.store.get_package(call.path["package"])
    call.store.get_manifest(package.package_id)  # refuses what has none before anything is sent
    suffix = "zip" if form == ZIP else "tar"
    write = call.store.export_zip if form == ZIP else call.store.export_tar

    def make(stream: IO[bytes]) -> None:
        write(package.package_id, stream, bare=bare)

    fields = {
        "Content-Disposition": disposition(f"{package.package_id}.{suffix}", inline=False),
        "Vary": "Accept",
    }
    return Answer(200, Streamed(make), form, fields)


def _moment(call: Call, name: str) -> int | None:
    text = call.text(name)
    return None if text is None else parse_moment(text)


def _boolean(call: Call, name: str) -> bool:
    text = call.text(name)
    if text not in {None, "true", "false"}:
        raise bad_query(f"{name} is true or false")
    return text == "true"


_FILTERS = (
    Parameter("producer", "Only of this tool."),
    Parameter("subject", "Only about this."),
    Parameter("retention_class", "Only of this retention class."),
    Parameter(
        "status",
        "Only in this state; what is collected is listed only so.",
        {"type": "string", "enum": ["open", "finalized", "garbage_collected"]},
    ),
    Parameter("name", "Only with this name."),
    Parameter(
        "metadata",
        "`metadata.KEY=VALUE` or `metadata[KEY]=VALUE`: only with this entry; `a.b` is b inside a.",
    ),
    Parameter("created_after", "Only younger ones: a date or RFC 3339."),
    Parameter("created_before", "Only older ones."),
)

ROUTES = (
    Route(
        "POST",
        "/packages",
        create_package,
        "Open a package",
        Reply("The package.", "Package", status=201),
        WRITE,
        fields=(KEY, ACTOR),
        body="NewPackage",
        body_required=True,
        refuses=(409,),
    ),
    Route(
        "GET",
        "/packages",
        list_packages,
        "List packages, newest first",
        Reply("A page of packages; `Link` names the next one.", "PackageList"),
        query=(*_FILTERS, LIMIT, CURSOR),
    ),
    Route(
        "GET",
        "/packages/{package}",
        show_package,
        "Show a package",
        Reply("The package, its retention and how well its bytes are checked.", "PackageDocument"),
    ),
    Route(
        "GET",
        "/packages/{package}/files",
        list_files,
        "List the files of a package, by path",
        Reply("A page of files.", "FileList"),
        query=(LIMIT, CURSOR),
    ),
    Route(
        "POST",
        "/packages/{package}/files",
        add_known_files,
        "Put files in whose bytes the store has already",
        Reply("The files, in the order of the request.", "FileList", status=201),
        WRITE,
        "Needs a token that may read, too. If the bytes of one are not there, none is added and the code is"
        " `object-unknown`.",
        fields=(KEY, ACTOR),
        body="KnownFiles",
        body_required=True,
        refuses=(404, 409),
    ),
    Route(
        "PUT",
        "/packages/{package}/files/{path}",
        upload_file,
        "Put one file into an open package",
        Reply("The file.", "File", status=201),
        WRITE,
        "The body is the bytes. With `known=true` and no body, the file gets bytes that the store has"
        " already; then a digest and a token that may read are needed.",
        query=(
            EXECUTABLE,
            Parameter("known", "Take the bytes that have the digest.", {"type": "boolean", "default": False}),
        ),
        fields=(
            Parameter("Content-Type", "The media type of the file; guessed from its name if not given."),
            DIGEST,
            CONTENT_DIGEST,
            KEY,
            ACTOR,
        ),
        body=BYTES,
        refuses=(404, 409, 411),
    ),
    Route(
        "GET",
        "/packages/{package}/files/{path}",
        download_path,
        "Download a file by its path",
        Reply("The bytes.", media_types=("*/*",)),
        fields=(
            Parameter("Range", "One range of bytes; several are answered with the whole."),
            Parameter("If-None-Match", "Entity tags: 304 if the file has one of them."),
            Parameter("If-Range", "An entity tag: the whole file if it has another one."),
        ),
        refuses=(304, 404, 410, 416),
    ),
    Route(
        "POST",
        "/packages/{package}/finalize",
        finalize_package,
        "Seal a package",
        Reply("The package with its manifest's digest.", "Package"),
        WRITE,
        fields=(KEY, ACTOR),
        body="Nothing",
        refuses=(404, 409),
    ),
    Route(
        "GET",
        "/packages/{package}/manifest",
        show_manifest,
        "Fetch the manifest of a finalized package",
        Reply("The manifest.", "Manifest", (JSON, CBOR)),
        description="Its JSON projection, or by Accept its very bytes in CBOR, which have an entity tag.",
        fields=(Parameter("If-None-Match", "Entity tags, for CBOR: 304 if the manifest has one of them."),),
        refuses=(304, 404, 406, 409, 410),
    ),
    Route(
        "GET",
        "/packages/{package}/archive",
        download_package,
        "Download a whole package",
        Reply("A tar or a zip, the same bytes each time.", media_types=(TAR, ZIP)),
        query=(Parameter("bare", "Without the auditor's kit.", {"type": "boolean"}),),
        refuses=(404, 406, 409, 410),
    ),
)
