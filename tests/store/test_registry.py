"""The async face: the names and the arguments of `Store`, streams from the event loop, and its end."""

from __future__ import annotations

import asyncio
import inspect
import io
import threading
from typing import TYPE_CHECKING

import pytest

from artifactstore import InvalidInputError, StateError, Store
from artifactstore.registry import Registry
from store.harness import LARGE, SAID, TREE, incompressible, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from store.harness import Home, Snapshot

OPENING = {"open", "close"}  # the class method that makes a store, and what `dispose` does
BLOCKING = {"on_progress"}  # would be called in another thread, where an event loop's objects may not be used
GUIDE = {"ingest_file": {"source": "stream"}}  # the operator guide's names


def public_methods(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isroutine)
        if not name.startswith("_")
    }


STORE = {name: found for name, found in public_methods(Store).items() if name not in OPENING}
REGISTRY = public_methods(Registry)


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[start : start + size]


def test_every_call_of_the_store_has_its_async_twin() -> None:
    assert set(REGISTRY) == {*STORE, "dispose"}
    assert all(inspect.iscoroutinefunction(getattr(Registry, name)) for name in REGISTRY)


@pytest.mark.parametrize("name", sorted(STORE))
def test_the_twin_takes_the_same_arguments(name: str) -> None:
    renamed = GUIDE.get(name, {})
    expected = {
        renamed.get(parameter.name, parameter.name): parameter.default
        for parameter in STORE[name].parameters.values()
        if parameter.name not in BLOCKING
    }
    assert {parameter.name: parameter.default for parameter in REGISTRY[name].parameters.values()} == expected
    if name not in {"ingest_file", "open_file"}:
        assert REGISTRY[name].return_annotation == STORE[name].return_annotation


@pytest.mark.parametrize("size", [0, 11, LARGE - 1, 2 * LARGE + 4097])
def test_a_stream_from_the_event_loop_becomes_a_file(store: Store, size: int) -> None:
    data = incompressible(size)

    async def main() -> bytes:
        registry = Registry(store)
        package = await registry.create_package(**SAID)
        file = await registry.ingest_file(
            package, relative_path="a.bin", stream=chunks(data, 100_000), actor="ada"
        )
        assert file.size == size
        return await registry.read_file(package, "a.bin")

    assert asyncio.run(main()) == data


def test_every_call_works_from_an_event_loop(store: Store, tree: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with Registry(store) as registry:
            assert registry.store is store
            result = await registry.push(tree, **SAID)
            package = result.package.package_id
            assert (await registry.get_package(package)).file_count == len(TREE)
            assert (await registry.list_packages()).items == (result.package,)
            assert len((await registry.list_files(package)).items) == len(TREE)
            file = await registry.get_file(package, "README.md")
            assert (await registry.find_object(str(file.digest)))[0].file == file
            with await registry.open_file(package, "README.md") as stream:
                assert stream.read() == TREE["README.md"]
            assert (await registry.get_manifest(package)).total_size == result.package.total_size
            assert (await registry.get_manifest_bytes(package, format="json")).startswith(b"{")
            assert (await registry.export_package(package, tmp_path / "out")).file_count == len(TREE)
            tar = io.BytesIO()
            assert (await registry.export_tar(package, tar)).file_count == len(TREE)
            assert tar.getvalue()
            assert (await registry.events(after=6))[0].type == "v1.package.created"
            assert (await registry.replay(check=True)).identical
            assert (await registry.health()).status == "ok"
            opened = await registry.create_package(**SAID)
            assert (await registry.ingest_directory(opened, tree, actor="ada")).file_count == len(TREE)
            await registry.finalize_package(opened, actor="ada")

    asyncio.run(main())
    with refused(StateError, "closed"):
        store.list_packages()


def test_the_event_loop_stays_free_while_a_call_works(store: Store) -> None:
    async def main() -> None:
        registry = Registry(store)
        package = await registry.create_package(**SAID)
        wanted = asyncio.Event()

        async def waiting() -> AsyncIterator[bytes]:
            # Comes to its end only if the loop goes on meanwhile.
            yield b"first"
            wanted.set()
            await released.wait()
            yield b"last"

        released = asyncio.Event()
        ingest = asyncio.create_task(
            registry.ingest_file(package, relative_path="a", stream=waiting(), actor="ada")
        )
        await wanted.wait()
        assert (await registry.get_package(package)).file_count == 0
        released.set()
        assert (await ingest).size == len(b"firstlast")

    asyncio.run(main())


def test_calls_run_side_by_side(home: Home, store: Store) -> None:
    async def main() -> None:
        registry = Registry(store)
        packages = await asyncio.gather(*(registry.create_package(**SAID) for _ in range(20)))
        assert len(set(packages)) == 20
        files = await asyncio.gather(
            *(
                registry.ingest_file(
                    package, relative_path="a", stream=chunks(package.encode(), 5), actor="ada"
                )
                for package in packages
            )
        )
        assert {file.package_id for file in files} == set(packages)
        assert (await registry.replay(check=True)).identical

    asyncio.run(main())
    assert home.staged() == []


def test_no_call_blocks_the_thread_of_the_loop(store: Store) -> None:
    loop_thread = threading.get_ident()
    seen = []

    class Source(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            seen.append(threading.get_ident())
            return super().read(size)

    async def main() -> None:
        registry = Registry(store)
        package = await registry.create_package(**SAID)
        await registry.ingest_file(package, relative_path="a", stream=Source(b"abc"), actor="ada")

    asyncio.run(main())
    assert seen
    assert loop_thread not in seen


def test_a_stream_that_fails_fails_the_call(home: Home, store: Store) -> None:
    class OwnError(Exception):
        pass

    async def failing() -> AsyncIterator[bytes]:
        yield b"first"
        raise OwnError

    async def main() -> None:
        registry = Registry(store)
        package = await registry.create_package(**SAID)
        with home.unchanged(), pytest.raises(OwnError):
            await registry.ingest_file(package, relative_path="a", stream=failing(), actor="ada")
        with home.unchanged(), refused(InvalidInputError, "invalid-relative-path", "'../a'"):
            await registry.ingest_file(package, relative_path="../a", stream=chunks(b"x", 1), actor="ada")

    asyncio.run(main())


def test_a_cancelled_call_leaves_nothing_when_the_loop_ends(home: Home, store: Store) -> None:
    async def main() -> None:
        registry = Registry(store)
        package = await registry.create_package(**SAID)
        before.append(home.snapshot())
        started = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield b"first"
            started.set()
            await asyncio.Event().wait()

        ingest = asyncio.create_task(
            registry.ingest_file(package, relative_path="a", stream=endless(), actor="ada")
        )
        await started.wait()
        ingest.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ingest

    before: list[Snapshot] = []
    asyncio.run(main())
    assert [home.snapshot()] == before
    assert home.staged() == []
