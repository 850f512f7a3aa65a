"""The auditor's kit: verify.py alone, on real directories, against manifests that cbor2 wrote."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import tracemalloc
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

import artifactstore.manifest
from artifactstore.check import check_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Run = Callable[..., tuple[int, list[str], str]]  # exit code, lines of the report, standard error

AUDIT = Path(artifactstore.manifest.__file__).parent / "audit"
MEDIA_TYPE = "application/vnd.artifactstore.manifest.v1+cbor"
EVIDENCE = {
    "-begins-with-dash": b"",
    "Prüfung/Ergebnis.json": b'{"ok": true}',
    "back\\slash.txt": b"kept as it is",
    "big.bin": bytes(range(256)) * 10_000,
    "logs/run 1.log": b"first line\nsecond line\n",
    "logs/run 2.log": b"another run",
}


def load_verify() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_verify", AUDIT / "verify.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verify = load_verify()


def describe(path: str, data: bytes, *, executable: bool = False) -> dict[str, Any]:
    return {
        "relative_path": path,
        "media_type": "application/octet-stream",
        "size": len(data),
        "blake3": blake3(data).digest(),
        "sha256": hashlib.sha256(data).digest(),
        "executable": executable,
    }


def manifest_of(files: list[dict[str, Any]], **package: Any) -> dict[str, Any]:
    """A manifest that agrees with itself, whatever the files say."""
    return {
        "version": 1,
        "media_type": MEDIA_TYPE,
        "package": {
            "package_id": "019283f0-0000-7000-8000-000000000001",
            "store_id": "019283f0-0000-7000-8000-000000000002",
            "name": "nightly run",
            "producer": "guide-board",
            "subject": "example.org",
            "retention_class": "raw-evidence",
            "created_at": 1_795_378_500_000_000,
            "metadata": {"probe": "@@@@"},
            "metadata_schema": None,
            **package,
        },
        "totals": {"files": len(files), "size": sum(file["size"] for file in files)},
        "content_digest": hashlib.sha256(encode(files)).digest(),
        "files": files,
    }


def encode(value: Any) -> bytes:
    return cbor2.dumps(value, canonical=True)


def small_manifest() -> dict[str, Any]:
    return manifest_of([describe("a.txt", b"a"), describe("b.txt", b"b")])


def with_metadata(encoded: bytes) -> bytes:
    """A manifest in which one value of the metadata is exactly these bytes."""
    data = encode(small_manifest())
    before, placeholder, after = data.partition(b"\x65probe\x64@@@@")
    assert placeholder
    return before + b"\x65probe" + encoded + after


def projection(manifest: dict[str, Any]) -> dict[str, Any]:
    """The JSON projection, written a second time from the format's description."""
    files = [
        {**file, "blake3": "blake3:" + file["blake3"].hex(), "sha256": "sha256:" + file["sha256"].hex()}
        for file in manifest["files"]
    ]
    package = {**manifest["package"], "created_at": "2026-11-22T20:15:00.000000Z"}
    content = "sha256:" + manifest["content_digest"].hex()
    return {**manifest, "files": files, "package": package, "content_digest": content}


class Export:
    """An exported directory of evidence with the auditor's kit in it."""

    def __init__(self, root: Path, evidence: dict[str, bytes], kit: str = "ARTIFACTSTORE-AUDIT") -> None:
        self.root = root
        self.kit = root / kit
        self.kit.mkdir(parents=True)
        for path, data in evidence.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        ordered = sorted(evidence, key=str.encode)
        self.manifest = manifest_of([describe(path, evidence[path]) for path in ordered])
        self.write_manifest(encode(self.manifest))
        (self.kit / "manifest.json").write_text(json.dumps(projection(self.manifest), indent=2))
        for name in ("verify.py", "VERIFY.md"):
            shutil.copyfile(AUDIT / name, self.kit / name)

    def write_manifest(self, data: bytes) -> None:
        (self.kit / "manifest.cbor").write_bytes(data)

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256((self.kit / "manifest.cbor").read_bytes()).hexdigest()

    def write_sums(self, command: str, name: str) -> None:
        """SHA256SUMS or B3SUMS, written by the very tool that will read it."""
        tool = shutil.which(command)
        if tool is None:
            pytest.skip(f"{command} is not installed")
        paths = [file["relative_path"] for file in self.manifest["files"]]
        run = subprocess.run([tool, "--", *paths], cwd=self.root, capture_output=True, check=True)
        (self.kit / name).write_bytes(run.stdout)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path / "export", EVIDENCE)


def find_python38() -> str | None:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in (shutil.which("python3.8"), *map(str, sorted(root.glob("versions/3.8.*/bin/python")))):
        if candidate is None:
            continue
        # A shim on PATH may exist without the version behind it.
        probe = [candidate, "-c", "import sys; print(*sys.version_info[:2])"]
        answer = subprocess.run(probe, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == "3 8":
            return candidate
    return None


@pytest.fixture(scope="session", params=["running", "3.8"])
def python(request: pytest.FixtureRequest) -> str:
    if request.param == "running":
        return sys.executable
    found = find_python38()
    if found is None:
        pytest.skip("no Python 3.8 on PATH or below PYENV_ROOT")
    return found


@pytest.fixture
def check(python: str) -> Run:
    """Runs a program as an auditor does: exit code, lines of the report, standard error."""

    def run(program: Export | Path, *arguments: Any, **environment: str) -> tuple[int, list[str], str]:
        path = program.kit / "verify.py" if isinstance(program, Export) else program
        done = subprocess.run(
            [python, str(path), *map(str, arguments)],
            cwd="/",
            env={**os.environ, "PYTHONUTF8": "1", **environment},
            capture_output=True,
            timeout=60,
            check=False,
        )
        error = done.stderr.decode()
        assert "Traceback" not in error
        return done.returncode, done.stdout.decode().splitlines(), error

    return run


def findings(lines: list[str]) -> list[str]:
    return [line for line in lines if line.split(" ")[0] in ("CHANGED", "MISSING", "UNLISTED", "KIT")]


def test_intact_evidence_has_no_findings_and_a_summary(check: Run, export: Export) -> None:
    code, lines, error = check(export)
    assert (code, error) == (0, "")
    size = sum(map(len, EVIDENCE.values()))
    assert lines[:8] == [
        "package:  019283f0-0000-7000-8000-000000000001",
        "name:     nightly run",
        "producer: guide-board",
        "subject:  example.org",
        f"files:    6, {size} bytes",
        f"content:  sha256:{export.manifest['content_digest'].hex()}",
        f"manifest: {export.digest}",
        "result:   intact",
    ]
    rest = " ".join(lines[8:])
    assert "b3sum -c ARTIFACTSTORE-AUDIT/B3SUMS" in rest
    assert "received by another way" in rest


def test_changed_missing_and_unlisted_files_are_named(check: Run, export: Export) -> None:
    (export.root / "Prüfung/Ergebnis.json").write_bytes(b'{"ok":false}')
    with (export.root / "big.bin").open("ab") as stream:
        stream.write(b"!")
    (export.root / "logs/run 1.log").unlink()
    (export.root / "logs/run 3.log").write_bytes(b"")
    code, lines, _ = check(export)
    assert code == 3
    assert findings(lines) == [
        "CHANGED Prüfung/Ergebnis.json",
        "CHANGED big.bin",
        "MISSING logs/run 1.log",
        "UNLISTED logs/run 3.log",
    ]
    assert "result:   2 CHANGED, 1 MISSING, 1 UNLISTED" in lines


def test_what_is_planted_in_the_kit_is_unlisted(check: Run, export: Export) -> None:
    kit = export.kit.name
    (export.kit / "payload.bin").write_bytes(b"x")
    (export.kit / "B3SUMS").mkdir()
    (export.kit / "B3SUMS" / "VERIFY.md").write_bytes(b"x")
    (export.kit / "link").symlink_to("manifest.cbor")
    (export.root / "logs" / "verify.py").write_bytes(b"x")
    code, lines, _ = check(export)
    assert code == 3
    planted = [f"{kit}/B3SUMS/VERIFY.md", f"{kit}/link", f"{kit}/payload.bin", "logs/verify.py"]
    assert [line for line in findings(lines) if not line.startswith("KIT")] == [
        f"UNLISTED {path}" for path in planted
    ]
    assert list(check_directory(export.kit / "manifest.cbor", export.root).unlisted) == planted


def test_a_change_in_the_last_block_of_a_big_file_is_found(check: Run, export: Export) -> None:
    with (export.root / "big.bin").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x00")
    assert findings(check(export)[1]) == ["CHANGED big.bin"]


def test_a_link_to_the_same_content_is_a_change(check: Run, export: Export, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (export.root / "logs/run 1.log").rename(moved)
    (export.root / "logs/run 1.log").symlink_to(moved)
    code, lines, _ = check(export)
    assert (code, findings(lines)) == (3, ["CHANGED logs/run 1.log"])
    assert "note: logs/run 1.log was not read: it is a symbolic link" in lines


def test_a_linked_directory_is_not_followed(check: Run, export: Export, tmp_path: Path) -> None:
    (export.root / "logs").rename(tmp_path / "logs")
    (export.root / "logs").symlink_to(tmp_path / "logs", target_is_directory=True)
    (export.root / "dangling").symlink_to(tmp_path / "nowhere")
    code, lines, _ = check(export)
    assert code == 3
    assert findings(lines) == [
        "CHANGED logs/run 1.log",
        "CHANGED logs/run 2.log",
        "UNLISTED dangling",
        "UNLISTED logs",
    ]


def test_a_fifo_is_neither_opened_nor_awaited(check: Run, export: Export) -> None:
    (export.root / "big.bin").unlink()
    os.mkfifo(export.root / "big.bin")
    os.mkfifo(export.root / "logs/fifo")
    code, lines, _ = check(export)
    assert (code, findings(lines)) == (3, ["CHANGED big.bin", "UNLISTED logs/fifo"])


def test_a_directory_in_place_of_a_file_is_a_change_and_its_files_are_unlisted(
    check: Run, export: Export
) -> None:
    (export.root / "big.bin").unlink()
    (export.root / "big.bin").mkdir()
    (export.root / "big.bin/inside").write_bytes(b"")
    assert findings(check(export)[1]) == ["CHANGED big.bin", "UNLISTED big.bin/inside"]


def test_a_file_in_place_of_a_directory(check: Run, export: Export) -> None:
    shutil.rmtree(export.root / "logs")
    (export.root / "logs").write_bytes(b"")
    assert findings(check(export)[1]) == ["MISSING logs/run 1.log", "MISSING logs/run 2.log", "UNLISTED logs"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_not_called_intact(check: Run, export: Export) -> None:
    (export.root / "big.bin").chmod(0)
    (export.root / "logs").chmod(0)
    try:
        assert findings(check(export)[1]) == [
            "CHANGED big.bin",
            "CHANGED logs/run 1.log",
            "CHANGED logs/run 2.log",
            "UNLISTED logs",
        ]
    finally:
        (export.root / "logs").chmod(0o700)


def test_empty_directories_are_not_evidence(check: Run, export: Export) -> None:
    (export.root / "empty/inner").mkdir(parents=True)
    assert check(export)[0] == 0


def test_another_executable_bit_is_a_note_only(check: Run, export: Export) -> None:
    path = export.root / "logs/run 2.log"
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    code, lines, _ = check(export)
    assert code == 0
    assert lines[0] == "note: 1 executable bits differ, first that of logs/run 2.log (no damage)"


def test_names_are_printed_safely(check: Run, export: Export) -> None:
    for name in (b"bad\xff", b"red\x1b[31m\nMISSING big.bin", "gpj\u202e.exe".encode(), b"tail\\"):
        Path(os.fsdecode(bytes(export.root) + b"/" + name)).write_bytes(b"")
    assert findings(check(export)[1]) == [
        "UNLISTED bad\\xff",
        "UNLISTED gpj\\u202e.exe",
        "UNLISTED red\\x1b[31m\\nMISSING big.bin",
        "UNLISTED tail\\\\",
    ]


def test_texts_of_the_producer_are_printed_safely(check: Run, export: Export) -> None:
    files = export.manifest["files"]
    export.write_manifest(encode(manifest_of(files, name="a\x1b]0;b\nresult:   intact", subject="\u202ec")))
    (export.kit / "manifest.json").unlink()
    lines = check(export)[1]
    assert lines[1] == "name:     a\\x1b]0;b\\nresult:   intact"
    assert lines[3] == "subject:  \\u202ec"


def test_a_terminal_without_unicode_is_no_problem(check: Run, export: Export) -> None:
    (export.root / "Prüfung/Ergebnis.json").unlink()
    lines = check(export, PYTHONUTF8="0", PYTHONIOENCODING="ascii")[1]
    assert findings(lines) == ["MISSING Pr\\xfcfung/Ergebnis.json"]


def test_names_do_not_depend_on_the_locale(check: Run, export: Export) -> None:
    assert (
        check(export, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C", PYTHONIOENCODING="utf-8")[0] == 0
    )


def test_it_writes_nothing(check: Run, export: Export) -> None:
    def state() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in export.root.rglob("*"))

    before = state()
    check(export)
    assert state() == before


def test_the_kit_may_have_another_name(check: Run, tmp_path: Path) -> None:
    inner = {"ARTIFACTSTORE-AUDIT/manifest.cbor": b"evidence of another export", "a": b""}
    export = Export(tmp_path / "export", inner, kit="ARTIFACTSTORE-AUDIT-2")
    assert check(export)[0] == 0
    (export.root / "ARTIFACTSTORE-AUDIT/more").write_bytes(b"")
    assert findings(check(export)[1]) == ["UNLISTED ARTIFACTSTORE-AUDIT/more"]


def test_a_copy_of_the_evidence_can_be_named(check: Run, export: Export, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(export.root, bare, ignore=shutil.ignore_patterns("ARTIFACTSTORE-AUDIT"))
    assert check(export, bare)[0] == 0
    (bare / "big.bin").unlink()
    assert findings(check(export, bare)[1]) == ["MISSING big.bin"]


def test_the_auditors_own_copy_of_the_program_and_the_manifest(
    check: Run, export: Export, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    shutil.copyfile(AUDIT / "verify.py", own / "verify.py")
    shutil.copyfile(export.kit / "manifest.cbor", own / "received.cbor")
    program = own / "verify.py"
    assert check(program, export.root, "--manifest", export.kit / "manifest.cbor")[0] == 0
    assert check(export, "--manifest", own / "received.cbor")[0] == 0
    code, lines, _ = check(program, export.root, "--manifest", own / "received.cbor")
    assert (code, {line.split("/")[0] for line in findings(lines)}) == (3, {"UNLISTED ARTIFACTSTORE-AUDIT"})


def test_the_digest_received_by_another_way(check: Run, export: Export) -> None:
    code, lines, _ = check(export, "--manifest-digest", export.digest)
    assert code == 0
    assert "received by another way" not in " ".join(lines)
    code, lines, error = check(export, "--manifest-digest", "sha256:" + "0" * 64)
    assert (code, lines) == (1, [])
    assert export.digest in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--manifest-digest", "sha256:12"],
        ["--manifest-digest", "blake3:" + "0" * 64],
        ["--manifest-digest", ""],
        ["--unknown"],
        ["/nonexistent-directory"],
        ["/dev/null"],
        [".", "."],
    ],
)
def test_usage_errors(check: Run, export: Export, arguments: list[str]) -> None:
    code, lines, error = check(export, *arguments)
    assert (code, lines) == (2, [])
    assert "error:" in error


def test_lists_written_by_the_tools_agree(check: Run, export: Export) -> None:
    export.write_sums("sha256sum", "SHA256SUMS")
    export.write_sums("b3sum", "B3SUMS")
    assert b"\\" in (export.kit / "SHA256SUMS").read_bytes()
    assert check(export)[0] == 0
    for name in ("SHA256SUMS", "B3SUMS"):
        lines = (export.kit / name).read_bytes().splitlines(keepends=True)
        (export.kit / name).write_bytes(b"".join(reversed(lines)))
    assert check(export)[0] == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[64:],
        lambda data: data.replace(b"run 1", b"run 7"),
        lambda data: data[:1] + bytes([data[1] ^ 1]) + data[2:],
        lambda data: b"".join(data.splitlines(keepends=True)[:-1]),
        lambda data: data + b"0" * 64 + b"  more\n",
        lambda data: b"",
    ],
)
def test_a_list_that_disagrees_is_a_finding(
    check: Run, export: Export, damage: Callable[[bytes], bytes]
) -> None:
    for command, name in (("sha256sum", "SHA256SUMS"), ("b3sum", "B3SUMS")):
        export.write_sums(command, name)
        (export.kit / name).write_bytes(damage((export.kit / name).read_bytes()))
    code, lines, _ = check(export)
    assert code == 3
    assert findings(lines) == [
        "KIT SHA256SUMS disagrees with the manifest",
        "KIT B3SUMS disagrees with the manifest",
    ]


@pytest.mark.parametrize(
    "replacement",
    [
        (b'"files": 6', b'"files": 7'),
        (b'"version": 1', b'"version": true'),
        (b'"version": 1', b'"version": 1.0'),
        (b'"version": 1', b'"version": NaN'),
        (b'"version": 1', b'"version": ' + b"[" * 100_000),
        (b"20:15:00.000000Z", b"20:15:01.000000Z"),
        (b"nightly run", b"other run"),
        (b"{", b""),
        (b"{", b"\xff"),
    ],
)
def test_a_json_that_disagrees_is_a_finding(
    check: Run, export: Export, replacement: tuple[bytes, bytes]
) -> None:
    path = export.kit / "manifest.json"
    path.write_bytes(path.read_bytes().replace(*replacement, 1))
    code, lines, _ = check(export)
    assert (code, findings(lines)) == (3, ["KIT manifest.json disagrees with the manifest"])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("manifest.json", b"[" + b"[]," * 700_000 + b"[]]"),
        ("manifest.json", b'{"a":[' + b"{}," * 700_000 + b"{}]}"),
        ("SHA256SUMS", b"x\n" * 1_000_000),
        ("B3SUMS", b"y\r" * 1_000_000),
    ],
    ids=["lists", "maps", "lines", "other lines"],
)
def test_a_list_that_would_become_large_is_not_taken_apart(export: Export, name: str, data: bytes) -> None:
    (export.kit / name).write_bytes(data)
    manifest = verify.decode((export.kit / "manifest.cbor").read_bytes())
    tracemalloc.start()
    try:
        found = list(verify.check_kit(str(export.kit), manifest))
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [("KIT", f"{name} disagrees with the manifest")]
    assert needed < 2 * len(data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_list_agrees_whatever_ends_its_lines(export: Export, end: bytes) -> None:
    manifest = verify.decode((export.kit / "manifest.cbor").read_bytes())
    for name, algorithm in (("SHA256SUMS", "sha256"), ("B3SUMS", "blake3")):
        lines = list(verify.sum_lines(manifest["files"], algorithm))
        (export.kit / name).write_bytes(b"".join(line + end for line in lines))
    assert list(verify.check_kit(str(export.kit), manifest)) == []


def test_a_list_that_is_a_fifo_does_not_block(check: Run, export: Export) -> None:
    os.mkfifo(export.kit / "SHA256SUMS")
    assert findings(check(export)[1]) == ["KIT SHA256SUMS disagrees with the manifest"]


def test_lists_may_be_left_out(check: Run, export: Export) -> None:
    (export.kit / "manifest.json").unlink()
    assert check(export)[0] == 0


def test_the_text_for_the_auditor_has_ten_lines_and_all_its_placeholders() -> None:
    template = (AUDIT / "VERIFY.md").read_text(encoding="utf-8")
    assert len(template.splitlines()) == 10
    values = {
        "kit": "ARTIFACTSTORE-AUDIT-2",
        "name": "nightly run",
        "package_id": "019283f0-0000-7000-8000-000000000001",
        "files": "1234",
        "manifest_blake3": "blake3:" + "b" * 64,
        "manifest_sha256": "sha256:" + "5" * 64,
    }
    text = template.format(**values)
    assert all(value in text for value in values.values())
    assert "{" not in text


@pytest.mark.parametrize("data", [b"", b"not a manifest", b"\x80", b"\xa0", b"\xf6", encode({"files": []})])
def test_a_refused_manifest_ends_with_exit_code_1(check: Run, export: Export, data: bytes) -> None:
    export.write_manifest(data)
    code, lines, error = check(export)
    assert (code, lines) == (1, [])
    assert error.startswith(f"refused: {export.kit}/manifest.cbor: ")


def test_a_missing_or_strange_manifest_file_ends_with_exit_code_1(check: Run, export: Export) -> None:
    path = export.kit / "manifest.cbor"
    path.unlink()
    assert check(export)[0] == 1
    os.mkfifo(path)
    assert check(export)[0] == 1
    path.unlink()
    path.mkdir()
    assert check(export)[0] == 1
    assert check(export, "--manifest", "/dev/zero")[0] == 1


def refuse(data: bytes, reason: str) -> None:
    with pytest.raises(verify.ManifestError, match=reason):
        verify.decode(data)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ("a2616101616102", "not unique"),  # duplicate key
        ("a2616201616102", "not sorted"),
        ("a262616101616202", "not sorted"),  # the longer key first
        ("a10101", "not text"),
        ("a1410001", "not text"),
        ("a1800100", "nesting"),  # a list as key
        ("1805", "shortest"),
        ("1900ff", "shortest"),
        ("1a0000ffff", "shortest"),
        ("1b00000000ffffffff", "shortest"),
        ("3805", "shortest"),
        ("780161", "shortest"),
        ("980101", "shortest"),
        ("b801616101", "shortest"),
        ("7f6161ff", "indefinite"),
        ("5f4100ff", "indefinite"),
        ("9f01ff", "indefinite"),
        ("bf616101ff", "indefinite"),
        ("ff", "simple"),
        ("1c", "reserved"),
        ("7d", "reserved"),
        ("c06161", "tags"),
        ("c24101", "tags"),
        ("d81c01", "tags"),
        ("4100", "bytes in its metadata|holds bytes"),
        ("f7", "undefined"),
        ("e0", "simple"),
        ("f820", "simple"),
        ("f814", "simple"),  # false in two bytes
        ("fa3fc00000", "shortest"),  # 1.5
        ("fb3ff8000000000000", "shortest"),  # 1.5
        ("fb40f86a0000000000", "shortest"),  # 100000.0
        ("fa80000000", "shortest"),  # -0.0
        ("f97e00", "finite"),
        ("f97c00", "finite"),
        ("f9fc00", "finite"),
        ("fa7fc00000", "finite"),
        ("fbfff0000000000000", "finite"),
        ("1b8000000000000000", "too large"),
        ("3b8000000000000000", "too large"),
        ("61ff", "UTF-8"),
        ("63eda080", "UTF-8"),  # a surrogate
        ("62c080", "UTF-8"),  # overlong
        ("9b00000000ffffffff", "shortest"),
        ("9b7fffffffffffffff", "."),  # huge lengths end with the bytes that there are
        ("bb7fffffffffffffff", "."),
        ("7b7fffffffffffffff", "too early"),
        ("5b7fffffffffffffff", "too early"),
        ("9affffffff", "."),
    ],
)
def test_all_but_the_deterministic_encoding_is_refused(encoded: str, reason: str) -> None:
    refuse(with_metadata(bytes.fromhex(encoded)), reason)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("1b7fffffffffffffff", 2**63 - 1),
        ("3b7fffffffffffffff", -(2**63)),
        ("f93e00", 1.5),
        ("f90001", 2.0**-24),
        ("fa47c35000", 100000.0),
        ("fb3ff199999999999a", 1.1),
        ("fb7fefffffffffffff", sys.float_info.max),
        ("f98000", -0.0),
        ("a2616201626161f5", {"b": 1, "aa": True}),
        ("82f660", [None, ""]),
    ],
)
def test_the_deterministic_encoding_is_accepted(encoded: str, value: object) -> None:
    data = with_metadata(bytes.fromhex(encoded))
    assert encode(cbor2.loads(data)) == data
    assert repr(verify.decode(data)["package"]["metadata"]["probe"]) == repr(value)


def test_nesting_ends_at_64_levels_without_a_crash() -> None:
    verify.decode(with_metadata(b"\x81" * 62 + b"\x80"))
    refuse(with_metadata(b"\x81" * 63 + b"\x80"), "nesting")
    refuse(with_metadata(b"\x81" * 1_000_000 + b"\x80"), "nesting")
    refuse(with_metadata(b"\xa1\x61a" * 300_000 + b"\x80"), "nesting")
    refuse(b"\x81" * 1_000_000, "the manifest has to have the keys")


def test_every_truncated_manifest_is_refused_and_so_are_trailing_bytes() -> None:
    data = encode(small_manifest())
    for length in range(len(data)):
        refuse(data[:length], "ends too early")
    refuse(data + b"\x00", "bytes follow")
    refuse(data + data, "bytes follow")


def test_each_long_form_of_the_fixed_part_is_refused() -> None:
    data = encode(small_manifest())
    longer = [
        (b"\xa6\x65files", b"\xb8\x06\x65files"),
        (b"\x65files\x82", b"\x78\x05files\x82"),
        (b"\x65files\x82", b"\x65files\x98\x02"),
        (b"\x58\x20", b"\x59\x00\x20"),
        (b"\x67version\x01", b"\x67version\x18\x01"),
        (b"\x64size\x01", b"\x64size\x19\x00\x01"),
    ]
    for short, long in longer:
        assert short in data
        refuse(data.replace(short, long, 1), "shortest")


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "a/./b",
        "./a",
        "/etc/passwd",
        "a//b",
        "a/",
        "a\0b",
        "a\nb",
        "a\rb",
        "a\x1bb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "a\u202eb",
        "a\u2066b",
        "n" * 256,
        "ü" * 128,
        "/".join(["d" * 240] * 18),
    ],
)
def test_unsafe_paths_are_refused(path: str) -> None:
    refuse(encode(manifest_of([describe(path, b"")])), "unsafe")


@pytest.mark.parametrize("path", ["back\\slash", "..a", "a..", " ", "n" * 255, "ü" * 127, "...", "C:", "-"])
def test_strange_but_safe_paths_are_accepted(path: str) -> None:
    decoded = verify.decode(encode(manifest_of([describe(path, b"")])))
    assert decoded["files"][0]["relative_path"] == path


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        ([], "no file"),
        (["a", "a"], "not unique"),
        (["b", "a"], "not sorted"),
        (["a", "\U0001f600", "\uffee"], "not sorted"),  # the order of UTF-16, not of UTF-8
        (["a", "a/b"], "both a file and a directory: a$"),
        (["a", "a-b", "a.c", "a/b"], "both a file and a directory: a$"),
        (["x/a", "x/a-b/c", "x/a/b/c"], "both a file and a directory: x/a$"),
    ],
)
def test_paths_that_exclude_one_another_are_refused(paths: list[str], reason: str) -> None:
    refuse(encode(manifest_of([describe(path, b"") for path in paths])), reason)


def test_paths_in_the_order_of_utf8_are_accepted() -> None:
    paths = ["a", "a b", "a-b/c", "a.b", "aa", "b/c", "b/d", "\uffee", "\U0001f600"]
    verify.decode(encode(manifest_of([describe(path, b"") for path in paths])))


def change(*keys: Any, to: object) -> Callable[[dict[str, Any]], None]:
    def apply(manifest: Any) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (change("version", to=2), "version"),
        (change("version", to=True), "version of the manifest"),
        (change("media_type", to="text/plain"), "media type"),
        (change("totals", "size", to=3), "totals"),
        (change("totals", "files", to=3), "totals"),
        (change("totals", "files", to=2.0), "files of totals"),
        (change("totals", "more", to=1), "totals has to have the keys"),
        (change("content_digest", to=b"\0" * 32), "content digest"),
        (change("content_digest", to=b"\0" * 31), "content_digest of the manifest"),
        (change("content_digest", to="sha256:00"), "content_digest of the manifest"),
        (change("more", to=None), "the manifest has to have the keys"),
        (change("files", to={}), "files of the manifest"),
        (change("totals", to=[]), "totals of the manifest"),
        (change("files", 0, to=[]), "a file has to have the keys"),
        (change("files", 0, "more", to=1), "a file has to have the keys"),
        (change("files", 0, "size", to=-1), "size of a file"),
        (change("files", 0, "size", to=True), "size of a file"),
        (change("files", 0, "size", to=2), "totals"),
        (change("files", 0, "blake3", to=b""), "blake3 of a file"),
        (change("files", 0, "sha256", to=b"\0" * 33), "sha256 of a file"),
        (change("files", 0, "sha256", to=b"\0" * 32), "content digest"),
        (change("files", 0, "executable", to=0), "executable of a file"),
        (change("files", 0, "media_type", to=None), "media_type of a file"),
        (change("files", 0, "relative_path", to=b"a"), "relative_path of a file"),
        (change("package", "name", to=None), "name of the package"),
        (change("package", "metadata", to=[]), "metadata of the package"),
        (change("package", "metadata", to={"a": [b""]}), "bytes"),
        (change("package", "created_at", to="2026"), "created_at of the package"),
        (change("package", "created_at", to=False), "created_at of the package"),
        (change("package", "created_at", to=2**62), "time is out of range"),
        (change("package", "created_at", to=-(2**63)), "time is out of range"),
        (change("package", "package_id", to="1"), "package_id of the package"),
        (change("package", "store_id", to=str(uuid.UUID(int=5)).upper() + "\n"), "store_id of the package"),
        (change("package", "metadata_schema", to=1), "metadata_schema of the package"),
        (change("package", "more", to=1), "the package has to have the keys"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_the_format_is_refused(
    edit: Callable[[dict[str, Any]], None], reason: str
) -> None:
    manifest = small_manifest()
    edit(manifest)
    refuse(encode(manifest), reason)


# -------------------------------------------------------------------------------- independent readers

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), json_values, max_size=5), st.text(), st.none() | st.text())
def test_it_reads_what_cbor2_writes_and_the_library_reads(
    metadata: dict[str, Any], subject: str, schema: str | None
) -> None:
    files = [describe("a", b"a", executable=True), describe("b/c", b"")]
    manifest = manifest_of(files, metadata=metadata, subject=subject, metadata_schema=schema)
    data = encode(manifest)
    decoded = verify.decode(data)
    assert decoded == projection(manifest)
    assert decoded == artifactstore.manifest.decode(data).to_json()


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """One to four places of the bytes overwritten, cut out, doubled, or filled with other bytes."""
    heads = st.sampled_from([bytes([byte]) for byte in range(256)])
    cut = st.tuples(
        st.integers(0, len(data)), st.integers(0, 40), heads | st.binary(max_size=12), st.booleans()
    )

    def mutate(cuts: list[tuple[int, int, bytes, bool]]) -> bytes:
        mutated = data
        for start, length, filling, doubled in cuts:
            piece = mutated[start : start + length]
            mutated = mutated[:start] + (piece * 2 if doubled else filling) + mutated[start + length :]
        return mutated

    return st.lists(cut, min_size=1, max_size=4).map(mutate)


RICH = encode(
    manifest_of(
        [describe(path, path.encode()) for path in ("a", "b-\\c", "d/ü", "d/\U0001f600")],
        metadata={"a": [1, -500, 2.5, 1e300], "b": {"c": None, "d": [[], {}]}, "e" * 30: "text" * 10},
    )
)


@settings(deadline=None, max_examples=300)
@given(mutations(RICH) | st.binary(max_size=200))
def test_no_bytes_crash_it_and_what_it_accepts_is_canonical(data: bytes) -> None:
    try:
        verify.decode(data)
    except verify.ManifestError:
        return
    assert encode(cbor2.loads(data)) == data
    artifactstore.manifest.decode(data)


def test_it_needs_nothing_but_the_standard_library_of_python_38() -> None:
    source = (AUDIT / "verify.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
