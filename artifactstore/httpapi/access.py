"""Who may do what: bearer tokens with scopes, and which hosts and origins a request may name.

Source: RFC 6750 (bearer tokens), RFC 9110 §11; Fetch §3.2 (Origin), W3C Fetch Metadata.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore.errors import SettingsError
from artifactstore.httpapi.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

READ = "read"
WRITE = "write"
ADMIN = "admin"
SCOPES = (READ, WRITE, ADMIN)
ANONYMOUS = "anonymous"

_NAMED = re.compile(r"([A-Za-z0-9._@-]{1,64}):([a-z+]+):([\x21-\x7e]+)")
_BEARER = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
_TOKEN_MAX = 4096  # bytes
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    Args:
        name: the actor of its events.
    """

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether a scope is given; admin includes the others."""
        return scope in self.scopes or ADMIN in self.scopes


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    """The tokens that let somebody in, kept as digests alone.

    Args:
        known: sha256 of a token, and whose it is.
        anonymous_read: whether reads need none.
    """

    known: tuple[tuple[bytes, Principal], ...] = ()
    anonymous_read: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str], *, anonymous_read: bool = False) -> Tokens:
        """Read `token`, which may do everything, or `name:scope:token`; scopes are joined by `+`.

        Raises:
            SettingsError: a scope is none, or a name or a token comes twice; quotes no token.
        """
        known: list[tuple[bytes, Principal]] = []
        for number, text in enumerate(texts, start=1):
            name, scopes, token = f"token-{number}", frozenset(SCOPES), text
            if ":" in text:
                match = _NAMED.fullmatch(text)
                if match is None or not set(match[2].split("+")) <= set(SCOPES):
                    raise SettingsError(
                        f"token {number} is not name:scope:token",
                        hint=f"scopes are {', '.join(SCOPES)}, joined by +; names are plain ASCII",
                    )
                name, scopes, token = match[1], frozenset(match[2].split("+")), match[3]
            if name == ANONYMOUS:
                raise SettingsError(
                    f"token {number} has the name of those without one", hint="give it another name"
                )
            if any(principal.name == name for _, principal in known):
                raise SettingsError(
                    f"the name of token {number} is taken", hint="give each token a name of its own"
                )
            digest = hashlib.sha256(token.encode()).digest()
            if any(other == digest for other, _ in known):
                raise SettingsError(
                    f"token {number} is that of another name, too", hint="give each name a token of its own"
                )
            known.append((digest, Principal(name, scopes)))
        return cls(tuple(known), anonymous_read)

    def principal(self, fields: Mapping[str, str]) -> Principal | None:
        """Who has sent a request; None without a token.

        All tokens are compared, each in constant time, whichever is the right one.

        Raises:
            Refusal: the token is malformed or unknown.
        """
        given = fields.get("authorization")
        if given is None:
            return None
        match = _BEARER.fullmatch(given) if len(given) <= _TOKEN_MAX else None
        digest = hashlib.sha256((match[1] if match else "").encode("latin-1")).digest()
        found: Principal | None = None
        for known, principal in self.known:
            if hmac.compare_digest(known, digest):
                found = principal
        if found is None or match is None:
            raise unauthorized("the token is unknown", error="invalid_token")
        return found

    def admit(self, fields: Mapping[str, str], scope: str | None) -> Principal:
        """Who makes a request that needs a scope.

        Raises:
            Refusal: 401 without a right token, 403 with one that may not.
        """
        principal = self.principal(fields)
        if scope is None:
            return principal or Principal(ANONYMOUS, frozenset())
        if principal is None:
            if scope == READ and self.anonymous_read:
                return Principal(ANONYMOUS, frozenset({READ}))
            raise unauthorized("this needs a bearer token")
        if not principal.may(scope) and not (scope == READ and self.anonymous_read):
            raise missing_scope(principal, scope)
        return principal


def unauthorized(detail: str, *, error: str | None = None) -> Refusal:
    """A 401. A body that came with the request is not read, and the connection then ends with the answer."""
    challenge = 'Bearer realm="artifactstore"'
    return Refusal(
        401,
        detail,
        hint="send Authorization: Bearer <token>; the operator sets ARTIFACTSTORE_AUTH_TOKENS",
        headers={"WWW-Authenticate": f'{challenge}, error="{error}"' if error else challenge},
    )


def missing_scope(principal: Principal, scope: str) -> Refusal:
    """A 403 for somebody who is known and may not."""
    return Refusal(
        403,
        f"the token {principal.name} may not {scope}",
        hint=f"use a token with the scope {scope}",
        code="scope-missing",
        headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
    )


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names under which the server is asked for.

    A page of a stranger whose name points to this machine (DNS rebinding) sends the stranger's name. An
    address in numbers is nobody's name.

    Args:
        allowed: lower-case, without port.
        configured: those among them that the operator has added; a proxy in front may speak TLS for them.
        addresses: whether any address in numbers is allowed.
        secure: whether the server speaks TLS itself.
    """

    allowed: frozenset[str] = frozenset(_LOOPBACK)
    configured: frozenset[str] = frozenset()
    addresses: bool = False
    secure: bool = False

    @classmethod
    def of(cls, bound: str, further: Iterable[str] = (), *, secure: bool = False) -> Hosts:
        """The loopback names, the one it is bound to, and what the operator adds.

        Where others can reach it, also the name of this machine and any address in numbers.
        """
        configured = frozenset(name.lower() for name in further)
        names = {*_LOOPBACK, f"[{bound}]" if ":" in bound else bound.lower()}
        reachable = not is_loopback(bound)
        if reachable:
            machine = socket.gethostname().lower()
            names |= {machine, machine.partition(".")[0]}
        return cls(configured | names, configured, reachable, secure)

    def check(self, fields: Mapping[str, str], *, changes: bool) -> None:
        """Refuse a request that a page of another site has made.

        Args:
            changes: whether the request changes something.
        Raises:
            Refusal: 421 for a foreign host, 403 for a foreign origin.
        """
        host = fields.get("host", "")
        name = _name(host)
        if "host" in fields and name not in self.allowed and not (self.addresses and _is_address(name)):
            raise Refusal(
                421,
                "this server does not answer for that host",
                hint="start it with --allowed-host NAME; a program gives make_server allowed_hosts",
                close=True,
            )
        if not changes:
            return
        origin = fields.get("origin")
        if fields.get("sec-fetch-site", "none").lower() not in {"none", "same-origin"} or (
            origin is not None and not self._is_own(origin, host)
        ):
            raise Refusal(
                403, "a page of another site has made this request", code="foreign-origin", close=True
            )

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, place = origin.lower().partition("://")
        schemes = {"https"} if self.secure else {"http"}
        if _name(host) in self.configured:
            schemes.add("https")
        return scheme in schemes and place == host.lower()


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    return address == "::1" or address.lower() == "localhost" or address.startswith("127.")


def _is_address(name: str) -> bool:
    """Whether a host is an IP address as a URL writes it."""
    try:
        version = ipaddress.ip_address(name[1:-1] if name.startswith("[") else name).version
    except ValueError:
        return False
    return (version == 6) == (name.startswith("[") and name.endswith("]"))


def _name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
