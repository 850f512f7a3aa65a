"""Answers that are refusals, and answers that are none: the errors that they become."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.parse
from typing import TYPE_CHECKING

from artifactstore import errors
from artifactstore.errors import AccessError, ArtifactStoreError, BackendError
from artifactstore.paths import printable
from artifactstore.version import __version__

if TYPE_CHECKING:
    from artifactstore.client.address import Address

PROBLEM = "application/problem+json"  # RFC 9457

_TEXT_MAX = 2000  # characters of a server's words that are shown
_BY_STATUS: dict[int, type[ArtifactStoreError]] = {
    400: errors.InvalidInputError,
    401: errors.AccessError,
    403: errors.AccessError,
    404: errors.NotFoundError,
    406: errors.InvalidInputError,
    409: errors.ConflictError,
    410: errors.StateError,
    411: errors.InvalidInputError,
    412: errors.ConflictError,
    413: errors.InvalidInputError,
    414: errors.InvalidInputError,
    415: errors.InvalidInputError,
    416: errors.InvalidInputError,
    421: errors.AccessError,
    422: errors.InvalidInputError,
    423: errors.BusyError,
    428: errors.InvalidInputError,
    429: errors.BusyError,
    503: errors.BusyError,
}
# Codes that are more precise than that of their class.
_BY_CODE: dict[type[ArtifactStoreError], str] = {
    errors.InvalidInputError: (
        "ambiguous-digest ambiguous-id bad-cursor invalid-duration invalid-field invalid-relative-path"
        " invalid-time metadata-too-large not-a-regular-file not-json-shaped plan-of-another-store"
        " retention-shortened store-inside symlink symlink-loop unknown-backend unknown-retention-class usage"
    ),
    errors.ConflictError: "idempotency-conflict",
    errors.StateError: (
        "clock-jumped clock-out-of-range closed collected database-linked empty-package hold-released"
        " kept-for-ever log-shortened not-a-store not-extendable not-finalized package-finalized plan-stale"
        " store-needs-migration store-too-new"
    ),
    errors.IntegrityError: "database-damaged not-a-manifest not-a-plan not-canonical schema-changed",
    errors.BackendError: (
        "backend-foreign backend-missing backend-not-empty disk-full marker-damaged too-many-open-files"
    ),
}


def refusal(
    status: int, reason: str, content_type: str, body: bytes, token: str | None = None
) -> ArtifactStoreError:
    """The error that a server has answered with.

    Args:
        reason: the words behind the status.
        body: the beginning of it.
        token: of ours, which must not stand in the error.
    """
    reason = _words(reason, token)
    said = _problem(content_type, body, token)
    if said is None:
        return _foreign_refusal(status, reason)
    code, detail, hint, retryable = said
    kind = error_class(code, status)
    message = detail or f"the server answers {status} {reason}"
    if issubclass(kind, BackendError):
        return kind(message, hint=hint, code=code, retryable=retryable or status == 503)
    return kind(message, hint=hint, code=code)


def error_class(code: str, status: int) -> type[ArtifactStoreError]:
    """The class of an error from its stable code; an unknown one is judged by the status."""
    for kind in _all_below(ArtifactStoreError):
        if code == kind.default_code and kind is not ArtifactStoreError:
            return kind
    for kind, codes in _BY_CODE.items():
        if code in codes.split():
            return kind
    return _BY_STATUS.get(status, BackendError if status >= 500 else ArtifactStoreError)


def unreachable(address: Address, cause: BaseException | None, *, sent: bool) -> ArtifactStoreError:
    """Why nothing came back.

    Args:
        sent: whether the request may have been done.
    """
    if isinstance(cause, ssl.SSLCertVerificationError):
        return AccessError(
            f"the server at {address} does not prove who it is: {_words(cause.verify_message)}",
            hint="use the name that its certificate has; SSL_CERT_FILE names a file with your own authority",
            code="certificate",
        )
    if isinstance(cause, ssl.SSLError):
        reason = f"no TLS with it: {_words(cause.reason or str(cause))}"
    elif isinstance(cause, TimeoutError):
        reason = "it does not answer in time"
    elif cause is None or isinstance(cause, http.client.RemoteDisconnected | http.client.IncompleteRead):
        reason = "it ended the connection too early"
    elif isinstance(cause, OSError):
        reason = _words(cause.strerror or str(cause))
    else:
        reason = "it does not speak HTTP"
    maybe = "; the request may have been done" if sent else ""
    return BackendError(
        f"cannot reach the server at {address}: {reason}{maybe}",
        hint="is `artifactstore serve` running there, and is the URL right?",
        code="server-unreachable",
        retryable=True,
    )


def is_unreachable(error: ArtifactStoreError) -> bool:
    """Whether the server did not answer to the end, so that what was asked can be asked again."""
    return error.code == "server-unreachable"


def redirected(address: Address, location: str | None, token: str | None = None) -> ArtifactStoreError:
    """A redirect is not followed: the token would go wherever a server says."""
    place = re.sub(r"//[^/?#]*@", "//", without_token(location or "", token)).partition("?")[0]
    return BackendError(
        f"the server at {address} sends us elsewhere: {printable(place)}",
        hint="redirects are not followed; give the URL of the API itself",
        code="not-an-api",
    )


def foreign(address: Address, what: str, version: str | None, token: str | None = None) -> BackendError:
    """The answer is not one that an artifactstore of this version gives.

    Args:
        what: is wrong with it.
        version: of the artifactstore that has given it, if it is another one.
        token: of ours, which must not stand in the error.
    """
    message = f"what the server at {address} answers is not understood: {without_token(what, token)}"
    if version is not None:
        return BackendError(
            f"{message}; it is artifactstore {_words(version, token)}, this is {__version__}",
            hint="use the same version on both sides",
            code="other-version",
        )
    return BackendError(message, hint="is the URL that of an artifactstore?", code="not-an-api")


def _foreign_refusal(status: int, reason: str) -> ArtifactStoreError:
    """What a proxy, or a server of another kind, has answered with."""
    kind = _BY_STATUS.get(status, BackendError)
    message = f"the server answers {status} {reason}".strip()
    if status in {401, 403}:
        return kind(message, hint="give a token that it knows")
    if status in {429, 502, 503, 504}:
        return BackendError(message, hint="try again", code="server-unreachable", retryable=True)
    return BackendError(message, hint="is the URL that of an artifactstore?", code="not-an-api")


def without_token(text: str, token: str | None) -> str:
    """What a server says, without our token: it was sent that, and may repeat it, also as a part of a URL."""
    if token:
        for form in (token, urllib.parse.quote(token), urllib.parse.quote(token, safe="")):
            text = text.replace(form, "***")
    return text


def _problem(content_type: str, body: bytes, token: str | None) -> tuple[str, str, str | None, bool] | None:
    """Code, detail, hint and whether to try again, of an answer in the form of RFC 9457."""
    if content_type != PROBLEM:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("code"), str):
        return None
    code = without_token(document["code"], token)
    if re.fullmatch("[a-z0-9]+(?:-[a-z0-9]+)*", code) is None or len(code) > 80:
        return None
    hint = document.get("hint")
    return (
        code,
        _words(document.get("detail") or document.get("title"), token),
        _words(hint, token) if isinstance(hint, str) else None,
        document.get("retryable") is True,
    )


def _words(text: object, token: str | None = None) -> str:
    """Words of a server, fit for a terminal and a log."""
    said = without_token(str(text or ""), token)
    shown = "".join(character if character.isprintable() else " " for character in said)
    return shown.strip()[:_TEXT_MAX]


def _all_below(kind: type[ArtifactStoreError]) -> list[type[ArtifactStoreError]]:
    found = [kind]
    for below in kind.__subclasses__():
        found += _all_below(below)
    return found
