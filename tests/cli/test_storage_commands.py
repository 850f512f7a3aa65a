"""`storage verify`, `repair`, `copy`, `orphans`, and `fsck`: what they print, ask and refuse."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest
from store.harness import TREE, Home, unprivileged

from artifactstore.cli.quantities import parse_share, parse_size
from artifactstore.digest import digest_pair, object_key
from artifactstore.errors import InvalidInputError
from cli.harness import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from cli.harness import Program

DATA = TREE["README.md"]
NAME = f"blake3:{digest_pair(DATA).blake3.hex()}"
OBJECT_COUNT = len(set(TREE.values())) + 1  # with the manifest


def stored(program: Program, data: bytes = DATA, root: str = "storage") -> Path:
    """Where the object of some bytes is."""
    return program.directory / root / object_key(digest_pair(data).blake3)


def damage(path: Path) -> None:
    """Flip the first byte of an object; its size stays."""
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    path.chmod(0o400)


@pytest.fixture
def second(program: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a further backend `off-site`."""
    root = program.directory / "second"
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_URL_OFF_SITE", root.as_uri())
    return root


# Verify


def test_a_verify_of_whole_objects(program: Program, pushed: str) -> None:
    answer = program.call("storage", "verify")
    assert answer.stdout == b""
    assert answer.stderr.startswith(f"{OBJECT_COUNT} objects read, ")
    assert answer.stderr.endswith(": 0 damaged\n")
    document = program.call("storage", "verify", "--json").document
    assert document["object_count"] == OBJECT_COUNT
    assert document["location_count"] == len(TREE) + 1
    assert document["complete"] is True
    assert document["failures"] == []
    assert program.call("storage", "verify", "-q", "--package", pushed).stderr == ""


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (["--max-bytes", "1"], 1),
        (["--max-bytes", "1GiB", "--max-time", "1h"], OBJECT_COUNT),
        (["--older-than", "30d"], OBJECT_COUNT),  # none was ever read
        (["--sample", "100%"], OBJECT_COUNT),
        (["--shard", "1/1"], OBJECT_COUNT),
        (["--failed-only"], 0),
        (["--backend", "local"], OBJECT_COUNT),
    ],
)
def test_budgets(program: Program, pushed: str, flags: list[str], count: int) -> None:
    assert pushed
    document = program.call("storage", "verify", "--json", *flags).document
    assert (
        (document["object_count"] == count) if count != 1 else (1 <= document["object_count"] < OBJECT_COUNT)
    )
    assert document["complete"] is (count != 1)


def test_what_was_read_lately_is_not_read_again(program: Program, pushed: str) -> None:
    assert pushed
    program.call("storage", "verify")
    assert program.call("storage", "verify", "--older-than", "30d", "--json").document["object_count"] == 0


def test_damage_is_listed_with_the_packages_that_it_hurts(program: Program, pushed: str, tree: Path) -> None:
    other = program.call(
        "push", str(tree), "--producer", "ci", "--subject", "app", "--name", "again"
    ).text.strip()
    held = program.call("retention", "hold", other, "--reason", "dispute").text.strip()
    damage(stored(program))
    answer = program.call("storage", "verify", code=3)
    assert answer.rows == [
        ["damaged", NAME, "local", "digest differs", pushed, "evidence", ""],
        ["damaged", NAME, "local", "digest differs", other, "again", held],
    ]
    assert "1 damaged" in answer.stderr
    document = program.call("storage", "verify", "--failed-only", "--json", code=3).document
    assert document["object_count"] == 1
    assert document["failures"] == [
        {
            "blake3": NAME,
            "backend_id": "local",
            "reason": "digest differs",
            "packages": [
                {"package_id": pushed, "name": "evidence", "holds": []},
                {"package_id": other, "name": "again", "holds": [held]},
            ],
        }
    ]
    health = program.call("health", code=1).document
    assert "damaged objects in backend local: 1" in health["backend"]["reasons"][0]
    assert "1 location;" in program.call("show", pushed).text
    assert "damaged" in program.seen("storage", "verify", code=3)


def test_each_kind_of_damage_has_its_reason(program: Program, pushed: str) -> None:
    assert pushed
    stored(program).unlink()
    truncated = stored(program, TREE["bin/run.sh"])
    truncated.chmod(0o600)
    truncated.write_bytes(b"#")
    stored(program, TREE["logs/a.log"]).chmod(0)
    damage(stored(program, TREE["logs-old/c.log"]))
    with unprivileged():
        rows = program.call("storage", "verify", code=3).rows
    assert sorted(row[3] for row in rows) == ["digest differs", "missing", "unreadable", "wrong size"]


def test_an_unknown_backend_is_refused(program: Program, pushed: str) -> None:
    assert pushed
    with Home(program.directory).unchanged():
        for command in (
            ["verify", "--backend", "tape"],
            ["repair", "--backend", "tape"],
            ["copy", "--from", "local", "--to", "tape"],
            ["copy", "--from", "tape", "--to", "local"],
        ):
            error = program.call("storage", *command, code=2).stderr
            assert "unknown backend 'tape'" in error
            assert "hint: one of local" in error
        assert "itself" in program.call("storage", "copy", "--from", "local", "--to", "local", code=2).stderr


def test_a_verify_shows_how_far_it_is(program: Program, pushed: str) -> None:
    assert pushed
    seen = program.seen("storage", "verify")
    assert "1 object  " in seen
    assert "objects read" in seen


# Repair and copy


def test_a_copy_heals_what_is_damaged(program: Program, pushed: str, second: Path) -> None:
    document = program.call("storage", "copy", "--from", "local", "--to", "off-site", "--json").document
    assert document["location_count"] == len(TREE) + 1
    assert document["object_count"] == OBJECT_COUNT
    rows = dict(program.call("storage", "copy", "--from", "local", "--to", "off-site").rows)
    assert rows == {"location_count": "0", "object_count": "0", "size": "0"}
    assert program.call("storage", "verify", "--backend", "off-site").code == 0
    damage(stored(program))
    program.call("storage", "verify", code=3)
    assert program.call("cat", pushed, "README.md").stdout == DATA
    assert program.call("storage", "repair").rows == [
        ["healed", NAME, "local", "backend off-site", "", "", ""]
    ]
    assert program.call("storage", "verify").code == 0
    assert program.call("fsck", "--read").lines == []
    assert second.is_dir()


def test_a_copy_lists_what_is_damaged_and_copies_the_rest(
    program: Program, pushed: str, second: Path
) -> None:
    damage(stored(program))
    answer = program.call("storage", "copy", "--from", "local", "--to", "off-site", code=3)
    assert ["object_count", str(OBJECT_COUNT - 1)] in answer.rows
    (row,) = [row for row in answer.rows if row[0] == "damaged"]
    assert row[1:5] == [NAME, "local", "digest differs", pushed]
    document = program.call(
        "storage", "copy", "--from", "local", "--to", "off-site", "--json", code=3
    ).document
    (failure,) = document["failures"]
    assert (failure["blake3"], failure["reason"]) == (NAME, "digest differs")
    assert [package["package_id"] for package in failure["packages"]] == [pushed]
    assert document["location_count"] == 0
    assert second.is_dir()


@pytest.mark.parametrize(
    ("flags", "copied"),
    [
        (["--producer", "ci"], True),
        (["--producer", "cd"], False),
        (["--retention-class", "transient"], False),
        (["--retention-class", "raw-evidence"], True),
    ],
)
def test_a_copy_of_some_packages(
    program: Program, pushed: str, second: Path, flags: list[str], copied: bool
) -> None:
    rows = dict(program.call("storage", "copy", "--from", "local", "--to", "off-site", *flags).rows)
    assert (rows["object_count"] != "0") is copied
    copy = ["storage", "copy", "--from", "local", "--to", "off-site", "--package", pushed]
    assert (dict(program.call(*copy).rows)["object_count"] == "0") is copied
    assert (second / object_key(digest_pair(DATA).blake3)).is_file()


def test_a_directory_heals_what_is_damaged(program: Program, pushed: str, tree: Path) -> None:
    assert pushed
    damage(stored(program))
    program.call("storage", "verify", code=3)
    document = program.call("storage", "repair", "--from", str(tree), "--json").document
    assert document == {
        "healed": [{"blake3": NAME, "backend_id": "local", "origin": "directory"}],
        "unhealed": [],
    }
    assert stored(program).read_bytes() == DATA
    assert program.call("storage", "repair").lines == []


def test_what_cannot_be_healed_is_listed(program: Program, pushed: str, tmp_path: Path) -> None:
    held = program.call("retention", "hold", pushed, "--reason", "dispute").text.strip()
    damage(stored(program))
    program.call("storage", "verify", code=3)
    without = tmp_path / "without"
    without.mkdir()
    (without / "README.md").write_bytes(b"#" * len(DATA))
    with Home(program.directory).unchanged():
        answer = program.call("storage", "repair", "--from", str(without), code=3)
        assert answer.rows == [["unhealed", NAME, "local", "digest differs", pushed, "evidence", held]]
        document = program.call("storage", "repair", "--json", code=3).document
        assert document["healed"] == []
        assert document["unhealed"][0]["packages"] == [
            {"package_id": pushed, "name": "evidence", "holds": [held]}
        ]
        missing = program.call("storage", "repair", "--from", str(tmp_path / "none"), code=2)
        assert "cannot read the directory" in missing.stderr


# Further backends


def test_health_looks_at_further_backends(program: Program, pushed: str, second: Path) -> None:
    program.call("storage", "copy", "--from", "local", "--to", "off-site")
    assert program.call("health").document["status"] == "ok"
    damage(second / object_key(digest_pair(DATA).blake3))
    program.call("storage", "verify", "--backend", "off-site", code=3)
    document = program.call("health", code=1).document
    assert "damaged objects in backend off-site: 1" in document["backend"]["reasons"][0]
    second.rename(second.with_name("away"))
    assert any("second" in reason for reason in program.call("health", code=1).document["backend"]["reasons"])
    assert pushed


def test_a_backend_that_is_not_configured_is_told(
    program: Program, expired: str, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.call("storage", "copy", "--from", "local", "--to", "off-site")
    monkeypatch.delenv("ARTIFACTSTORE_STORAGE_URL_OFF_SITE")
    assert program.call("health").document["warnings"] == [
        "backend off-site holds objects and is not configured"
    ]
    ((part, what),) = program.call("fsck", code=3).rows
    assert (part, what) == ("objects", f"backend off-site is not configured; objects in it: {OBJECT_COUNT}")
    program.call("retention", "sweep")
    answer = program.call("retention", "gc", "--yes")
    assert dict(answer.rows)["removed_count"] == str(OBJECT_COUNT)
    assert answer.stderr.startswith(f"{OBJECT_COUNT} objects not removed: the backend is not there")
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_URL_OFF_SITE", second.as_uri())
    answer = program.call("retention", "gc", "--yes")
    assert (dict(answer.rows)["removed_count"], answer.stderr) == (str(OBJECT_COUNT), "")


def test_config_shows_further_backends(program: Program, second: Path) -> None:
    rows = {row[0]: row[1:] for row in program.call("config").rows}
    assert rows["ARTIFACTSTORE_STORAGE_URL_OFF_SITE"] == [second.as_uri(), "environment"]


def test_two_backends_never_share_a_directory(
    program: Program, pushed: str, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second.symlink_to(program.directory / "storage")
    with Home(program.directory).unchanged():
        assert "the same directory" in program.call("list", code=2).stderr
    second.unlink()
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_URL_THIRD", second.as_uri())
    assert "the same directory" in program.call("list", code=2).stderr
    assert pushed


def test_a_url_with_a_password_is_refused_and_not_shown(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_URL_CLOUD", "s3://key:hunter2@bucket/x")
    for command in (["list"], ["config"], ["-vv", "health"]):
        error = program.call(*command, code=2).stderr
        assert "this version has no backend for s3: URLs" in error
        assert "ARTIFACTSTORE_STORAGE_URL_CLOUD (environment)" in error
        assert "hunter2" not in error


# Orphans


def orphaned(program: Program, data: bytes = b"left over") -> Path:
    """An object of last week that no location names."""
    path = stored(program, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    moment = time.time() - 7 * 86_400
    os.utime(path, (moment, moment))
    return path


def test_orphans_are_found_and_deleted_after_a_time(program: Program, pushed: str) -> None:
    assert pushed
    path = orphaned(program)
    digest = f"blake3:{path.name}"
    with Home(program.directory).unchanged():
        assert program.call("storage", "orphans").rows == [["orphan", digest, "local", "9 B", "", "", ""]]
        young = program.call("storage", "orphans", "--older-than", "30d")
        assert young.rows == []
        assert "1 too young to judge" in young.stderr
        assert "hint: say --yes\n" in program.spawn("storage", "orphans", "--delete", code=2).stderr
    document = program.call("storage", "orphans", "--delete", "--yes", "--json").document
    assert document["orphans"] == [
        {"blake3": digest, "backend_id": "local", "size": 9, "pending": False, "deleted": True}
    ]
    assert document["missing"] == []
    assert not path.exists()
    assert program.call("storage", "orphans").lines == []
    assert program.call("events").text.count("v1.storage.object_deleted") == 1


def test_a_person_is_asked_before_orphans_go(program: Program, pushed: str) -> None:
    assert pushed
    path = orphaned(program)
    for text, code in (("n\n", 1), ("yes\n", 0)):
        with program.on_terminal("storage", "orphans", "--delete") as terminal:
            terminal.read_until("go on? [y/N] ")
            assert path.exists()
            terminal.type(text)
            terminal.read_all()
            assert terminal.process.wait(PATIENCE) == code
        assert "about to delete 1 object that no location names, 9 B, and 0 dead" in terminal.text
        assert path.exists() is (code == 1)
    with program.on_terminal("storage", "orphans", "--delete") as terminal:
        assert "0 orphans" in terminal.read_all()
        assert terminal.process.wait(PATIENCE) == 0
    assert "go on?" not in terminal.text


def test_a_location_without_an_object_is_a_finding(program: Program, pushed: str) -> None:
    stored(program).unlink()
    answer = program.call("storage", "orphans", code=3)
    assert answer.rows == [["missing", NAME, "local", "missing", pushed, "evidence", ""]]
    document = program.call("storage", "orphans", "--json", code=3).document
    assert document["missing"][0]["packages"][0]["name"] == "evidence"


# Fsck


def test_fsck_of_a_whole_store(program: Program, pushed: str) -> None:
    assert pushed
    with Home(program.directory).unchanged():
        answer = program.call("fsck", "--read")
        assert answer.stdout == b""
        assert answer.stderr.startswith("clean: ")
        document = program.call("fsck", "--json").document
    assert document["clean"] is True
    assert document["findings"] == []
    assert document["package_count"] == 1
    assert document["location_count"] == len(TREE) + 1


def test_fsck_finds_what_does_not_agree(program: Program, pushed: str) -> None:
    assert pushed
    damage(stored(program))
    assert program.call("fsck").lines == []  # the size is right, and nobody has read it
    assert program.call("fsck", "--read", code=3).rows == [
        ["objects", f"{NAME} in backend local: digest differs; needed by package {pushed}"]
    ]
    stored(program).unlink()
    Home(program.directory).tamper("UPDATE artifact_packages SET name = 'forged'")
    answer = program.call("fsck", code=3)
    assert answer.rows == [
        ["views", "artifact_packages sequence 7: name not as in the log"],
        ["objects", f"{NAME} in backend local: missing; needed by package {pushed}"],
    ]
    assert "`artifactstore replay`" in answer.stderr
    document = program.call("fsck", "--json", code=3).document
    assert document["clean"] is False
    assert [finding["part"] for finding in document["findings"]] == ["views", "objects"]


def test_fsck_of_an_altered_log_ends_with_3(program: Program, pushed: str) -> None:
    assert pushed
    home = Home(program.directory)
    with contextlib.closing(home.connect()) as connection:
        guard = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'events_refuse_update'").get
    home.tamper(
        "DROP TRIGGER events_refuse_update",
        "UPDATE events SET actor = 'somebody else' WHERE sequence = 3",
        guard,
    )
    assert program.call("fsck", code=3).rows == [["log", "event 3 does not have its leaf hash"]]
    assert program.call("fsck", "--json", code=3).document["clean"] is False


# Sizes and shares


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("17B", 17),
        ("500MB", 500 * 10**6),
        ("10GiB", 10 << 30),
        ("10 gib", 10 << 30),
        ("4k", 4000),
        ("2TiB", 2 << 40),
        ("1EB", 10**18),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5GiB", "GiB", "1i", "10GiBs", "1e3", "\u0661", "9" * 30])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0.5%", 0.005), ("100%", 1), ("1", 1)]
)
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "0", "0%", "0.0", "-5%", "5", "101%", "%", "inf", "nan", "1e-3"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not a share"):
        parse_share(text)
