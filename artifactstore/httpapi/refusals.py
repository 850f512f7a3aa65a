"""Why a request is not answered as asked: the statuses, and errors as RFC 9457 problems."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from artifactstore import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

PROBLEM = "application/problem+json"

# By class, the nearest one above counts; then by code, which counts more.
BY_ERROR: dict[type[errors.ArtifactStoreError], int] = {
    errors.ArtifactStoreError: 500,
    errors.InvalidInputError: 422,
    errors.SourceChangedError: 422,
    errors.NotFoundError: 404,
    errors.ObjectNotFoundError: 500,  # the log names it: not a wrong question but lost evidence
    errors.ConflictError: 409,
    errors.DuplicateRelativePathError: 409,
    errors.StateError: 409,
    errors.StoreNotFoundError: 503,
    errors.IntegrityError: 500,
    errors.BackendError: 503,
    errors.BusyError: 503,
    errors.AccessError: 500,  # the server's own permissions, not the caller's
    errors.SettingsError: 500,
}
BY_CODE = {"bad-cursor": 400, "not-json-shaped": 400, "collected": 410, "closed": 503}
# The words of RFC 9110 §15; those of `http.HTTPStatus` change between versions of Python.
PHRASES = {
    200: "OK",
    201: "Created",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    428: "Precondition Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
RETRY_AFTER = "1"  # seconds, with a 503


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure
    """A request that is refused; its fields make the answer.

    Args:
        detail: what was wrong, for a person.
        hint: what to do about it.
        code: stable, for programs; the phrase of the status if not given.
        close: whether the connection cannot be used any more.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.code = code or PHRASES[status].lower().replace(" ", "-")
        self.headers = dict(headers or {})
        self.close = close

    def document(self) -> dict[str, object]:
        """The problem as its JSON says it."""
        return {
            "type": "about:blank",
            "title": PHRASES[self.status],
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        }

    def body(self) -> bytes:
        """The problem as JSON."""
        return json.dumps(self.document()).encode() + b"\n"


class Disconnected(Exception):  # noqa: N818 - as above
    """The other side is gone, or too slow to wait for; there is nobody to answer."""


def status_of(error: errors.ArtifactStoreError) -> int:
    """The status for an error of the library."""
    if error.code in BY_CODE:
        return BY_CODE[error.code]
    if isinstance(error, errors.BackendError) and not error.retryable:
        return 500
    return next(BY_ERROR[kind] for kind in type(error).__mro__ if kind in BY_ERROR)


def refusal_of(error: errors.ArtifactStoreError) -> Refusal:
    """An error of the library as an answer.

    What is wrong inside the server is told by its code alone: its message may name places of the machine.
    """
    status = status_of(error)
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else {}
    if status >= 500:
        detail = (error.__doc__ or "").partition("\n")[0]
        told = detail if not isinstance(error, errors.IntegrityError) else error.message
        return Refusal(status, told, hint="see the log of the server", code=error.code, headers=headers)
    return Refusal(status, error.message, hint=error.hint, code=error.code, headers=headers)
