"""Where an API is: the parts of its base URL."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from artifactstore.errors import InvalidInputError

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?|[0-9a-f.]*:[0-9a-f:.]*(?:%[a-z0-9._-]+)?")
_PRINTABLE = re.compile("[!-~]+")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a base URL.

    Args:
        path: in front of every route; empty, or with a slash at its start and none at its end.
    """

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `http://host:port/path` or `https://host:port/path`.

        Raises:
            InvalidInputError: it is none, or holds a user, a password, a query or a fragment. The text is not
                quoted, since it may hold a secret.
        """
        try:
            parts = urlsplit(url)
            port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
            host = parts.hostname or ""
        except ValueError:
            host, port = "", 0
        hint = "write http://host:port or https://host:port"
        if not port or not _PRINTABLE.fullmatch(url) or not _HOST.fullmatch(host):
            raise InvalidInputError("that is not the URL of an API", hint=hint)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidInputError(
                "the URL of an API has neither user nor password, query or fragment",
                hint=f"{hint}; the token is given apart",
            )
        return cls(parts.scheme, host, port, parts.path.rstrip("/"))

    @property
    def secure(self) -> bool:
        """Whether the way there is encrypted and the other side proves who it is."""
        return self.scheme == "https"

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine, as far as its name tells."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"
