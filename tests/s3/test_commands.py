"""The operator guide's own way: settings, health, push by a route, verify, on the real Ceph RGW."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli.harness import Program
from store.harness import TREE

from artifactstore import SettingsError
from artifactstore.secret_values import read_secret
from artifactstore.setting_values import SecretRef
from s3.conftest import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3.places import Place, Server


@pytest.fixture
def ceph(start: Callable[[str], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    """A fresh place on Ceph, named by the settings of the environment."""
    made = place_of("ceph", start, monkeypatch, tmp_path)
    assert made.server is not None
    access, secret = made.server.keys
    (tmp_path / "secret").write_text(f"{secret}\n")
    (tmp_path / "secret").chmod(0o600)
    said = {
        **{
            name: made.server.exported[name]
            for name in (
                "ARTIFACTSTORE_S3_ENDPOINT_URL",
                "ARTIFACTSTORE_S3_REGION",
                "ARTIFACTSTORE_S3_BUCKET",
            )
        },
        "ARTIFACTSTORE_STORAGE_BACKENDS": "local,s3",
        "ARTIFACTSTORE_STORAGE_DEFAULT_BACKEND": "local",
        "ARTIFACTSTORE_STORAGE_BACKEND_ROUTES": "guide-board:release-evidence=s3,*:*=local",
        "ARTIFACTSTORE_S3_KEY_PREFIX": made.prefix,
        "ARTIFACTSTORE_S3_ACCESS_KEY_REF": "env:ARTIFACTSTORE_RGW_ACCESS_KEY",
        "ARTIFACTSTORE_RGW_ACCESS_KEY": access,
        "ARTIFACTSTORE_S3_SECRET_KEY_REF": f"file:{tmp_path / 'secret'}",
        "ARTIFACTSTORE_S3_STORAGE_CLASS": "STANDARD",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def push(program: Program, tree: Path, retention_class: str, name: str) -> str:
    said = ("--producer", "guide-board", "--subject", "rgw-smoke", "--retention-class", retention_class)
    return program.call("push", str(tree), *said, "--name", name, "--actor", "ada").text.strip()


def test_the_smoke_of_the_guide(ceph: Place, tmp_path: Path, tree: Path) -> None:
    program = Program(tmp_path / "store")
    program.call("init")
    assert program.call("health").document["status"] == "ok"
    released = push(program, tree, "release-evidence", "released")
    assert len(ceph.all_keys()) == 1 + len(set(TREE.values())) + 1
    assert not list((tmp_path / "store/storage").rglob("blake3"))
    push(program, tree, "raw-evidence", "raw")
    assert list((tmp_path / "store/storage").rglob("blake3"))
    answer = program.call("storage", "verify", "--backend", "s3", "--actor", "ada")
    assert f"{len(set(TREE.values())) + 1} objects read" in answer.stderr
    assert program.call("health", "--deep").document["status"] == "ok"
    assert program.call("cat", released, "README.md").stdout == TREE["README.md"]
    program.call("fsck")


def test_health_says_why_a_backend_is_away(
    ceph: Place, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(tmp_path / "store")
    push(program, tree, "release-evidence", "released")
    monkeypatch.setenv("ARTIFACTSTORE_RGW_ACCESS_KEY", "nobody")
    reasons = program.call("health", code=1).document["backend"]["reasons"]
    assert any("access key" in reason for reason in reasons)
    assert "access key" in program.call("storage", "verify", "--backend", "s3", code=6).stderr
    program.call("list")
    assert ceph.all_keys()


def test_a_prefix_is_taken_over_by_a_command(ceph: Place, tmp_path: Path, tree: Path) -> None:
    push(Program(tmp_path / "one"), tree, "release-evidence", "released")
    other = Program(tmp_path / "two")
    other.call("init")
    assert other.call("health", code=1)
    other.call("storage", "adopt", "--backend", "s3", "--yes")
    push(other, tree, "release-evidence", "released")
    assert other.call("health").document["status"] == "ok"
    assert ceph.all_keys()


def test_a_backend_in_memory_is_taken_with_a_warning(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_BACKENDS", "local,archive")
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_URL_ARCHIVE", "memory://archive")
    answer = Program(tmp_path / "store").call("push", str(tree), "--producer", "ci", "--subject", "app")
    assert "backend archive takes is in memory, and gone" in answer.stderr


def test_a_backend_by_url_takes_what_is_routed_to_it(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(tmp_path / "store")
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_BACKENDS", "local,archive")
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_URL_ARCHIVE", f"local://{tmp_path}/archive")
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_OPTIONS_ARCHIVE", '{"auto_mkdir": true}')
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_BACKEND_ROUTES", "*:release-evidence=archive")
    package = push(program, tree, "release-evidence", "released")
    assert (tmp_path / "archive/artifactstore.json").is_file()
    assert not list((tmp_path / "store/storage").rglob("blake3"))
    assert program.call("cat", package, "README.md").stdout == TREE["README.md"]
    shown = {row[0]: row[1] for row in program.call("config").rows}
    assert shown["ARTIFACTSTORE_STORAGE_OPTIONS_ARCHIVE"] == "***"
    program.call("fsck")


def test_s3_without_a_bucket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_BACKENDS", "local,s3")
    assert "no bucket" in Program(tmp_path / "store").call("init", code=2).stderr


def test_a_secret_is_read_from_where_the_reference_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "key"
    file.write_text("the-key\n")
    file.chmod(0o600)
    assert read_secret(SecretRef("file", str(file)), {}) == "the-key"
    assert read_secret(SecretRef("env", "KEY"), {"KEY": "other"}) == "other"
    assert caplog.messages == []
    file.chmod(0o644)
    assert read_secret(SecretRef("file", str(file)), {}) == "the-key"
    assert "chmod 600" in caplog.messages[0]
    assert "the-key" not in caplog.text
    # As Kubernetes mounts them: a link, of whose target all is asked.
    (tmp_path / "link").symlink_to(file)
    assert read_secret(SecretRef("file", str(tmp_path / "link")), {}) == "the-key"
    assert str(tmp_path / "link") in caplog.messages[1]


@pytest.mark.parametrize("what", ["missing", "folder", "fifo", "huge", "empty", "two lines", "unset", "link"])
def test_what_is_no_secret_is_refused(tmp_path: Path, what: str) -> None:
    import os

    path = tmp_path / "key"
    ref = SecretRef("file", str(path))
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "huge":
        path.write_bytes(b"x" * (65 << 10))
    elif what == "empty":
        path.write_bytes(b"\n")
    elif what == "two lines":
        path.write_text("hunter2\nhunter2")
    elif what == "link":
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    elif what == "unset":
        ref = SecretRef("env", "KEY")
    with pytest.raises(SettingsError) as caught:
        read_secret(ref, {})
    assert ref.name in caught.value.message
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint
