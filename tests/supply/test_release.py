"""What `make release` makes: the same bytes everywhere, nothing surplus, and a true bill of materials."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution
from typing import TYPE_CHECKING

import pytest
from docs.pages import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import artifactstore
from supply.requirements import OURSELVES, requirements

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from crash.report import Drill

STEM = f"{OURSELVES}-{artifactstore.__version__}"
WHEEL = f"{STEM}-py3-none-any.whl"
SDIST = f"{STEM}.tar.gz"
BILL = f"{STEM}.cdx.json"
SUMS = "SHA256SUMS"
pytestmark = [
    pytest.mark.slow(seconds=60),
    pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="a release is built from a git checkout"),
]


def tracked() -> list[str]:
    """The files of the project as git knows them, those that are new and not ignored too."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout
    return sorted(name for name in listed.decode().split("\0") if name and (PROJECT / name).is_file())


def make(target: str, place: Path, umask: int, environment: Mapping[str, str]) -> Path:
    """Make a target in a fresh clone that has the files of the work tree; where the results lie."""
    subprocess.run(["git", "clone", "--quiet", "--shared", PROJECT, place], check=True, umask=umask)
    for name in tracked():
        target_file = place / name
        target_file.parent.mkdir(parents=True, exist_ok=True)
        target_file.unlink(missing_ok=True)
        shutil.copyfile(PROJECT / name, target_file)
        os.utime(target_file, (umask << 20, umask << 20))  # long ago, and different in each place
        target_file.chmod((0o777 if os.access(PROJECT / name, os.X_OK) else 0o666) & ~umask)
    done = subprocess.run(
        ["make", target, f"PYTHON={sys.executable}", f"VENV={place.parent / 'venv'}"],
        cwd=place,
        env={**os.environ, **environment},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if "(from versions: none)" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "dist"


def needed(name: str) -> set[str]:
    """A distribution that is installed here and all that it asks for, as the bill should list them."""
    found: set[str] = set()
    waiting = [canonicalize_name(name)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            asked = [Requirement(line) for line in distribution(name).requires or ()]
            taken = [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
            waiting += [canonicalize_name(each.name) for each in taken]
    return found


def test_a_release(tmp_path: Path, drill: Drill) -> None:
    dist = make("release", tmp_path / "here", 0o022, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"})
    other = make(
        "wheel",
        tmp_path / "another place",
        0o077,
        {"TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2"},
    )
    check_sums(dist)
    different = [name for name in (WHEEL, SDIST) if (dist / name).read_bytes() != (other / name).read_bytes()]
    check_wheel(dist / WHEEL)
    check_sdist(dist / SDIST)
    check_bill(dist / BILL)
    drill.count("reproducible release", tried=2, fired=2, violations=len(different))
    assert different == []


def check_sums(dist: Path) -> None:
    """The sums are those of all that was made."""
    lines = (dist / SUMS).read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {*sums, SUMS} == {path.name for path in dist.iterdir()} == {WHEEL, SDIST, BILL, SUMS}
    for name, digest in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest


def check_wheel(wheel: Path) -> None:
    """The package as git knows it, what describes it, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        modes = {entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    package = [name for name in tracked() if name.startswith(f"{OURSELVES}/")]
    about = [f"{STEM}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")]
    assert f"{OURSELVES}/py.typed" in package
    assert sorted(names) == sorted([*package, *about])
    assert modes == {0o644}


def check_sdist(sdist: Path) -> None:
    """All that the suite needs, and nothing that git does not know."""
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    assert names - set(tracked()) == {"PKG-INFO"}
    assert {name for name in tracked() if name.startswith((f"{OURSELVES}/", "tests/", "docs/"))} <= names


def check_bill(bill: Path) -> None:
    """Exactly what an installation with all extras brings, each with its version."""
    document = json.loads(bill.read_bytes())
    assert document["bomFormat"] == "CycloneDX"
    ours = document["metadata"]["component"]
    assert (ours["name"], ours["version"]) == (OURSELVES, artifactstore.__version__)
    listed = {canonicalize_name(part["name"]): part["version"] for part in document["components"]}
    expected = set().union(*(needed(asked.name) for asked in requirements("s3")))
    assert set(listed) - {OURSELVES} == expected
    assert all(listed.values())
    named = {entry["ref"] for entry in document["dependencies"]}
    assert {part["bom-ref"] for part in document["components"]} <= named
