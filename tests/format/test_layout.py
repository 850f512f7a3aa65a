"""What lies on disk and in a tar, read by other code than that which wrote it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
from typing import TYPE_CHECKING

from blake3 import blake3
from store.harness import read_tree, write_tree

from artifactstore import events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.harness import Home

    from artifactstore import Store
    from artifactstore.model import Package

KIT = ["manifest.cbor", "manifest.json", "SHA256SUMS", "B3SUMS", "verify.py", "VERIFY.md"]
EVIDENCE = {
    "a b.txt": b"1",
    "a/b": b"3",
    "back\\slash": b"5",
    "bin/run.sh": b"#!/bin/sh\n",
    "empty": b"",
    "n" * 100: b"as long as a header has room",
    "n" * 101: b"longer",
    "ä": b"7" * 513,
}


def push(store: Store, directory: Path) -> Package:
    return store.push(
        directory, name="n", producer="p", subject="s", retention_class="transient", actor="ada"
    ).package


def test_objects_lie_under_their_digests(store: Store, home: Home, tree: Path) -> None:
    package = push(store, tree)
    paths = home.object_paths()
    for path in paths:
        digest = blake3(path.read_bytes()).hexdigest()
        assert path.relative_to(home.objects).as_posix() == f"blake3/{digest[0:2]}/{digest[2:4]}/{digest}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in list(path.parents)[:3]} == {0o700}
    contents = {path.read_bytes() for path in paths}
    manifest = store.get_manifest_bytes(package.package_id)
    assert contents == {*read_tree(tree).values(), manifest}
    sealed = store.events()[-1]
    assert sealed.type == events.PACKAGE_FINALIZED
    assert sealed.payload["manifest_blake3"] == blake3(manifest).digest()
    assert sorted(entry.name for entry in home.objects.iterdir()) == ["artifactstore.json", "blake3", "tmp"]
    assert list((home.objects / "tmp").iterdir()) == []
    marker = (home.objects / "artifactstore.json").read_bytes()
    assert json.loads(marker) == {"format": 1, "store_id": str(store.store_id)}


def test_an_object_of_the_wrong_size_is_set_aside(store: Store, home: Home, tree: Path) -> None:
    push(store, tree)
    victim = next(path for path in home.object_paths() if path.read_bytes() == b"a line\n")
    victim.chmod(0o600)
    victim.write_bytes(b"a li")
    (tree / "another.log").write_bytes(b"another line\n")
    push(store, tree)
    assert victim.read_bytes() == b"a line\n"
    (kept,) = (home.objects / "damaged").iterdir()
    assert re.fullmatch(rf"{victim.name}\.[0-9a-f]{{8}}", kept.name)
    assert kept.read_bytes() == b"a li"


def members(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Header, extended records and content of each member of a tar, up to its end mark."""
    position, records = 0, b""
    while any(header := data[position : position + 512]):
        size = int(header[124:135], 8)
        content = data[position + 512 : position + 512 + size]
        position += 512 + (size + 511) // 512 * 512
        assert int(header[148:154], 8) == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
        if header[156:157] == b"x":
            assert header[:100].rstrip(b"\0") == b"././@PaxHeader"
            records = content
            continue
        yield header, records, content
        records = b""
    assert len(data) % 10240 == 0
    assert len(data) - position >= 1024
    assert not any(data[position:])


def test_a_tar_is_as_the_format_says(store: Store, tmp_path: Path) -> None:
    evidence = write_tree(tmp_path / "evidence", EVIDENCE, executable="bin/run.sh")
    package = push(store, evidence)
    stream = io.BytesIO()
    store.export_tar(package.package_id, stream)
    data = stream.getvalue()
    found: dict[str, bytes] = {}
    for header, records, content in members(data):
        short = header[:100].rstrip(b"\0").decode()
        path = short
        if records:
            length, _, record = records.partition(b" ")
            assert int(length) == len(records)
            assert record.startswith(b"path=")
            path = record.removeprefix(b"path=").removesuffix(b"\n").decode()
        assert bool(records) == (not path.isascii() or len(path) > 100)
        executable = path == "bin/run.sh" or path.endswith("/verify.py")
        assert header[100:108] == (b"0000755\0" if executable else b"0000644\0")
        assert header[108:124] == b"0000000\0" * 2  # owner and group
        assert header[136:148] == b"0" * 11 + b"\0"  # time of modification
        assert header[156:157] == b"0"  # a regular file
        assert header[157:257] == bytes(100)
        assert header[257:265] == b"ustar\x0000"
        assert header[265:500] == bytes(235)  # names of owner and group, device numbers, prefix
        found[path] = content
    assert list(found) == [
        *sorted(EVIDENCE, key=str.encode),
        *(f"ARTIFACTSTORE-AUDIT/{name}" for name in KIT),
    ]
    assert {path: found[path] for path in EVIDENCE} == EVIDENCE
    assert found["ARTIFACTSTORE-AUDIT/manifest.cbor"] == store.get_manifest_bytes(package.package_id)
    again = io.BytesIO()
    store.export_tar(package.package_id, again)
    assert again.getvalue() == data


def test_the_kit_is_as_the_format_says(store: Store, tmp_path: Path) -> None:
    taken = {"artifactstore-AUDIT": b"", "ARTIFACTSTORE-AUDIT-2/x": b""}
    evidence = write_tree(tmp_path / "evidence", {**EVIDENCE, **taken})
    package = push(store, evidence)
    result = store.export_package(package.package_id, tmp_path / "export")
    assert result.audit_directory == "ARTIFACTSTORE-AUDIT-3"
    kit = read_tree(tmp_path / "export" / "ARTIFACTSTORE-AUDIT-3")
    assert sorted(kit) == sorted(KIT)
    paths = sorted({**EVIDENCE, **taken}, key=str.encode)
    for name, new in (("SHA256SUMS", hashlib.sha256), ("B3SUMS", blake3)):
        lines = []
        for path in paths:
            line = f"{new({**EVIDENCE, **taken}[path]).hexdigest()}  {path}"
            lines.append("\\" + line.replace("\\", "\\\\") if "\\" in line else line)
        assert kit[name].decode() == "".join(f"{line}\n" for line in lines)
    projection = json.loads(kit["manifest.json"])
    assert kit["manifest.json"].decode() == (
        json.dumps(projection, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    )
    assert [file["relative_path"] for file in projection["files"]] == paths
