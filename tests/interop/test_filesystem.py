"""`artifact://` with fsspec's own tests for what reads, and with pandas."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests
from lifecycle.harness import flip
from store.harness import SAID, TREE, Home, incompressible, write_tree

from artifactstore import AccessError, IntegrityError, Store, StoreNotFoundError
from artifactstore.digest import object_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from artifactstore.interop.filesystem import ArtifactFileSystem
    from artifactstore.model import Package


class TestWhatFsspecDemandsOfReading(AbstractFixtures, AbstractGetTests):
    """fsspec's own tests; its scenarios are made in a directory and pushed, since nobody can write here."""

    @pytest.fixture
    def fs(self, home: Home) -> ArtifactFileSystem:
        home.open().close()
        return fsspec.filesystem("artifact", root=home.root)

    @pytest.fixture
    def fs_path(self) -> str:
        return ""

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False

    @pytest.fixture
    def pushed(self, home: Home, tmp_path: Path) -> Callable[[Callable[..., str]], str]:
        """Makes a scenario of fsspec in a directory, stores it, and says where it is now."""

        def push(scenario: Callable[..., str]) -> str:
            made = scenario(
                LocalFileSystem(auto_mkdir=True), lambda *parts: "/".join(parts), str(tmp_path / "s")
            )
            with home.open() as store:
                package = store.push(tmp_path / "s", **SAID).package.package_id
            return f"{package}/{Path(made).name}"

        return push

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, pushed: Any) -> str:
        return pushed(self._bulk_operations_scenario_0)

    @pytest.fixture
    def fs_glob_edge_cases_files(self, pushed: Any) -> str:
        return pushed(self._glob_edge_cases_files)

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, pushed: Any) -> str:
        return pushed(self._dir_and_file_with_same_name_prefix)

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, pushed: Any) -> str:
        return pushed(self._10_files_with_hashed_names)

    def test_get_directory_recursive(self, *, pushed: Any, fs: Any, local_target: str) -> None:
        """As fsspec's, which makes its source through the file system itself."""

        def one_file(local: Any, join: Any, path: str) -> str:
            local.touch(join(path, "src", "file"))
            return f"{path}/src"

        source, target = pushed(one_file), Path(local_target)
        for expected in ({"file"}, {"file", "src", "src/file"}):
            fs.get(source, local_target, recursive=True)
            assert {str(path.relative_to(target)) for path in target.rglob("*")} == expected


@pytest.fixture
def package(store: Store, tree: Path) -> Package:
    """A finalized package with the files of `TREE`."""
    return store.push(tree, **SAID).package


@pytest.fixture
def artifacts(home: Home, store: Store) -> ArtifactFileSystem:
    """The file system over the store of the test."""
    return fsspec.filesystem("artifact", root=home.root)


def test_every_file_is_read_under_its_url(home: Home, package: Package) -> None:
    for path, data in TREE.items():
        with fsspec.open(f"artifact://{package.package_id}/{path}", root=home.root) as stream:
            assert stream.read() == data
    with fsspec.open(f"artifact://{package.package_id[:18]}/README.md", "r", root=home.root) as text:
        assert text.read() == "# Evidence\n"


def test_the_environment_names_the_store(
    home: Home, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_DATABASE_URL", str(home.database))
    monkeypatch.setenv("ARTIFACTSTORE_STORAGE_LOCAL_ROOT", str(home.objects))
    with fsspec.open(f"artifact://{package.package_id}/logs/a.log") as stream:
        assert stream.read() == b"a line\n"


def test_folders_are_seen(artifacts: ArtifactFileSystem, package: Package) -> None:
    top = package.package_id
    assert artifacts.ls("artifact://", detail=False) == [top]
    assert sorted(artifacts.ls(top, detail=False)) == sorted(
        {f"{top}/{path.partition('/')[0]}" for path in TREE}
    )
    assert artifacts.ls(f"{top}/logs/", detail=False) == [f"{top}/logs/a.log", f"{top}/logs/b.log"]
    assert artifacts.find(top) == sorted(f"{top}/{path}" for path in TREE)
    assert artifacts.glob(f"{top}/**/*.log") == sorted(f"{top}/{p}" for p in TREE if p.endswith(".log"))
    assert artifacts.isdir(f"{top}/logs")
    assert artifacts.isdir(top)
    assert not artifacts.isdir(f"{top}/log")
    assert artifacts.isfile(f"{top}/bin/run.sh")
    assert artifacts.du(top) == package.total_size


def test_a_file_says_what_it_is(store: Store, artifacts: ArtifactFileSystem, package: Package) -> None:
    path = f"{package.package_id}/logs/a.log"
    file = store.get_file(package.package_id, "logs/a.log")
    assert artifacts.info(path) == {
        "name": path,
        "size": file.size,
        "type": "file",
        "media_type": "text/plain",
        "digest": str(file.digest),
        "sha256": str(file.sha256),
    }
    assert artifacts.ukey(path) == artifacts.ukey(f"{package.package_id}/logs/b.log") == str(file.digest)
    assert artifacts.created(path).timestamp() == package.created_at / 1_000_000
    assert artifacts.info(package.package_id)["status"] == "finalized"


def test_a_package_that_still_grows_is_seen_as_it_is(store: Store, artifacts: ArtifactFileSystem) -> None:
    package = store.create_package(**SAID)
    for name in ("a", "b"):
        store.ingest_file(package, name, b"1", actor="ada")
        assert artifacts.ls(package, detail=False)[-1] == f"{package}/{name}"


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (2, 5), (-4, None), (-4, -1), (3, None), (0, 99), (-99, 2)]
)
def test_ranges_are_those_of_slices(
    artifacts: ArtifactFileSystem, package: Package, start: int | None, end: int | None
) -> None:
    path = f"{package.package_id}/README.md"
    assert artifacts.cat_file(path, start=start, end=end) == TREE["README.md"][start:end]


def test_damage_is_noticed_when_a_file_is_read_whole_and_not_in_a_range(
    home: Home, store: Store, artifacts: ArtifactFileSystem
) -> None:
    data = incompressible(300_000)
    package = store.create_package(**SAID)
    file = store.ingest_file(package, "captures.bin", data, actor="ada")
    flip(home.objects / object_key(file.digest.value))
    with pytest.raises(IntegrityError):
        artifacts.cat_file(f"{package}/captures.bin")
    assert artifacts.cat_file(f"{package}/captures.bin", start=5, end=70_000) == data[5:70_000]


@pytest.mark.parametrize(
    "path", ["{}/nothing", "{}/logs/nothing", "{}/README.md/below", "ffff0000/a", "not an id/a", "{}/../a"]
)
def test_what_is_not_there_is_not_found(artifacts: ArtifactFileSystem, package: Package, path: str) -> None:
    path = path.format(package.package_id)
    for look in (artifacts.info, artifacts.ls, artifacts.cat_file, artifacts.open, artifacts.ukey):
        with pytest.raises(FileNotFoundError):
            look(path)
    assert not artifacts.exists(path)


def test_a_folder_is_not_opened(artifacts: ArtifactFileSystem, package: Package) -> None:
    with pytest.raises(IsADirectoryError):
        artifacts.open(package.package_id)
    with pytest.raises(IsADirectoryError):
        artifacts.open(f"{package.package_id}/logs")


def test_nothing_can_be_changed(
    home: Home, artifacts: ArtifactFileSystem, package: Package, tree: Path
) -> None:
    path = f"{package.package_id}/README.md"
    attempts: list[Callable[[], object]] = [
        lambda: artifacts.open(path, "wb"),
        lambda: artifacts.open(path, "ab"),
        lambda: artifacts.open(f"{package.package_id}/new", "xb"),
        lambda: artifacts.rm(path),
        lambda: artifacts.rm(package.package_id, recursive=True),
        lambda: artifacts.mv(path, f"{path}2"),
        lambda: artifacts.copy(path, f"{path}2"),
        lambda: artifacts.pipe(path, b"other"),
        lambda: artifacts.write_text(path, "other"),
        lambda: artifacts.touch(path),
        lambda: artifacts.mkdir(f"{package.package_id}/folder"),
        lambda: artifacts.makedirs(f"{package.package_id}/folder"),
        lambda: artifacts.rmdir(f"{package.package_id}/logs"),
        lambda: artifacts.put(str(tree / "README.md"), path),
    ]
    with home.unchanged():
        for attempt in attempts:
            with pytest.raises(AccessError, match="read-only"):
                attempt()


def test_a_store_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        fsspec.filesystem("artifact", root=tmp_path / "none").ls("")
    assert not (tmp_path / "none").exists()


def test_it_can_be_sent_to_another_process(artifacts: ArtifactFileSystem, package: Package) -> None:
    artifacts.ls("")
    again = pickle.loads(pickle.dumps(artifacts))  # noqa: S301 - our own
    assert again.cat_file(f"{package.package_id}/README.md") == TREE["README.md"]


def test_the_store_is_closed_with_its_last_user(home: Home, tree: Path) -> None:
    with home.open() as store:
        package = store.push(tree, **SAID).package

    def descriptors() -> list[str]:
        gc.collect()
        return [link for link in map(link_of, os.listdir("/proc/self/fd")) if link.startswith(str(home.root))]

    def link_of(descriptor: str) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # the one by which the folder was listed
            return ""

    assert descriptors() == []
    for _ in range(3):
        with fsspec.open(f"artifact://{package.package_id}/README.md", root=home.root) as stream:
            assert descriptors()
    del stream
    assert descriptors() == []


def test_pandas_reads_a_table_in_place(home: Home, store: Store, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    (tmp_path / "tables").mkdir()
    rows = "".join(f"{number},{number * number}\n" for number in range(20_000))
    (tmp_path / "tables/squares.csv").write_text(f"number,square\n{rows}")
    package = store.push(tmp_path / "tables", **SAID).package
    table = pandas.read_csv(
        f"artifact://{package.package_id}/squares.csv", storage_options={"root": str(home.root)}
    )
    assert list(table.columns) == ["number", "square"]
    assert int(table["square"].sum()) == sum(number * number for number in range(20_000))


def test_pyarrow_reads_a_table_in_place(store: Store, artifacts: ArtifactFileSystem, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    (tmp_path / "tables").mkdir()
    squares = pyarrow.table({"square": [number * number for number in range(20_000)]})
    parquet.write_table(squares, tmp_path / "tables/squares.parquet")
    package = store.push(tmp_path / "tables", **SAID).package
    path = f"{package.package_id}/squares.parquet"
    assert parquet.read_table(path, filesystem=PyFileSystem(FSSpecHandler(artifacts))).equals(squares)


def test_duckdb_reads_tables_in_place(store: Store, artifacts: ArtifactFileSystem, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    write_tree(tmp_path / "tables", {"a.csv": b"number\n1\n2\n", "b.csv": b"number\n3\n"})
    package = store.push(tmp_path / "tables", **SAID).package
    with duckdb.connect() as connection:
        connection.register_filesystem(artifacts)
        asked = f"SELECT sum(number) FROM read_csv('artifact://{package.package_id}/*.csv')"  # noqa: S608 - an id
        assert connection.sql(asked).fetchall() == [(6,)]
