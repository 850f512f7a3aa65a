"""How the text of a setting becomes a value, and how a value is shown without its secrets.

Each parser takes the text as it was given and raises a `SettingsError` whose message quotes what was
wrong (unless it may be a secret) and whose hint says what is allowed; the loader adds which setting.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from artifactstore.errors import SettingsError
from artifactstore.objects.routing import Route
from artifactstore.paths import broken_rule, printable

if TYPE_CHECKING:
    from collections.abc import Callable

ValueT = TypeVar("ValueT")

HIDDEN = "***"
BACKEND_IDS = ("local", "s3")

_BOOLEANS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")  # two letters at least: `C:` is a drive
_SQLITE_URL = re.compile(r"sqlite(?:\+aiosqlite)?:///(.*)", re.IGNORECASE)
_BASE_URL = re.compile(r"[A-Za-z0-9\-._~:/@!$&'()*+,;=%\[\]]+")  # RFC 3986 without query and fragment
_SECRET_REF = re.compile(r"(env):([A-Za-z_][A-Za-z0-9_]*)|(file):(/[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*)")
_URL_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_FILE_URL = re.compile(r"file://(?:localhost)?(/[^?#\x00-\x20\x7f]*)", re.IGNORECASE)
_BACKEND_ID = re.compile("[a-z0-9]+(?:-[a-z0-9]+)*")
_ELSEWHERE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\x00-\x20\x7f-\x9f]+")
# S3 has settings of its own, and nothing can be written through a web page.
_REFUSED_SCHEMES = ("s3", "s3a", "s3n", "http", "https")
# Beside 169.254.169.254. Source: the manuals of AWS and of Alibaba Cloud, "instance metadata".
_METADATA_ADDRESSES = ("fd00:ec2::254", "100.100.100.200")
_ROUTE = re.compile(r"(\*|[^\s*:=]+):(\*|[^\s*:=]+)=([^\s*:=]+)")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is kept. The reference is no secret; what it points to is read by who needs it.

    Args:
        kind: `env` or `file`.
        name: the name of an environment variable, or an absolute path.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def optional(parse: Callable[[str], ValueT]) -> Callable[[str], ValueT | None]:
    """A parser for which an empty text means that there is no value."""
    return lambda text: parse(text) if text else None


def boolean(text: str) -> bool:
    """Read true, 1, yes, on, or false, 0, no, off, in any case."""
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise SettingsError(f"{printable(text)} is not a boolean", hint=f"use one of {', '.join(_BOOLEANS)}")
    return value


def integer(minimum: int, maximum: int, unit: str) -> Callable[[str], int]:
    """A parser of decimal numbers from minimum to maximum, both included."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch("[0-9]{1,18}", text) else None
        if number is None or not minimum <= number <= maximum:
            raise SettingsError(
                f"{printable(text)} is not a number of {unit} in range",
                hint=f"use digits only, from {minimum} to {maximum} {unit}",
            )
        return number

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """A parser of one of several words, in any case."""

    def parse(text: str) -> str:
        for word in allowed:
            if text.lower() == word.lower():
                return word
        raise SettingsError(f"{printable(text)} is not allowed", hint=f"use one of {', '.join(allowed)}")

    return parse


def matching(pattern: str, meaning: str) -> Callable[[str], str]:
    """A parser of a text that matches the whole pattern; `meaning` says in words what that is."""

    def parse(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise SettingsError(f"{printable(text)} is not allowed", hint=f"use {meaning}")
        return text

    return parse


def local_path(text: str) -> Path:
    """Read a path of this machine; a leading `~` is the home directory."""
    if not text or _CONTROL.search(text) or "://" in text:
        raise SettingsError(
            f"{printable(mask_url(text))} is not a path",
            hint="use a path of this machine, without control characters",
        )
    try:
        expanded = os.path.expanduser(text)
    except ValueError:  # a name that no user can have
        expanded = text
    if expanded.startswith("~"):
        raise SettingsError(
            f"{printable(text)} names no home directory", hint="write ./~ for a name that begins with ~"
        )
    return Path(expanded)


def database_path(url: str) -> Path:
    """The database file that a database URL or a plain path names.

    Accepted are `sqlite:///relative`, `sqlite:////absolute`, the same with `sqlite+aiosqlite`, and a plain
    path, of which a leading `~` is the home directory.

    Raises:
        SettingsError: another kind of database, options in a query string, or no file at all.
    """
    hint = "use sqlite:///relative/path, sqlite:////absolute/path or a plain path"
    shown = printable(mask_url(url))
    sqlite = _SQLITE_URL.fullmatch(url)
    if sqlite is None and _SCHEME.match(url):
        raise SettingsError(
            f"{shown} is not the URL of a SQLite file",
            hint=f"the store is SQLite only, by decision (docs/adr/0005); {hint}",
        )
    plain = sqlite[1] if sqlite else url
    if sqlite and plain.startswith("~"):
        raise SettingsError(f"{shown}: ~ is not expanded in a URL", hint="write the plain path alone")
    if not plain or plain.endswith("/") or plain == ":memory:":
        raise SettingsError(f"{shown} names no database file", hint=hint)
    if "?" in plain:
        raise SettingsError(
            f"{shown} has a query string", hint=f"the store sets SQLite's options itself; {hint}"
        )
    return local_path(plain)


def file_url(text: str) -> Path:
    """The directory that a URL `file:///absolute/path` names; `%20` in it is a blank.

    Raises:
        SettingsError: it is another kind of URL, relative, or names a host, a query or the top directory.
    Source: RFC 8089.
    """
    hint = "use file:///absolute/path; blanks and other special characters are written as %20"
    match = _FILE_URL.fullmatch(text)
    if match is None:
        # The value is not quoted: other kinds of URL carry keys and passwords.
        scheme = _URL_SCHEME.match(text)
        if scheme is not None and scheme[1].lower() != "file":
            message = f"the value is not a URL of {scheme[1].lower()}:"
        else:
            message = "the value is not the URL of a local directory"
        raise SettingsError(message, hint=hint)
    try:
        path = "/" + os.fsdecode(unquote_to_bytes(os.fsencode(match[1]))).lstrip("/")
    except UnicodeEncodeError:  # no environment can hold it
        path = ""
    if _CONTROL.search(path) or not path.strip("/."):
        raise SettingsError(f"{printable(path)} is no directory for objects", hint=hint)
    return Path(path)


def storage_url(text: str) -> Path | str:
    """The directory of a `file:` URL, or the URL of another file system that fsspec knows.

    Raises:
        SettingsError: as `file_url`; also for S3, which has settings of its own, and for web pages.
    """
    scheme = _URL_SCHEME.match(text)
    name = "" if scheme is None else scheme[1].lower()
    if name in _REFUSED_SCHEMES:
        hint = "use file:, sftp:, gs: or another writable file system"
        if name.startswith("s3"):
            hint = "use ARTIFACTSTORE_S3_BUCKET and its neighbours, and the id s3"
        raise SettingsError(f"this version has no backend for {name}: URLs", hint=hint)
    if name in {"", "file"} or _ELSEWHERE_URL.fullmatch(text) is None:
        return file_url(text)
    return text


def storage_options(text: str) -> dict[str, object]:
    """Read the options of a file system, a JSON object; the value is never quoted."""
    import json

    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise SettingsError("the value is not a JSON object", hint='use {"host": "..."}')
    return options


def base_url(text: str) -> str:
    """Read an http or https URL to which paths can be added; trailing slashes are dropped."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or _BASE_URL.fullmatch(text) is None:
        raise SettingsError(
            f"{printable(mask_url(text))} is not a base URL",
            hint="use http://host:port/path or https://host:port/path, without query and fragment",
        )
    return text.rstrip("/")


def service_url(text: str) -> str:
    """Read a base URL to which bytes of the store go, or what is known of them."""
    url = base_url(text)
    if is_link_local(urlsplit(url).hostname or ""):
        raise SettingsError(
            f"{printable(mask_url(text))} is a link-local address, where clouds keep their machines' secrets",
            hint="use the name or another address of the service",
        )
    return url


def is_link_local(host: str) -> bool:
    """Whether a host is a link-local address or one of a cloud's metadata; a name is not looked up."""
    import ipaddress
    import socket

    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # 2852039166, 0xa9fea9fe and the like
        except (OSError, ValueError):
            return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_link_local or str(address) in _METADATA_ADDRESSES


def bearer_token(text: str) -> str:
    """Read one token: visible ASCII, which is what an HTTP header can carry."""
    if re.fullmatch(r"[\x21-\x7e]+", text) is None:
        raise SettingsError(
            "a token holds a blank or a character outside ASCII", hint="use visible ASCII characters only"
        )
    return text


def bearer_tokens(text: str) -> tuple[str, ...]:
    """Read tokens that are separated by commas or newlines; empty ones do not count."""
    tokens = (piece.strip() for piece in re.split("[,\n]", text))
    return tuple(dict.fromkeys(bearer_token(token) for token in tokens if token))


def secret_ref(text: str) -> SecretRef:
    """Read `env:NAME` or `file:/absolute/path`."""
    match = _SECRET_REF.fullmatch(text)
    if match is None:
        # The value is not quoted: people put the secret itself here.
        raise SettingsError(
            "the value is not a reference to a secret", hint="use env:NAME or file:/absolute/path"
        )
    kind, name = (group for group in match.groups() if group is not None)
    return SecretRef(kind, name)


def key_prefix(text: str) -> str:
    """Read the part of an object key that stands before the digest; the rules of a relative path hold."""
    rule = broken_rule(text)
    if rule is not None:
        raise SettingsError(
            f"{printable(text)} is not a key prefix: {rule}", hint="use segments with a slash between them"
        )
    return text


def backend_ids(text: str) -> tuple[str, ...]:
    """Read different backend ids, separated by commas."""
    ids = tuple(piece.strip() for piece in text.split(","))
    if not all(map(_BACKEND_ID.fullmatch, ids)) or len(set(ids)) < len(ids):
        raise SettingsError(
            f"{printable(text)} is not a list of backends",
            hint=f"use {', '.join(BACKEND_IDS)} and ids of further backends, with commas, each once",
        )
    return ids


def routes(text: str) -> tuple[Route, ...]:
    """Read `producer:retention_class=backend_id` rules, separated by commas; an empty text has none."""
    rules: dict[tuple[str, str], Route] = {}
    for piece in text.split(",") if text.strip() else ():
        match = _ROUTE.fullmatch(piece.strip())
        if match is None:
            raise SettingsError(
                f"{printable(piece)} is not a route",
                hint="use producer:retention_class=backend_id, with * for any producer or any class",
            )
        route = Route(*match.groups())
        if rules.setdefault((route.producer, route.retention_class), route) != route:
            raise SettingsError(
                f"{printable(piece)} contradicts an earlier route", hint="name each producer and class once"
            )
    return tuple(rules.values())


def hide(text: str) -> str:
    """Asterisks in place of a secret; an empty text stays empty, so that one sees whether it is set."""
    return HIDDEN if text else ""


def mask_url(url: str) -> str:
    """The URL without user, password and query; where they cannot be told apart, the scheme alone."""
    scheme = _SCHEME.match(url)
    start = scheme.end() if scheme else 0
    while url.startswith("/", start) and scheme:
        start += 1
    place, *rest = re.split("[?#]", url[start:], maxsplit=1)
    if any("@" in text for text in rest):
        return f"{url[:start]}{HIDDEN}"
    _, at, place = place.rpartition("@")
    return f"{url[:start]}{HIDDEN if at else ''}{at}{place}{f'?{HIDDEN}' if rest else ''}"


def show(value: object) -> str:
    """A value as it could stand in a settings file, on one line that every terminal can print."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(show, value))
    return str(value).encode("utf-8", "backslashreplace").decode()
