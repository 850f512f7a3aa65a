"""`w6`: objects on a SeaweedFS server on loopback, beside rclone, s3cmd and boto3, if they are installed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import benchmarks.targets as target
from benchmarks.datasets import LargeFile, SmallFiles, tree_size
from benchmarks.library import FAILURES, Finding, beside, failed, found, missing
from benchmarks.measure import Command, CommandFailedError, adopt_orphans, reap, run_one, warm

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parent.parent
SCRIPT = PROJECT / "tests/s3/servers/seaweedfs"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
WEED = (
    Path(os.environ.get("SEAWEEDFS_VENV") or CACHE / "artifactstore/seaweedfs") / "bin/weed"
)  # as the script
BOTO3 = PROJECT / "var/peers/bin/python"  # has boto3, if it was installed for this
ATTEMPTS = 16  # requests at once with small objects, of each that can be told
PARTS = 3  # parts at once of a large one
PART_MIB = 8
THRESHOLD_MIB = 64
MIB = 1024**2


@dataclass(frozen=True)
class Server:
    """A running server with an empty bucket."""

    environment: dict[str, str] = field(repr=False)

    def setting(self, name: str) -> str:
        """One of the settings that the store knows."""
        return self.environment[f"ARTIFACTSTORE_S3_{name}"]

    def key(self, name: str) -> str:
        """The access or the secret key."""
        return self.environment[self.setting(f"{name}_KEY_REF").removeprefix("env:")]


@contextlib.contextmanager
def served(directory: Path) -> Iterator[Server]:
    """A fresh server whose data lie on the disk that is measured."""
    ignored = ("ARTIFACTSTORE_", "AWS_", "RCLONE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ignored)}
    environment |= {"SEAWEEDFS_DIR": str(directory), "AWS_EC2_METADATA_DISABLED": "true"}
    adopt_orphans()
    started = subprocess.run(
        ["bash", str(SCRIPT), "start"], env=environment, capture_output=True, text=True, check=False
    )
    if started.returncode:
        raise CommandFailedError((started.stderr.strip().splitlines() or ["SeaweedFS did not start"])[-1])
    environment |= dict(re.findall(r"^export (\w+)='(.*)'$", started.stdout, re.MULTILINE))
    try:
        yield Server(environment)
    finally:
        subprocess.run(["bash", str(SCRIPT), "stop"], env=environment, check=False)
        reap()


class Ours:
    """Ourselves: `push` and `export`."""

    name = "artifactstore"

    def __init__(self, server: Server, place: Path) -> None:
        self.place = place
        self.environment = server.environment | {
            "ARTIFACTSTORE_S3_KEY_PREFIX": place.name,
            "ARTIFACTSTORE_DATABASE_URL": f"sqlite:///{place}/artifactstore.db",
            "ARTIFACTSTORE_STORAGE_LOCAL_ROOT": f"{place}/storage",
            "ARTIFACTSTORE_STORAGE_BACKENDS": "local,s3",
            "ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND": "s3",
        }

    @staticmethod
    def installed() -> bool:
        """Always."""
        return True

    def up(self, source: Path) -> Command:
        """Push a directory."""
        said = ("--name", "w6", "--producer", "bench", "--subject", "w6", "--retention-class", "raw-evidence")
        return self._command("push", str(source), *said, output=self.place / "id")

    def down(self, target: Path) -> Command:
        """Export it."""
        package = (self.place / "id").read_text(encoding="ascii").strip()
        return self._command("export", package, str(target))

    def _command(self, *words: str, output: Path | None = None) -> Command:
        argv = (sys.executable, "-m", "artifactstore", *words)
        return Command(argv, self.place, self.environment, output=output)


class Rclone:
    """`rclone copy`, with as many requests at once as we make, and parts of the same size."""

    name = "rclone"

    def __init__(self, server: Server, place: Path) -> None:
        self.place = place
        self.environment = server.environment | {
            "RCLONE_CONFIG": str(place / "rclone.conf"),
            "RCLONE_S3_PROVIDER": "Other",
            "RCLONE_S3_ENDPOINT": server.setting("ENDPOINT_URL"),
            "RCLONE_S3_REGION": server.setting("REGION"),
            "RCLONE_S3_ACCESS_KEY_ID": server.key("ACCESS"),
            "RCLONE_S3_SECRET_ACCESS_KEY": server.key("SECRET"),
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
            "RCLONE_S3_CHUNK_SIZE": f"{PART_MIB}Mi",
            "RCLONE_S3_UPLOAD_CUTOFF": f"{THRESHOLD_MIB}Mi",
            "RCLONE_S3_UPLOAD_CONCURRENCY": str(PARTS),
            "RCLONE_TRANSFERS": str(ATTEMPTS),
            "RCLONE_CHECKERS": str(ATTEMPTS),
        }
        (place / "rclone.conf").touch()
        self.remote = f":s3:{server.setting('BUCKET')}/rclone"

    @staticmethod
    def installed() -> bool:
        """Whether it is on the path."""
        return shutil.which("rclone") is not None

    def up(self, source: Path) -> Command:
        """Copy a directory there."""
        return Command(("rclone", "copy", str(source), self.remote), self.place, self.environment)

    def down(self, target: Path) -> Command:
        """Copy it back."""
        return Command(("rclone", "copy", self.remote, str(target)), self.place, self.environment)


class S3cmd:
    """`s3cmd`, which makes one request after the other."""

    name = "s3cmd"

    def __init__(self, server: Server, place: Path) -> None:
        self.place, self.environment = place, server.environment
        host = server.setting("ENDPOINT_URL").partition("//")[2]
        config = place / "s3cmd.conf"
        config.write_text(
            f"[default]\naccess_key = {server.key('ACCESS')}\nsecret_key = {server.key('SECRET')}\n"
            f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\n"
            f"bucket_location = {server.setting('REGION')}\n",
            encoding="ascii",
        )
        self.argv = ("s3cmd", "-c", str(config), "-q", f"--multipart-chunk-size-mb={PART_MIB}")
        self.remote = f"s3://{server.setting('BUCKET')}/s3cmd/"

    @staticmethod
    def installed() -> bool:
        """Whether it is on the path."""
        return shutil.which("s3cmd") is not None

    def up(self, source: Path) -> Command:
        """Put a directory there."""
        return Command((*self.argv, "put", "-r", f"{source}/", self.remote), self.place, self.environment)

    def down(self, target: Path) -> Command:
        """Get it back."""
        return Command((*self.argv, "get", "-r", self.remote, f"{target}/"), self.place, self.environment)


class Boto3:
    """The AWS library as its documentation says, in threads; see `s3_peer.py`."""

    name = "boto3"

    def __init__(self, server: Server, place: Path) -> None:
        self.place, self.environment = place, server.environment
        told = (server.setting("ENDPOINT_URL"), server.setting("REGION"), server.setting("BUCKET"))
        keys = {"AWS_ACCESS_KEY_ID": server.key("ACCESS"), "AWS_SECRET_ACCESS_KEY": server.key("SECRET")}
        self.environment = server.environment | keys
        sizes = (str(ATTEMPTS), str(PARTS), str(PART_MIB * MIB), str(THRESHOLD_MIB * MIB))
        self.argv = (str(BOTO3), "-P", str(PROJECT / "benchmarks/s3_peer.py"), *told, *sizes)

    @staticmethod
    def installed() -> bool:
        """Whether the environment of the peers has it."""
        return (
            BOTO3.exists()
            and not subprocess.run(
                [str(BOTO3), "-c", "import boto3"], capture_output=True, check=False
            ).returncode
        )

    def up(self, source: Path) -> Command:
        """Upload a directory."""
        return Command((*self.argv, "up", str(source)), self.place, self.environment)

    def down(self, target: Path) -> Command:
        """Download it."""
        return Command((*self.argv, "down", str(target)), self.place, self.environment)


PEERS: tuple[type[Rclone | S3cmd | Boto3], ...] = (Rclone, Boto3, S3cmd)


@dataclass
class Trips:
    """Seconds of each round, there and back, the largest memory in bytes, and why there are no more."""

    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    peak: int = 0
    failure: str = ""


def w6(directory: Path, *, rounds: int, quick: bool) -> list[Finding]:
    """Many small objects, and a large one, there and back."""
    if "SEAWEEDFS_WEED" not in os.environ and not (shutil.which("weed") or WEED.exists()):
        return [
            missing("w6", "all of it", f"absent: SeaweedFS; `bash {SCRIPT.relative_to(PROJECT)} install`")
        ]
    small = SmallFiles(directory / "small", *((200, 4) if quick else (2_000, 40)))
    large = LargeFile(directory / "large", size=(128 if quick else 2048) * MIB)
    findings: list[Finding] = []
    for data, what, least in (
        (small, "small objects", target.S3_SMALL),
        (large, "a large object", target.S3_LARGE),
    ):
        data.build()
        trips: dict[str, Trips] = {}
        for number in range(rounds):
            place = directory / f"{data.root.name}-{number}"
            place.mkdir()
            _round(data.root, place, trips)
            print(f"w6: {what}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        count, size = tree_size(data.root)
        findings += _findings(what, trips, count, size, least)
    return findings


def _round(source: Path, place: Path, trips: dict[str, Trips]) -> None:
    """Everybody in turn with one server, ours first."""
    with served(place / "server") as server:
        # The first objects of a bucket wait until it has volumes.
        first = SmallFiles(place / "first", 20, 1)
        first.build()
        (place / "warm").mkdir()
        run_one(Ours(server, place / "warm").up(first.root), place / "warm")
        for kind in (Ours, *PEERS):
            told = trips.setdefault(kind.name, Trips())
            if not told.failure and not kind.installed():
                told.failure = "absent"
            if told.failure:
                continue
            own = place / kind.name
            own.mkdir()
            try:
                _trip(kind(server, own), source, own / "back", told)
            except FAILURES as error:
                told.failure = failed(error)


def _trip(program: Ours | Rclone | S3cmd | Boto3, source: Path, back: Path, told: Trips) -> None:
    """There and back."""
    back.mkdir()
    warm(source)
    seconds, usage = run_one(program.up(source), program.place)
    told.up.append(seconds)
    told.peak = max(told.peak, usage.ru_maxrss * 1024)
    seconds, usage = run_one(program.down(back), program.place)
    told.down.append(seconds)
    told.peak = max(told.peak, usage.ru_maxrss * 1024)
    if tree_size(back)[1] < tree_size(source)[1]:
        raise RuntimeError(f"{program.name} brought back less than was sent")
    shutil.rmtree(back)


def _findings(what: str, trips: dict[str, Trips], count: int, size: int, least: float) -> list[Finding]:
    amount, unit = (count, "files/s") if count > 1 else (size / MIB, "MiB/s")
    ours = trips[Ours.name]
    findings = []
    for name, told in trips.items():
        if told.failure:
            findings.append(missing("w6", f"{what}, {name}", told.failure))
            continue
        compared = name != Ours.name and not ours.failure
        for way, own, theirs in (("up", ours.up, told.up), ("down", ours.down, told.down)):
            findings.append(
                found(
                    "w6", f"{what} {way}, {name}", [amount / seconds for seconds in theirs], unit,
                    ratios=beside(theirs, own) if compared else (),
                    least=least if name == Rclone.name else None,
                )
            )  # fmt: skip
        findings.append(
            Finding(
                "w6", f"{what}: memory of {name}", told.peak / MIB, "MiB",
                ratio=told.peak / target.S3_MEMORY if name == Ours.name else None,
                most=1.0 if name == Ours.name else None,
            )
        )  # fmt: skip
    return findings
