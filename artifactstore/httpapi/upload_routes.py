"""Routes of upload sessions: a file that is sent as a whole or in parts, and resumed after a break."""

from __future__ import annotations

import hashlib
from types import NoneType
from typing import TYPE_CHECKING, cast

from artifactstore.digest import Digest, new_blake3
from artifactstore.errors import InvalidInputError
from artifactstore.httpapi.access import WRITE
from artifactstore.httpapi.answers import Answer, document
from artifactstore.httpapi.contents import expected_of
from artifactstore.httpapi.package_routes import ACTOR, CONTENT_DIGEST, DIGEST, KEY
from artifactstore.httpapi.refusals import Refusal
from artifactstore.httpapi.routes import BYTES, Parameter, Reply, Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artifactstore.httpapi.routes import Call
    from artifactstore.upload_files import Upload

OFFSET = "upload-offset"


def create_upload(call: Call) -> Answer:
    """Begin to upload a file of a package."""
    given = call.document(
        package=str,
        relative_path=str,
        media_type=(str, NoneType),
        executable=(bool, NoneType),
        expected_size=(int, NoneType),
        expected_digest=(str, NoneType),
    )
    digest = cast("str | None", given["expected_digest"])
    upload = call.service.uploads.create(
        cast("str", given["package"]),
        cast("str", given["relative_path"]),
        owner=call.principal.name,
        media_type=cast("str | None", given["media_type"]),
        executable=bool(given["executable"]),
        expected_size=cast("int | None", given["expected_size"]),
        expected_digest=None if digest is None else Digest.parse(digest),
        idempotency_key=call.idempotency_key,
    )
    return _answer(upload, status=201, fields={"Location": f"/uploads/{upload.upload_id}"})


def show_upload(call: Call) -> Answer:
    """Show a session; the field `Upload-Offset` tells how many bytes are there and durable."""
    return _answer(call.service.uploads.get(call.path["upload"], owner=call.principal.name))


def send_upload(call: Call) -> Answer:
    """Send the whole file; what was there before is forgotten."""
    _need_length(call)
    uploads, upload_id, owner = call.service.uploads, call.path["upload"], call.principal.name
    chunks = _as_said(call.body, expected_of(call.head.fields))
    uploads.restart(upload_id, owner=owner)
    return _answer(uploads.append(upload_id, chunks, offset=0, owner=owner))


def resume_upload(call: Call) -> Answer:
    """Add bytes at the offset that `Upload-Offset` names; whatever came stays if the connection breaks."""
    _need_length(call)
    text = call.head.fields.get(OFFSET)
    if text is None:
        raise Refusal(
            428,
            "Upload-Offset is missing",
            hint="HEAD tells the offset to go on from",
            close=not call.body.done,
        )
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refusal(400, "Upload-Offset is not a number", close=not call.body.done)
    if "repr-digest" in call.head.fields:
        raise Refusal(
            422,
            "Repr-Digest is that of a whole file",
            hint="say Content-Digest of a part, and expected_digest of the whole when the session begins",
            code="invalid-field",
            close=not call.body.done,
        )
    chunks = _as_said(call.body, expected_of(call.head.fields))
    upload = call.service.uploads.append(
        call.path["upload"], chunks, offset=int(text), owner=call.principal.name
    )
    return _answer(upload)


def _need_length(call: Call) -> None:
    if not call.head.has_length:
        raise Refusal(411, "the length of the body is missing", close=True)


def _as_said(chunks: Iterable[bytes], expected: list[Digest]) -> Iterator[bytes]:
    """The bytes of a request; raises `InvalidInputError` behind the last one if they have another digest."""
    digests = [(each, new_blake3() if each.algorithm == "blake3" else hashlib.sha256()) for each in expected]
    for chunk in chunks:
        for _, digest in digests:
            digest.update(chunk)
        yield chunk
    for said, digest in digests:
        if digest.digest() != said.value:
            message = f"the bytes of the request are not {said}"
            raise InvalidInputError(message, hint="send them again", code="digest-mismatch")


def complete_upload(call: Call) -> Answer:
    """Put the file into its package, if size and digest are those that were announced."""
    call.document()
    file = call.service.uploads.complete(call.path["upload"], owner=call.principal.name, actor=call.actor)
    return document(file, status=201, fields={"Location": f"/files/{file.file_id}"})


def cancel_upload(call: Call) -> Answer:
    """End a session; nothing of it is left."""
    call.service.uploads.cancel(call.path["upload"], owner=call.principal.name)
    return Answer(204)


def _answer(upload: Upload, *, status: int = 200, fields: dict[str, str] | None = None) -> Answer:
    return document(upload, status=status, fields={**(fields or {}), "Upload-Offset": str(upload.offset)})


ROUTES = (
    Route(
        "POST",
        "/uploads",
        create_upload,
        "Begin to upload a file",
        Reply("The session.", "Upload", status=201),
        WRITE,
        fields=(KEY,),
        body="NewUpload",
        body_required=True,
        refuses=(404, 409),
    ),
    Route(
        "GET",
        "/uploads/{upload}",
        show_upload,
        "Show a session",
        Reply("The session; `Upload-Offset` tells how far it is.", "Upload"),
        WRITE,
        "A session can be used by the token that began it alone.",
    ),
    Route(
        "PUT",
        "/uploads/{upload}",
        send_upload,
        "Send the whole file",
        Reply("The session.", "Upload"),
        WRITE,
        "What was there before is forgotten. Bytes with another digest than the request says are refused.",
        fields=(DIGEST, CONTENT_DIGEST),
        body=BYTES,
        refuses=(404, 409, 411),
    ),
    Route(
        "PATCH",
        "/uploads/{upload}",
        resume_upload,
        "Send a part of the file",
        Reply("The session.", "Upload"),
        WRITE,
        "Add bytes at the offset that `Upload-Offset` names; whatever came stays if the connection breaks. Of"
        " a part with another digest than the request says, nothing stays.",
        fields=(
            Parameter(
                "Upload-Offset", "Where the part begins.", {"type": "integer", "minimum": 0}, required=True
            ),
            DIGEST,
            CONTENT_DIGEST,
        ),
        body=BYTES,
        refuses=(404, 409, 411, 428),
    ),
    Route(
        "POST",
        "/uploads/{upload}/complete",
        complete_upload,
        "Put the file into its package",
        Reply("The file.", "File", status=201),
        WRITE,
        "Wrong bytes are refused with `digest-mismatch`, and the session is over."
        " A second call returns the same file.",
        fields=(ACTOR,),
        body="Nothing",
        refuses=(404, 409),
    ),
    Route(
        "DELETE",
        "/uploads/{upload}",
        cancel_upload,
        "End a session",
        Reply("It is over.", None, (), 204),
        WRITE,
        refuses=(404, 409),
    ),
)
