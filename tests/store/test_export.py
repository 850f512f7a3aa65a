"""Export and check: what goes in comes out, provably, with and without a store."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from artifactstore import ConflictError, IntegrityError, InvalidInputError, check_directory
from artifactstore.manifest import decode
from store.harness import EXECUTABLE, LARGE, SAID, TREE, incompressible, read_tree, refused, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from artifactstore import Package, Store
    from store.doors import Door
    from store.harness import Home

KIT = "ARTIFACTSTORE-AUDIT"
KIT_FILES = ["B3SUMS", "SHA256SUMS", "VERIFY.md", "manifest.cbor", "manifest.json", "verify.py"]


@pytest.fixture
def package(store: Store, tree: Path) -> Package:
    return store.push(tree, **SAID).package


@pytest.fixture
def export(store: Store, package: Package, tmp_path: Path) -> Path:
    """An export with its kit."""
    store.export_package(package.package_id, tmp_path / "export")
    return tmp_path / "export"


def evidence(root: Path, kit: str = KIT) -> dict[str, bytes]:
    return {path: data for path, data in read_tree(root).items() if not path.startswith(f"{kit}/")}


def extracted(stream: io.BytesIO) -> dict[str, bytes]:
    """The files of a tar."""
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        contents = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in contents.items() if file is not None}


def verify(directory: Path, *, kit: str = KIT) -> tuple[int, str]:
    """The auditor's own check: nothing of ours is imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(directory / kit / "verify.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_an_export_is_the_evidence_and_a_kit(door: Door, tree: Path, tmp_path: Path, home: Home) -> None:
    package = door.push(tree, **SAID).package
    target = tmp_path / "new" / "folder" / "out"
    with home.unchanged():
        result = door.export_package(package.package_id, target)
    assert (result.file_count, result.total_size) == (package.file_count, package.total_size)
    assert result.audit_directory == KIT
    assert evidence(target) == TREE
    assert sorted(path.name for path in (target / KIT).iterdir()) == KIT_FILES
    assert (target / KIT / "manifest.cbor").read_bytes() == door.get_manifest_bytes(package.package_id)
    assert (target / KIT / "manifest.json").read_bytes() == door.get_manifest_bytes(
        package.package_id, format="json"
    )
    files = {str(path.relative_to(target)): path.stat() for path in target.rglob("*") if path.is_file()}
    executables = {path for path, status in files.items() if status.st_mode & stat.S_IXUSR}
    assert executables == {EXECUTABLE, f"{KIT}/verify.py"}
    assert sorted(path.name for path in target.parent.iterdir()) == ["out"]


def test_a_bare_export_is_the_evidence_alone(door: Door, tree: Path, tmp_path: Path) -> None:
    package = door.push(tree, **SAID).package
    result = door.export_package(package.package_id, tmp_path / "out", bare=True)
    assert result.audit_directory is None
    assert read_tree(tmp_path / "out") == TREE


def test_what_was_exported_can_be_pushed_again(door: Door, tree: Path, tmp_path: Path) -> None:
    first = door.push(tree, **SAID).package
    door.export_package(first.package_id, tmp_path / "out", bare=True)
    assert door.push(tmp_path / "out", **SAID, if_changed=True).package == first


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ([f"{KIT}/mine.txt"], f"{KIT}-2"),
        (["artifactstore-audit/mine.txt"], f"{KIT}-2"),
        (["Artifactstore-Audit"], f"{KIT}-2"),
        ([KIT, f"{KIT}-2/x", "ARTIFACTSTORE-audit-3/x"], f"{KIT}-4"),
        ([f"{KIT}.txt", f"deep/{KIT}/x"], KIT),
    ],
)
def test_the_kit_never_takes_a_name_of_the_evidence(
    store: Store, tmp_path: Path, taken: list[str], name: str
) -> None:
    files = dict.fromkeys(taken, b"evidence")
    package = store.push(write_tree(tmp_path / "in", files), **SAID).package
    result = store.export_package(package.package_id, tmp_path / "out")
    assert result.audit_directory == name
    tops = {path.partition("/")[0] for path in taken}
    assert set(result.look_alikes) == {top for top in tops if top.casefold().startswith(KIT.lower())}
    told = (tmp_path / "out" / name / "VERIFY.md").read_text()
    assert f"`python3 {name}/verify.py`" in told
    assert evidence(tmp_path / "out", name) == files
    assert check_directory(tmp_path / "out" / name / "manifest.cbor", tmp_path / "out").intact
    code, output = verify(tmp_path / "out", kit=name)
    assert (code, f"checker:  {tmp_path}/out/{name}\n" in output) == (0, True)
    for archive in (store.export_tar, store.export_zip):
        assert archive(package.package_id, io.BytesIO()) == result


@pytest.mark.parametrize("there", ["file", "full", "link", "link to a folder"])
def test_an_export_overwrites_nothing(store: Store, package: Package, tmp_path: Path, there: str) -> None:
    folder = tmp_path / "folder"
    target = folder / "out"
    folder.mkdir()
    if there == "file":
        target.write_bytes(b"precious")
    elif there == "full":
        write_tree(target, {"precious": b"precious"})
    elif there == "link":
        target.symlink_to(folder / "elsewhere")
    else:
        (tmp_path / "empty").mkdir()
        target.symlink_to(tmp_path / "empty")
    before = read_tree(folder)
    with refused(ConflictError, "conflict", str(target)):
        store.export_package(package.package_id, target)
    assert read_tree(folder) == before
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_an_export_onto_a_link_says_so(store: Store, package: Package, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "empty")
    with refused(ConflictError, "conflict", "/out/' is a symbolic link"):
        store.export_package(package.package_id, f"{tmp_path}/out/")


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o777), (0o022, 0o755), (0o077, 0o700)])
def test_an_export_is_private_until_it_is_whole_and_then_as_the_umask_says(
    store: Store, package: Package, tmp_path: Path, umask: int, mode: int
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    seen: list[int] = []

    def look(_progress: object) -> None:
        seen.extend(stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir())

    before = os.umask(umask)
    try:
        store.export_package(package.package_id, folder / "out", on_progress=look)
    finally:
        os.umask(before)
    assert set(seen) == {0o700}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / "out", *(folder / "out").rglob("*"))}
    assert modes == {mode, mode & 0o666}
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_an_empty_directory_is_filled(store: Store, package: Package, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    store.export_package(package.package_id, tmp_path / "out", bare=True)
    assert read_tree(tmp_path / "out") == TREE


def test_large_files_are_exported(store: Store, tmp_path: Path) -> None:
    files = {"border": incompressible(LARGE), "large": incompressible(2 * LARGE + 4097), "small": b"s"}
    package = store.push(write_tree(tmp_path / "in", files), **SAID).package
    store.export_package(package.package_id, tmp_path / "out", bare=True)
    assert read_tree(tmp_path / "out") == files


@pytest.mark.parametrize("bare", [True, False])
def test_the_tar_is_the_directory_and_always_the_same(
    store: Store, package: Package, tmp_path: Path, *, bare: bool
) -> None:
    store.export_package(package.package_id, tmp_path / "out", bare=bare)
    one, two = io.BytesIO(), io.BytesIO()
    result = store.export_tar(package.package_id, one, bare=bare)
    store.export_tar(package.package_id, two, bare=bare)
    assert one.getvalue() == two.getvalue()
    assert result.audit_directory == (None if bare else KIT)
    with tarfile.open(fileobj=io.BytesIO(one.getvalue())) as tar:
        members = {member.name: member for member in tar}
        assert all(
            member.isreg() and member.mtime == member.uid == member.gid == 0 for member in members.values()
        )
        assert {name for name, member in members.items() if member.mode & stat.S_IXUSR} == {
            path for path in (EXECUTABLE, f"{KIT}/verify.py") if not bare or path == EXECUTABLE
        }
    assert extracted(one) == read_tree(tmp_path / "out")


def test_the_tar_is_written_without_seeking(store: Store, package: Package) -> None:
    class OneWay(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_arguments: int) -> int:
            raise io.UnsupportedOperation

        def read(self, *_arguments: int | None) -> bytes:
            raise io.UnsupportedOperation

    pipe, buffer = OneWay(), io.BytesIO()
    store.export_tar(package.package_id, pipe)
    store.export_tar(package.package_id, buffer)
    assert pipe.getvalue() == buffer.getvalue()


def test_the_tar_holds_long_and_foreign_names(store: Store, tmp_path: Path) -> None:
    files = {f"{'d' * 200}/{'f' * 200}.log": b"long", "\u00fc/\u2713.txt": b"foreign"}
    package = store.push(write_tree(tmp_path / "in", files), **SAID).package
    stream = io.BytesIO()
    store.export_tar(package.package_id, stream, bare=True)
    assert extracted(stream) == files


def test_an_intact_directory_checks_with_every_form_of_the_manifest(export: Path, tree: Path) -> None:
    path = export / KIT / "manifest.cbor"
    for manifest in (path, str(path), path.read_bytes(), decode(path.read_bytes())):
        for directory in (export, str(export), tree):
            result = check_directory(manifest, directory)
            assert result.intact
            assert (result.file_count, result.total_size) == (len(TREE), sum(map(len, TREE.values())))


def test_check_names_what_is_changed_missing_and_unlisted(export: Path) -> None:
    (export / "logs/a.log").write_bytes(b"A line\n")
    (export / "logs/b.log").write_bytes(b"a line\n\n")
    (export / "README.md").unlink()
    (export / "logs/new.log").touch()
    (export / KIT / "surplus").touch()
    shutil.rmtree(export / "bin")
    (export / "bin").symlink_to("logs")
    (export / "empty.log").unlink()
    (export / "empty.log").symlink_to("/dev/null")
    result = check_directory(export / KIT / "manifest.cbor", export)
    assert not result.intact
    assert result.changed == ("empty.log", "logs/a.log", "logs/b.log")
    assert result.missing == ("README.md", "bin/run.sh")
    assert result.unlisted == (f"{KIT}/surplus", "bin", "logs/new.log")


def test_check_opens_no_special_file(export: Path) -> None:
    (export / "logs/a.log").unlink()
    os.mkfifo(export / "logs/a.log")
    os.mkfifo(export / "pipe")
    result = check_directory(export / KIT / "manifest.cbor", export)
    assert result.changed == ("logs/a.log",)
    assert result.unlisted == ("pipe",)


def test_check_refuses_what_is_no_manifest_or_no_directory(export: Path, tmp_path: Path) -> None:
    manifest = export / KIT / "manifest.cbor"
    with refused(InvalidInputError, "invalid-input", "nowhere"):
        check_directory(manifest, tmp_path / "nowhere")
    with refused(InvalidInputError, "invalid-input", "nothing.cbor"):
        check_directory(tmp_path / "nothing.cbor", export)
    with refused(IntegrityError, "not-canonical"):
        check_directory(manifest.read_bytes() + b"\x00", export)
    with refused(IntegrityError, "not-a-manifest"):
        check_directory(export / KIT / "manifest.json", export)
    with refused(IntegrityError, "not-a-manifest"):
        check_directory(b"\xa0", export)


@pytest.mark.parametrize(("sums", "tool"), [("SHA256SUMS", "sha256sum"), ("B3SUMS", "b3sum")])
def test_other_tools_check_the_export(export: Path, sums: str, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")

    def check() -> int:
        return subprocess.run(
            [tool, "-c", f"{KIT}/{sums}"], cwd=export, capture_output=True, check=False
        ).returncode

    assert check() == 0
    (export / "logs/a.log").write_bytes(b"B line\n")
    assert check() != 0


def test_the_kits_own_program_checks_the_export(export: Path) -> None:
    code, output = verify(export)
    assert code == 0, output
    assert "intact" in output
    (export / "logs/a.log").write_bytes(b"B line\n")
    (export / "README.md").unlink()
    (export / "surplus").touch()
    code, output = verify(export)
    assert code == 3
    assert "CHANGED logs/a.log" in output
    assert "MISSING README.md" in output
    assert "UNLISTED surplus" in output


def test_the_kit_tells_people_what_to_do(export: Path, package: Package) -> None:
    text = (export / KIT / "VERIFY.md").read_text()
    for fact in (
        package.package_id,
        package.name,
        str(package.manifest_digest),
        str(package.manifest_sha256),
        KIT,
    ):
        assert fact in text
    assert (
        json.loads((export / KIT / "manifest.json").read_text())["package"]["package_id"]
        == package.package_id
    )


def test_names_with_backslashes_survive_export_and_every_checker(store: Store, tmp_path: Path) -> None:
    files = {"a\\b.log": b"backslash", "plain \\n.log": b"not a newline"}
    result = store.push(write_tree(tmp_path / "in", files), **SAID)
    assert sum("backslash" in warning for warning in result.ingest.warnings) == 2
    store.export_package(result.package.package_id, tmp_path / "out")
    assert evidence(tmp_path / "out") == files
    assert verify(tmp_path / "out")[0] == 0
    for sums, tool in (("SHA256SUMS", "sha256sum"), ("B3SUMS", "b3sum")):
        if shutil.which(tool):
            subprocess.run(
                [tool, "-c", f"{KIT}/{sums}"], cwd=tmp_path / "out", check=True, capture_output=True
            )
