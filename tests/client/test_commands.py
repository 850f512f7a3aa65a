"""A command says the same of a store, whether it opens it or asks a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cli.harness import Answer, answer_of
from store.harness import EXECUTABLE, SAID, TREE, Home, read_tree, write_tree

from client.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

    from client.serving import Served

FILLED = {"name": "nightly", "metadata": {"run": {"id": 7}, "note": "\u00fc\t\u2713"}}


def local(home: Home, *arguments: str) -> Answer:
    return answer_of(["--database", str(home.database), "--root", str(home.objects), *arguments])


def remote(served: Served, *arguments: str) -> Answer:
    return answer_of([*served.flags(), *arguments])


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` and no variables of whoever runs the tests."""
    for name in ("ARTIFACTSTORE_API_URL", "ARTIFACTSTORE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def package(served: Served, tree: Path) -> str:
    """A package of `tree`, with a neighbour, an open one, and a hold."""
    store = served.store
    found = store.push(tree, **{**SAID, **FILLED}).package.package_id
    store.apply_hold(found, reason="case", actor="ada", authority="court", case_id="1")
    (tree / "more.txt").write_bytes(b"more")
    store.push(tree, **{**SAID, "name": "second"})
    store.create_package(**{**SAID, "name": "open"})
    return found


READS = [
    ["list"],
    ["list", "--json"],
    ["list", "--jsonl"],
    ["list", "--limit", "1", "--json"],
    ["list", "--all", "--json"],
    ["list", "--metadata", "run.id=7"],
    ["list", "--metadata", "run.id=8"],
    ["list", "--producer", "ci", "--subject", "app", "--status", "finalized", "--name", "second"],
    ["list", "--created-after", "2020-01-01", "--created-before", "2099-01-01T00:00:00Z"],
    ["list", "--created-before", "2020-01-01"],
    ["list", "--cursor", "nonsense"],
    ["list", "--limit", "0"],
    ["list", "--limit", "1001"],
    ["show", "ID"],
    ["show", "ID", "--json"],
    ["show", "ID", "--tree"],
    ["show", "PREFIX"],
    ["show", "01"],
    ["show", ".."],
    ["show", "x/y"],
    ["show", "00000000-0000-7000-8000-000000000000"],
    ["files", "ID"],
    ["files", "ID", "--json"],
    ["files", "ID", "--jsonl"],
    ["cat", "ID", "README.md"],
    ["cat", "ID", "empty.log"],
    ["cat", "ID", "r\u00e9sultats/donn\u00e9es.json"],
    ["cat", "ID", "missing"],
    ["cat", "ID", "../etc/passwd"],
    ["manifest", "ID"],
    ["manifest", "ID", "--format", "cbor"],
    ["manifest", "ID", "-o", "-"],
    ["export", "ID", "-o", "-"],
    ["export", "ID", "-o", "-", "--bare"],
    ["find", "DIGEST"],
    ["find", "DIGEST", "--json"],
    ["find", "blake3:00"],
    ["find", "nonsense"],
    ["events"],
    ["events", "--json"],
    ["events", "--after", "7", "--limit", "3"],
    ["retention", "explain", "ID"],
    ["retention", "explain", "ID", "--json"],
    ["retention", "history", "ID"],
    ["retention", "history", "ID", "--json"],
    ["retention", "history", "ID", "--jsonl"],
    ["health"],
]


@pytest.mark.parametrize("command", READS, ids=" ".join)
@pytest.mark.parametrize("errors", [[], ["--json"]], ids=["", "errors in JSON"])
def test_reads(served: Served, home: Home, package: str, command: list[str], errors: list[str]) -> None:
    if errors and ("--jsonl" in command or "--tree" in command or command[0] in {"cat", "health"}):
        errors = []
    if errors and ("cbor" in command or "-" in command):
        errors = []
    digest = str(served.store.get_file(package, "README.md").digest)
    words = {"ID": package, "PREFIX": package[:35], "DIGEST": digest}
    arguments = [words.get(word, word) for word in command]
    arguments += [flag for flag in errors if flag not in arguments]
    assert remote(served, *arguments) == local(home, *arguments)


def test_push(served: Served, home: Home, tree: Path) -> None:
    said = ["--producer", "ci", "--subject", "app", "--actor", "ada", "--metadata", "a=b"]
    first = remote(served, "push", str(tree), *said, "--json")
    assert first.code == 0, first
    answer = json.loads(first.stdout)
    assert answer["ingest"]["new_object_count"] == len(set(TREE.values()))
    local_answer = json.loads(local(home, "push", str(tree), *said, "--json").stdout)
    assert local_answer["ingest"]["new_object_count"] == 0
    for name in (
        "content_digest",
        "file_count",
        "total_size",
        "created_by",
        "finalized_by",
        "metadata",
        "name",
    ):
        assert answer["package"][name] == local_answer["package"][name]
    again = remote(served, "push", str(tree), *said, "--if-changed", "--json")
    assert json.loads(again.stdout)["package"] == local_answer["package"]
    bare = remote(served, "push", str(tree), *said)
    assert bare.stdout.decode().strip() in {each.package_id for each in served.store.list_packages().items}


def test_export(served: Served, home: Home, package: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert remote(served, "export", package, str(there)) == local(home, "export", package, str(here))
    assert read_tree(there) == read_tree(here)
    assert (there / EXECUTABLE).stat().st_mode == (here / EXECUTABLE).stat().st_mode
    assert remote(served, "export", package, "-o", "a.tar").code == 0
    assert local(home, "export", package, "-o", "b.tar").code == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    refused = remote(served, "export", package, str(there))
    assert refused == local(home, "export", package, str(there))
    assert refused.code == 5


def test_step_by_step(served: Served, home: Home, tmp_path: Path) -> None:
    said = ["--producer", "ci", "--subject", "app", "--actor", "ada"]
    made = remote(served, "package", "create", "--name", "n", *said).stdout.decode().strip()
    source = write_tree(tmp_path / "more", {"a.txt": b"a", "b/c.txt": b"c"})
    added = remote(served, "package", "add", made, "x.txt", str(source / "a.txt"), "--actor", "ada", "--json")
    assert json.loads(added.stdout) == json.loads(local(home, "files", made, "--json").stdout)[0]
    assert remote(served, "package", "add", made, "--directory", str(source), "--actor", "ada").text == "2\n"
    sealed = remote(served, "package", "finalize", made, "--actor", "ada")
    assert sealed.text.strip() == str(served.store.get_package(made).manifest_digest)
    again = remote(served, "package", "finalize", made, "--actor", "ada")
    assert again == local(home, "package", "finalize", made, "--actor", "ada")
    assert again.code == 5


def test_retention(served: Served, home: Home, package: str) -> None:
    extended = remote(
        served, "retention", "extend", package, "--by", "30d", "--reason", "r", "--actor", "ada"
    )
    expires = json.loads(local(home, "show", package, "--json").stdout)["expires_at"]
    assert extended.text.strip() == expires
    until = remote(served, "retention", "extend", package, "--until", "2020-01-01", "--actor", "ada")
    assert until == local(home, "retention", "extend", package, "--until", "2020-01-01", "--actor", "ada")
    assert until.code == 2
    held = remote(
        served, "retention", "hold", package, "--reason", "r", "--case", "2", "--actor", "ada", "--json"
    )
    hold = json.loads(held.stdout)
    assert (hold["reason"], hold["case_id"], hold["applied_by"]) == ("r", "2", "ada")
    released = remote(
        served,
        "retention",
        "release",
        package,
        hold["hold_id"],
        "--reason",
        "over",
        "--actor",
        "ada",
        "--json",
    )
    assert json.loads(released.stdout)["release_reason"] == "over"
    again = ["retention", "release", package, hold["hold_id"], "--reason", "over", "--actor", "ada"]
    assert remote(served, *again) == local(home, *again)
    assert remote(served, "retention", "extend", package, "--forever", "--actor", "ada").text == "never\n"


def test_sweep_and_gc(served: Served, home: Home, package: str) -> None:
    """Where nothing is left to do, both say the same; what they do, the doors of the lifecycle show."""
    for command in (
        ["sweep", "--actor", "ada"],
        ["sweep", "--actor", "ada", "--json"],
        ["sweep", "--actor", "ada", "--jsonl", "--abandoned-after", "1d", "--mark-abandoned"],
        ["sweep", "--actor", "ada", "--abandoned-after", "soon"],
        ["gc", "--dry-run"],
        ["gc", "--dry-run", "--json"],
        ["gc", "--plan", "missing"],
        ["gc", "--yes", "--actor", "ada"],
        ["gc", "--yes", "--actor", "ada", "--json"],
    ):
        assert remote(served, "retention", *command) == local(home, "retention", *command)


def test_a_degraded_store_is_not_well(served: Served, home: Home, package: str) -> None:
    for path in home.object_paths():
        path.chmod(0o600)
        path.write_bytes(b"damage")
    served.store.verify(actor="ada")
    answer = remote(served, "health")
    assert answer == local(home, "health")
    assert answer.code == 1


def test_damage_is_found_on_the_way(served: Served, home: Home, package: str, tmp_path: Path) -> None:
    digest = served.store.get_file(package, "README.md").digest.hex
    (path,) = (path for path in home.object_paths() if path.name == digest)
    path.chmod(0o600)
    path.write_bytes(b"# Evidenc\xe9\n"[: len(TREE["README.md"])])
    assert remote(served, "cat", package, "README.md").code == 3
    assert remote(served, "export", package, str(tmp_path / "out")).code == 3
    assert not (tmp_path / "out").exists()


def test_commands_over_tls(
    home: Home, tree: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authorities of the system are trusted, which SSL_CERT_FILE adds to, and nobody else."""
    with home.open() as store, serving(store, certificate) as served:
        said = ["push", str(tree), "--producer", "ci", "--subject", "app", "--actor", "ada"]
        refused = remote(served, *said)
        assert refused.code == 6
        assert "does not prove who it is" in refused.stderr
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        pushed = remote(served, *said)
        assert pushed.code == 0, pushed
        assert remote(served, "show", pushed.text.strip(), "--json") == local(
            home, "show", pushed.text.strip(), "--json"
        )
        assert len(store.list_packages().items) == 1
