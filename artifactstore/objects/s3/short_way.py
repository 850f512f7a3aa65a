"""The short way to a server, for the calls that a store makes once for each object.

A call through s3fs costs a millisecond of computing, most of it in layers that these few calls do not need:
here they are signed, sent and understood directly. What is out of the ordinary, in the configuration, in a
call or in an answer, is left to the long way.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from artifactstore.objects.s3.wire import Connections, Endpoint, Request, UnfamiliarError
from artifactstore.version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from xml.etree.ElementTree import Element

    from artifactstore.objects.s3.config import S3Config
    from artifactstore.objects.s3.wire import Answer

_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"[A-Za-z0-9/._~%-]*")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,63}")  # nothing that a library would read as more than a name
_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})")
_NO_BODY = hashlib.sha256(b"").hexdigest()
_USER_AGENT = f"artifactstore/{__version__}"

# What each call needs at least. Source: Amazon S3 API reference, as all names of headers here.
_CALLS = {
    "get_object": ("GET", {"Bucket", "Key", "Range"}),
    "head_object": ("HEAD", {"Bucket", "Key"}),
    "list_objects_v2": ("GET", {"Bucket", "Prefix", "MaxKeys"}),
    "put_object": ("PUT", {"Bucket", "Key", "Body"}),
    "upload_part": ("PUT", {"Bucket", "Key", "Body", "UploadId", "PartNumber"}),
}
_QUERY = {
    "ContinuationToken": "continuation-token",
    "MaxKeys": "max-keys",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "UploadId": "uploadId",
    "VersionId": "versionId",
}
_HEADERS = {
    "ChecksumSHA256": "x-amz-checksum-sha256",
    "IfNoneMatch": "if-none-match",
    "Range": "range",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
}
_KNOWN = {"Bucket", "Key", "Body", *_QUERY, *_HEADERS}
_LISTED = 4 << 10  # bytes that a server may say of one key in a list


def _http_date(text: str) -> datetime.datetime:
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(text)


# What is asked for of an answer.
_SAID = {
    "ContentRange": "content-range",
    "ETag": "etag",
    "ObjectLockLegalHoldStatus": "x-amz-object-lock-legal-hold",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
    "VersionId": "x-amz-version-id",
}
# What is asked for only of an answer to a HEAD, so that no other pays for reading it.
_SAID_OF_HEAD: dict[str, tuple[str, Callable[[str], Any]]] = {
    "ContentLength": ("content-length", int),
    "LastModified": ("last-modified", _http_date),
    "ObjectLockRetainUntilDate": ("x-amz-object-lock-retain-until-date", datetime.datetime.fromisoformat),
}


class RefusedError(Exception):
    """The server refuses.

    Args:
        response: what it said, in the form that the libraries give it.
    """

    def __init__(self, response: dict[str, Any]) -> None:
        super().__init__()
        self.response = response


def short_way(config: S3Config) -> ShortWay | None:
    """The short way to the place of a configuration; None if it needs more than that knows.

    That is: AWS itself, whose hosts have the names of buckets; keys from the chain of the AWS tools, which
    expire; a proxy between here and the server; an address with a user in it.

    Raises:
        SettingsError: the keys cannot be read.
        OSError: the file of certificates cannot be read.
    """
    from importlib.util import find_spec

    parts = urlsplit(config.endpoint_url or "")
    keys = config.credentials()
    if (
        keys is None
        or not all(_is_plain(word) for word in (*keys, config.region))
        or parts.scheme not in _PORTS
        or parts.hostname is None
        or not parts.netloc.isascii()
        or "@" in parts.netloc
        or parts.query
        or not _PATH.fullmatch(parts.path)
        or find_spec("s3fs") is None  # without it other calls would fail, so none should seem to work
        or _is_behind_proxy(parts.scheme, parts.netloc)
    ):
        return None
    port = parts.port or _PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    endpoint = Endpoint(
        parts.hostname, port, _trusting() if parts.scheme == "https" else None, config.timeout
    )
    return ShortWay(
        Connections(endpoint),
        Signer(*keys, region=config.region),
        host if port == _PORTS[parts.scheme] else f"{host}:{port}",
        parts.path.rstrip("/"),
    )


def _is_plain(text: str) -> bool:
    """Whether it can stand in a header."""
    return text.isascii() and text.isprintable()


def _is_behind_proxy(scheme: str, authority: str) -> bool:
    from urllib.request import getproxies, proxy_bypass

    return scheme in getproxies() and not proxy_bypass(authority)


def _trusting() -> ssl.SSLContext:
    """TLS that trusts whom the AWS tools trust: the file that they are told, or the list that they bring."""
    import ssl

    import botocore.httpsession
    import botocore.session

    trusted = botocore.session.Session().get_config_variable("ca_bundle")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(botocore.httpsession.get_cert_path(trusted or True))
    return context


class ShortWay:
    """Calls to one server. Safe to share between threads.

    Args:
        authority: host, and port where it is not the usual one.
        path: stands before the bucket, without a slash at the end.
    """

    def __init__(self, connections: Connections, signer: Signer, authority: str, path: str) -> None:
        self._connections = connections
        self._signer = signer
        self._authority = authority
        self._path = path

    def call(self, method: str, arguments: Mapping[str, Any], until: float) -> dict[str, Any]:
        """Make a call.

        Args:
            method: as botocore calls it, and so are the arguments and what is answered.
            until: the moment of `time.monotonic` at which it is given up.
        Raises:
            UnfamiliarError: the call or its answer is left to the long way.
            RefusedError: the server refuses.
            OSError: no answer, or half of one.
        """
        request = self._request(method, arguments)
        answer = self._connections.ask(request, until)
        if answer.status // 100 != 2:
            raise _refusal(answer)
        try:
            if method == "list_objects_v2":
                return _listed(answer.body)
            return _said(answer, of_head=method == "head_object")
        except (ValueError, KeyError):
            raise UnfamiliarError from None

    def _request(self, method: str, arguments: Mapping[str, Any]) -> Request:
        verb, needed = _CALLS.get(method, ("", _KNOWN))
        if not needed <= arguments.keys() <= _KNOWN or not _BUCKET.fullmatch(arguments["Bucket"]):
            raise UnfamiliarError
        body = memoryview(arguments.get("Body", b"")).cast("B")
        headers = {header: arguments[name] for name, header in _HEADERS.items() if name in arguments}
        if verb == "PUT":
            headers["content-type"] = "application/octet-stream"
        if not all(_is_plain(value) for value in headers.values()):
            raise UnfamiliarError
        words = {word: arguments[name] for name, word in _QUERY.items() if name in arguments}
        most = 0
        path = f"{self._path}/{arguments['Bucket']}"
        if method == "list_objects_v2":
            words["list-type"] = "2"
            most = _LISTED * int(arguments["MaxKeys"])
        elif arguments["Key"]:
            path = f"{path}/{quote(arguments['Key'], safe='/~')}"
            most = _longest(arguments.get("Range"))
        else:
            raise UnfamiliarError
        query = "&".join(f"{word}={quote(str(words[word]), safe='~')}" for word in sorted(words))
        headers["host"] = self._authority
        headers["x-amz-content-sha256"] = _sha256(body, arguments.get("ChecksumSHA256"))
        headers["x-amz-date"] = time.strftime("%Y%m%dT%H%M%SZ", _now())
        headers["authorization"] = self._signer.authorization(verb, path, query, headers)
        if verb == "PUT":
            headers["content-length"] = str(len(body))
        lines = [f"{verb} {path}{'?' if query else ''}{query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, f"user-agent: {_USER_AGENT}", "accept-encoding: identity", "", ""])
        return Request(head.encode("ascii"), body, most, verb == "HEAD")

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()


class Signer:
    """Signatures of one key. Safe to share between threads.

    Source: Amazon S3 API reference, "Authenticating requests (AWS Signature Version 4)".
    """

    def __init__(self, access: str, secret: str, *, region: str) -> None:
        self._access = access
        self._secret = secret
        self._region = region
        self._key = ("", b"")  # of which day, since it takes four steps

    def authorization(self, verb: str, path: str, query: str, headers: Mapping[str, str]) -> str:
        """The header that signs a request.

        Args:
            path, query: as they are sent, the query in the order of its names.
            headers: all that are signed, by lower-case name; those with the date and the sha256 of the body
                among them.
        """
        names = sorted(headers)
        signed = ";".join(names)
        values = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
        request = f"{verb}\n{path}\n{query}\n{values}\n{signed}\n{headers['x-amz-content-sha256']}"
        moment = headers["x-amz-date"]
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        signature = _hmac(self._key_of(moment[:8]), text).hex()
        return (
            f"AWS4-HMAC-SHA256 Credential={self._access}/{scope}, SignedHeaders={signed}, "
            f"Signature={signature}"
        )

    def _key_of(self, day: str) -> bytes:
        known, key = self._key
        if known != day:
            key = f"AWS4{self._secret}".encode()
            for word in (day, self._region, "s3", "aws4_request"):
                key = _hmac(key, word)
            self._key = day, key
        return key


def _now() -> time.struct_time:
    return time.gmtime()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _sha256(body: memoryview, known: str | None) -> str:
    """What the signature says of the body: what the caller says, where it does."""
    if known is not None:
        return base64.b64decode(known).hex()
    return hashlib.sha256(body).hexdigest() if len(body) else _NO_BODY


def _longest(wanted: str | None) -> int:
    """Bytes of the longest good answer: a server that ignores a range might send any number."""
    if wanted is None:
        return 0
    found = _RANGE.fullmatch(wanted)
    if found is None:
        raise UnfamiliarError
    return int(found[2]) - int(found[1]) + 1


def _said(answer: Answer, *, of_head: bool) -> dict[str, Any]:
    """What an answer says, as the libraries give it."""
    headers = answer.headers
    said: dict[str, Any] = {name: headers[header] for name, header in _SAID.items() if header in headers}
    if of_head:
        for name, (header, read) in _SAID_OF_HEAD.items():
            if header in headers:
                said[name] = read(headers[header])
    return {**said, "Body": answer.body}


def _listed(body: bytes | bytearray) -> dict[str, Any]:
    """A page of a list, as the libraries give it."""
    page: dict[str, Any] = {"Contents": []}
    for name, element in _children(_parsed(body)):
        if name == "Contents":
            entry = {inner: each.text or "" for inner, each in _children(element)}
            moment = datetime.datetime.fromisoformat(entry["LastModified"])
            found = {"Key": entry["Key"], "Size": int(entry["Size"]), "LastModified": moment}
            page["Contents"].append(found)
        elif name == "IsTruncated":
            page[name] = element.text == "true"
        elif name == "NextContinuationToken":
            page[name] = element.text or ""
    return page


def _parsed(body: bytes | bytearray) -> Element:
    from xml.etree import ElementTree

    try:
        return ElementTree.fromstring(bytes(body))  # noqa: S314 - what the libraries parse it with, too
    except ElementTree.ParseError:
        raise ValueError("no XML") from None


def _children(element: Element) -> Iterator[tuple[str, Element]]:
    """What stands in an element, by names without their namespaces."""
    for child in element:
        yield child.tag.rpartition("}")[2], child


def _refusal(answer: Answer) -> Exception:
    """What the caller is to be told of an answer that is not the wanted one."""
    if answer.status // 100 != 3 and "x-amz-bucket-region" in answer.headers:
        return UnfamiliarError()  # the long way signs for that region
    try:
        error = {name: element.text or "" for name, element in _children(_parsed(answer.body))}
    except ValueError:
        error = {"Code": str(answer.status), "Message": _phrase(answer.status)}
    said = {"HTTPStatusCode": answer.status, "HTTPHeaders": answer.headers}
    return RefusedError({"Error": error, "ResponseMetadata": said})


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
