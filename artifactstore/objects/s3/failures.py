"""What the failures of an S3 call mean to a caller: one table for codes, one for what never got an answer."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from artifactstore.errors import AccessError, ArtifactStoreError, BackendError
from artifactstore.objects.s3.wire import LostError
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SAID = 200  # characters of a server's own words


@dataclass(frozen=True, slots=True)
class _Meaning:
    code: str
    what: str
    hint: str | None = None
    access: bool = False
    retryable: bool = False


_BAD_KEYS = _Meaning(
    code="bad-credentials",
    what="the access key or the secret key is not accepted",
    hint="check ARTIFACTSTORE_S3_ACCESS_KEY_REF and ARTIFACTSTORE_S3_SECRET_KEY_REF",
    access=True,
)
_DENIED = _Meaning(
    code="access-denied",
    what="access is denied",
    hint="give the key the rights that the store needs",
    access=True,
)
_EXPIRED = _Meaning(
    code="credentials-expired", what="the credentials have expired", hint="renew them", access=True
)
_NO_BUCKET = _Meaning(
    code="no-such-bucket", what="there is no such bucket", hint="create it, or correct the name"
)
_FULL = _Meaning(
    code="disk-full", what="no space is left on the server", hint="free some space", retryable=True
)
_THROTTLED = _Meaning(
    code="throttled", what="the server asks for fewer requests", hint="try again later", retryable=True
)
_BROKEN = _Meaning(code="server-error", what="the server failed", hint="try again later", retryable=True)
_CONFLICT = _Meaning(
    code="write-conflict", what="another write of the same key was under way", retryable=True
)
_SKEW = _Meaning(
    code="clock-skew", what="the clocks of this machine and of the server differ", hint="set the clock"
)
_REDIRECT = _Meaning(
    code="wrong-region", what="the bucket is somewhere else", hint="check endpoint and region"
)
_REGION = re.compile("[a-z0-9-]{1,32}")
_TELLING = 16  # characters of a secret that are too many to be shown
_CHECKSUM = _Meaning(code="bytes-damaged", what="the bytes did not arrive as they were sent", retryable=True)
_REFUSED = _Meaning(code="request-refused", what="the server refuses the request")
_NOT_BUILT = _Meaning(code="not-implemented", what="the server does not know this kind of request")
_LOST = _Meaning(code="connection-lost", what="the connection broke", hint="try again", retryable=True)
_NO_KEYS = _Meaning(
    code="no-credentials",
    what="no credentials were found",
    hint="set ARTIFACTSTORE_S3_ACCESS_KEY_REF and ARTIFACTSTORE_S3_SECRET_KEY_REF",
    access=True,
)

# Source: Amazon S3 API reference, "Error responses"; the names that Ceph RGW, MinIO and SeaweedFS use too.
_BY_CODE = {
    "NoSuchBucket": _NO_BUCKET,
    "InvalidAccessKeyId": _BAD_KEYS,
    "SignatureDoesNotMatch": _BAD_KEYS,
    "InvalidSecurity": _BAD_KEYS,
    "InvalidToken": _BAD_KEYS,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "RequestTimeTooSkewed": _SKEW,
    "NotImplemented": _NOT_BUILT,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "InsufficientStorage": _FULL,
    "InsufficientCapacity": _FULL,
    "SlowDown": _THROTTLED,
    "TooManyRequests": _THROTTLED,
    "ServiceUnavailable": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "ConditionalRequestConflict": _CONFLICT,
    "OperationAborted": _CONFLICT,
    "PermanentRedirect": _REDIRECT,
    "TemporaryRedirect": _REDIRECT,
    "AuthorizationHeaderMalformed": _REDIRECT,
    "BadDigest": _CHECKSUM,
    "XAmzContentSHA256Mismatch": _CHECKSUM,
    "IncompleteBody": _CHECKSUM,
    "RequestTimeout": _Meaning(
        code="timeout", what="the server waited too long for the bytes", retryable=True
    ),
}
_BY_STATUS = {
    401: _BAD_KEYS,
    403: _DENIED,
    409: _CONFLICT,
    429: _THROTTLED,
    501: _NOT_BUILT,
    503: _THROTTLED,
    507: _FULL,
}

# TLS says so in words of its own when the connection beneath it breaks; what it refuses is another matter.
_BROKEN_OFF = (LostError, ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


class ConditionFailed(Exception):  # noqa: N818 - an answer that the calls here ask for, never raised to a caller
    """The key is taken (412).

    Args:
        repeated: an earlier try of the same call got no answer, and may be what took the key.
    """

    def __init__(self, *, repeated: bool = False) -> None:
        super().__init__()
        self.repeated = repeated


class KeyMissing(Exception):  # noqa: N818 - as above
    """Nothing lies under the key, or the upload is not there any more (404)."""


class BeyondEnd(Exception):  # noqa: N818 - as above
    """The object has no byte of the range that was asked for (416)."""


def translation(error: BaseException, place: str, *, secret: str = "") -> Exception:
    """Our error for what an S3 call raised.

    The library's own error is not kept as its cause: requests and their headers hang on it.

    Args:
        place: what to call the bucket, without secrets.
        secret: was sent along, so that the server can repeat it.
    """
    if isinstance(error, ArtifactStoreError):
        return error
    response = _response(error)
    if response is None:
        return _without_answer(error, place)
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status == 412 or code == "PreconditionFailed":
        return ConditionFailed()
    if code in {"NoSuchKey", "NoSuchUpload", "NoSuchVersion"} or (status == 404 and code in {"404", ""}):
        return KeyMissing()
    if status == 416 or code == "InvalidRange":
        return BeyondEnd()
    if status // 100 == 3:
        meaning = _redirect(response["ResponseMetadata"].get("HTTPHeaders", {}), secret)
    else:
        meaning = _BY_CODE.get(code) or _BY_STATUS.get(status) or (_BROKEN if status >= 500 else _REFUSED)
    said = str(response.get("Error", {}).get("Message", ""))
    # A bare status says nothing that the meaning does not, and a signature error quotes the request.
    quoted = code if meaning is _BAD_KEYS else f"{code}: {said}" if said not in {"", code, "None"} else code
    if _tells(secret, quoted):
        quoted = "in words that hold the session token"
    return _error(meaning, place, f" ({status} {printable(quoted[:_SAID])})" if status else "")


def _redirect(headers: Mapping[str, str], secret: str) -> _Meaning:
    """A redirect is not followed: bytes and session token would go wherever a server says."""
    try:
        parts = urlsplit(headers.get("location", ""))
        there = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        there = ""
    to = f", to {printable(there[:_SAID])}" if there and not _tells(secret, there) else ""
    region = headers.get("x-amz-bucket-region", "")
    return replace(
        _REDIRECT,
        what=f"the server sends us elsewhere{to}; redirects are not followed",
        hint=f"set ARTIFACTSTORE_S3_REGION to {region}, or the endpoint to where the bucket is"
        if _REGION.fullmatch(region)
        else _REDIRECT.hint,
    )


def _tells(secret: str, text: str) -> bool:
    """Whether a text shows a secret, or a good part of it."""
    plain = unquote(text)
    starts = range(max(len(secret) - _TELLING, 0) + 1)
    return bool(secret) and any(secret[start : start + _TELLING] in plain for start in starts)


def _response(error: BaseException) -> dict[str, Any] | None:
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict) and "ResponseMetadata" in response:
            return response
    return None


def _without_answer(error: BaseException, place: str) -> Exception:
    """What went wrong before there was an answer: names, connections, certificates, time."""
    names = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
    kinds = tuple(_chain(error))
    text = f"{error} {' '.join(map(str, kinds))}"
    if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
        return _error(_NO_KEYS, place, "")
    if any(isinstance(each, socket.gaierror) for each in kinds) or "ClientConnectorDNSError" in names:
        meaning = _Meaning(
            code="unknown-host", what="its host name is unknown", hint="check the endpoint", retryable=True
        )
    elif any(isinstance(each, _BROKEN_OFF) for each in kinds):
        meaning = _LOST
    elif any(isinstance(each, ssl.SSLError) for each in kinds) or "SSLError" in names:
        hint = "check scheme and certificate; AWS_CA_BUNDLE names a file of further certificates"
        meaning = _Meaning(code="tls-failed", what="no trusted https connection", hint=hint)
    elif any(isinstance(each, ConnectionRefusedError) for each in kinds) or "Connect call failed" in text:
        hint = "start the server, or check the endpoint"
        meaning = _Meaning(
            code="connection-refused", what="nobody accepts connections there", hint=hint, retryable=True
        )
    elif any(isinstance(each, TimeoutError) for each in kinds) or "ReadTimeoutError" in names:
        meaning = _Meaning(code="timeout", what="no answer in time", hint="try again later", retryable=True)
    elif names & {"HTTPClientError", "ClientError", "ConnectionError", "EndpointConnectionError"}:
        meaning = _LOST
    else:
        meaning = _Meaning(
            code="unexpected-failure", what=f"the call failed with {type(error).__name__}", retryable=True
        )
    return _error(meaning, place, "")


def _error(meaning: _Meaning, place: str, said: str) -> AccessError | BackendError:
    message = f"{place}: {meaning.what}{said}"
    if meaning.access:
        return AccessError(message, hint=meaning.hint, code=meaning.code)
    return BackendError(message, hint=meaning.hint, code=meaning.code, retryable=meaning.retryable)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        # The cause first: the context may be an earlier failure that this call was an answer to.
        waiting += [each.__context__, each.__cause__]
        # botocore and aiohttp keep what they wrap in attributes as well.
        for name in ("os_error", "_os_error"):
            inner = getattr(each, name, None)
            if isinstance(inner, BaseException):
                waiting.append(inner)
        details = getattr(each, "kwargs", None)
        if isinstance(details, dict) and isinstance(details.get("error"), BaseException):
            waiting.append(details["error"])
