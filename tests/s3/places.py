"""Remote places to test against: real S3 servers on loopback, and file systems that fsspec knows."""

from __future__ import annotations

import hashlib
import re
import subprocess
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from artifactstore.errors import BackendError
from artifactstore.objects.file_system import FileSystemService
from artifactstore.objects.remote import RemoteBackend
from artifactstore.objects.s3.config import S3Config
from artifactstore.objects.s3.service import S3Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.objects.service import Service

SCRIPTS = Path(__file__).parent / "servers"
PART = 5 << 20  # bytes; the smallest part that S3 allows, and the threshold of the tests
REMOTE = "remote"  # id of the backend
_TRIES = 5  # of a server that comes back

# Each server with its script and what the script is told.
SERVERS: dict[str, tuple[str, dict[str, str]]] = {
    "seaweedfs": ("seaweedfs", {}),
    "ceph": ("ceph-rgw", {}),
    "ceph-tls": ("ceph-rgw", {"CEPH_RGW_TLS": "1"}),
}


@dataclass
class Server:
    """A real server, started by its script; skips the test with the reason if it cannot be had."""

    name: str
    environment: Mapping[str, str]
    exported: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start it and learn its settings."""
        done = self.run("start")
        if done.returncode:
            pytest.skip(f"{self.name} cannot be had: {done.stderr.strip().splitlines()[-1]}")
        self.exported = dict(re.findall(r"^export (\w+)='(.*)'$", done.stdout, re.MULTILINE))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`stop`, `kill`, `pause` or `resume` it."""
        script, told = SERVERS[self.name]
        environment = {**self.environment, **told, **self.exported}
        return subprocess.run(
            ["bash", str(SCRIPTS / script), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def keys(self) -> tuple[str, str]:
        """The access key and the secret key."""
        refs = [self.exported[f"ARTIFACTSTORE_S3_{kind}_KEY_REF"] for kind in ("ACCESS", "SECRET")]
        access, secret = (self.exported[ref.removeprefix("env:")] for ref in refs)
        return access, secret

    def config(self, prefix: str, **changed: Any) -> S3Config:
        """How to reach a prefix of its bucket."""
        keys = self.keys
        said: dict[str, Any] = {
            "bucket": self.exported["ARTIFACTSTORE_S3_BUCKET"],
            "endpoint_url": self.exported["ARTIFACTSTORE_S3_ENDPOINT_URL"],
            "region": self.exported["ARTIFACTSTORE_S3_REGION"],
            "prefix": prefix,
            "credentials": lambda: keys,
            "multipart_threshold": PART,
            "part_size": PART,
            "timeout": 20.0,
        }
        return S3Config(**{**said, **changed})


@dataclass
class Place:
    """A fresh place of one kind, for any number of backends.

    Args:
        server: None for a file system.
        url: of a file system.
    """

    server: Server | None
    url: str = ""
    prefix: str = field(default_factory=lambda: f"tests/{uuid.uuid4().hex[:8]}")
    opened: list[Service] = field(default_factory=list)

    @cached_property
    def own(self) -> Service:
        """The test's own connection, to look and to do damage."""
        return self.service()

    def service(self, **changed: Any) -> Service:
        """A new connection to the place.

        Args:
            changed: of `S3Config`.
        """
        made: Service
        if self.server is None:
            made = FileSystemService(self.url, name=self.url)
        else:
            made = S3Service(self.server.config(self.prefix, **changed))
        self.opened.append(made)
        return made

    def backend(self, **changed: Any) -> RemoteBackend:
        """A backend in the place."""
        return RemoteBackend(self.service(**changed), backend_id=REMOTE)

    def all_keys(self) -> list[str]:
        """Everything that lies there."""
        return [found.key for found in self.own.entries("")]

    def unfinished(self) -> list[tuple[str, str]]:
        """Uploads that nobody has completed."""
        return list(self.own.unfinished("", 1 << 62))

    def resume(self) -> None:
        """Let the server of the place go on after a fault, and wait until it writes and reads again."""
        assert self.server is not None
        assert self.server.run("resume").returncode == 0
        patient = self.service(pause=0.5)
        data = b"are you there?\n"
        for left in reversed(range(_TRIES)):
            # A server that has just begun answers, but not yet all requests; a deadline ends each.
            try:
                patient.put("there", data, sha256=hashlib.sha256(data).digest(), replace=True)
                patient.delete_all(["there"])
                return
            except BackendError as error:
                if not (left and error.retryable):
                    raise

    def overwrite(self, key: str, data: bytes) -> None:
        """Damage an object."""
        self.own.put(key, data, sha256=hashlib.sha256(data).digest(), replace=True)

    def close(self) -> None:
        """Close all connections."""
        for service in self.opened:
            service.close()


def s3_service(place: Place, **changed: Any) -> S3Service:
    """The same for calls that only S3 has."""
    return cast("S3Service", place.service(**changed))
