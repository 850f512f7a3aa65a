"""What a store keeps is for its owner alone, whatever the umask is; what is taken out follows the umask."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest
from cli.harness import answer_of
from store.harness import LARGE, SAID, FakeClock, Home, incompressible, write_tree

from artifactstore import Store
from artifactstore.database import Database
from artifactstore.rebuild import migrate
from artifactstore.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400_000_000  # microseconds


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each of them in turn."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(root: Path) -> dict[str, int]:
    """The permission bits of everything below a root, and of the root."""
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in (root, *root.rglob("*"))
    }


def assert_private(root: Path) -> None:
    """Assert that nobody but its owner can do anything with what lies there."""
    found = modes(root)
    for name, mode in found.items():
        folder = (root / name).is_dir()
        assert mode == (0o700 if folder else 0o400 if "blake3/" in name else 0o600), (name, oct(mode))
    assert any("blake3/" in name for name in found)


def test_all_that_a_store_keeps_is_private(umask: int, tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"small": b"s", "large": incompressible(LARGE + 1), "b/c": b"c"})
    home = Home(tmp_path / "new" / "folder" / "home")
    clock = FakeClock()
    said = {**SAID, "retention_class": "transient"}
    with Store.open(
        home.database, home.objects, further={"second": home.root / "second"}, clock=clock
    ) as store:
        staged: list[dict[str, int]] = []
        package = store.push(
            tree, **said, on_progress=lambda _progress: staged.append(modes(home.objects / "tmp"))
        ).package.package_id
        assert len(staged[0]) > 2
        for name, mode in staged[0].items():
            assert mode == (0o400 if name[-1].isdigit() and name.count("/") else 0o700), name
        store.copy(source="local", target="second", actor="ada")
        path = home.objects / store.get_file(package, "small").digest.hex
        path = next(home.objects.rglob(path.name))
        path.chmod(0o600)
        path.write_bytes(b"S")
        path.chmod(0o400)
        store.verify(actor="scrub")
        store.repair(actor="ada")
        assert len(list((home.objects / "damaged").iterdir())) == 1
        clock.now += 2 * DAY
        store.sweep(actor="cron")
        store.push(tree, **SAID)
        store.gc(actor="cron")
        # While it is open there are a log, shared memory and a lock beside the database, and what was seen.
        assert len(list(home.root.glob("artifactstore.db*"))) == 5
        for root in (home.root, home.objects, home.root / "second"):
            assert modes(root)["."] == 0o700
        (kept,) = (home.objects / "damaged").iterdir()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o400
        kept.unlink()
        assert_private(home.root)
    assert modes(tmp_path / "new")["folder"] == 0o700
    home.tamper(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    database = Database(str(home.database))
    backup = migrate(database, clock).backup
    database.close()
    assert backup is not None
    assert_private(home.root)


def test_what_is_taken_out_is_as_the_umask_says(umask: int, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    tree = write_tree(tmp_path / "tree", {"file": b"f", "run": b"#!"}, executable="run")
    with home.open() as store:
        package = store.push(tree, **SAID).package.package_id
    places = ["--database", str(home.database), "--root", str(home.objects)]
    for command in (
        ["export", package, str(tmp_path / "out" / "directory")],
        ["export", package, "-o", str(tmp_path / "out" / "tar")],
        ["manifest", package, "-o", str(tmp_path / "out" / "manifest")],
        ["retention", "gc", "--plan-out", str(tmp_path / "out" / "plan")],
    ):
        assert answer_of([*places, *command]).code == 0
    for name, mode in modes(tmp_path / "out").items():
        executable = (tmp_path / "out" / name).is_dir() or name.endswith(("run", ".py"))
        assert mode == (0o777 if executable else 0o666) & ~umask, (name, oct(mode))


def test_no_bit_of_a_source_but_that_of_execution_is_kept(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree", {"setuid": b"#!", "linked": b"bytes"})
    (tree / "setuid").chmod(0o6755)
    os.link(tree / "linked", tmp_path / "outside")
    home = Home(tmp_path / "home")
    with home.open() as store:
        package = store.push(tree, **SAID).package.package_id
        store.export_package(package, tmp_path / "out", bare=True)
        assert store.get_file(package, "setuid").executable
    assert_private(home.objects)
    assert all(path.stat().st_nlink == 1 for path in home.object_paths())
    assert not (tmp_path / "out" / "setuid").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    # Neither the object nor the export is the file that somebody still writes to.
    (tmp_path / "outside").write_bytes(b"other")
    assert (tmp_path / "out" / "linked").read_bytes() == b"bytes"
