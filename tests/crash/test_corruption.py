"""Whatever goes bad on the disk is noticed, the right thing is named, and nothing else is accused.

A row is a part of the store and a way to damage it. What changes nothing that anybody can read, such as a bit
in a page that belongs to nothing, is no damage: then every row of every table is as it was.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import pytest
from lifecycle.harness import SECOND, Life

from artifactstore import BackendError, IntegrityError, StateError
from artifactstore.digest import object_key
from artifactstore.objects.local import MARKER
from artifactstore.schema import VIEW_KEYS
from crash import damage
from crash.damage import FRAME, PAGE, WAL_HEAD, WAYS, Case
from crash.specimen import Specimen, at_rest, die_at_work, each_restored, killed

if TYPE_CHECKING:
    from pathlib import Path

    from crash.report import Drill
    from crash.specimen import Outcome

pytestmark = pytest.mark.slow

SAMPLE = 25  # cases of each row
MOST = 1000  # cases of each row in a full run
REFUSALS = (IntegrityError, BackendError, StateError)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    """A store at rest."""
    return at_rest(tmp_path_factory.mktemp("corruption"))


@pytest.fixture(scope="module")
def live(whole: Specimen, tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    """A store with a live write-ahead log."""
    return killed(whole, tmp_path_factory.mktemp("corruption-killed") / "store")


def violation(case: Case, outcome: Outcome) -> str | None:
    """What is wrong with what became of a damage; None if nothing is."""
    lines = str(outcome.refused) if outcome.refused else "; ".join(outcome.findings)
    if outcome.refused is not None:
        clear = isinstance(outcome.refused, REFUSALS) and outcome.refused.message.isprintable()
        named = not case.told or any(part in lines for part in case.told)
        return None if clear and named and "refused" in case.parts else f"{case.name}: refused: {lines}"
    if not lines.isprintable():
        return f"{case.name}: {lines!a}"
    if not outcome.detected:
        return None if outcome.same and "nothing" in case.parts else f"{case.name}: not detected"
    if not outcome.parts <= case.parts:
        return f"{case.name}: accuses what is whole: {lines}"
    missing = [part for part in case.told if part not in lines]
    return f"{case.name}: does not name {missing}: {lines}" if missing else None


def run(
    drill: Drill, name: str, specimen: Specimen, cases: list[Case], concerned: frozenset[str] | None = None
) -> None:
    """Do each damage, look at the store, and mend it; all that is wrong is told at the end.

    Args:
        concerned: if given, each object, manifest and package that is accused is one of these.
    """
    most = cases if len(cases) <= MOST else drill.random.sample(cases, MOST)
    chosen = drill.sample(most, SAMPLE)
    outcomes = zip(chosen, each_restored(specimen, [case.damage for case in chosen]), strict=True)
    done = [(case, outcome) for case, outcome in outcomes if outcome is not None]
    wrong = [what for what in (violation(case, outcome) for case, outcome in done) if what]
    for case, outcome in done if concerned is not None else ():
        accused = [line for line in outcome.findings if not line.startswith("log: ")]
        wrong += [
            f"{case.name}: {line}" for line in accused if not any(name in line for name in concerned or ())
        ]
    drill.count(f"corruption: {name}", tried=len(chosen), fired=len(done), violations=len(wrong))
    harmless = sum(outcome.same for _, outcome in done)
    if harmless:
        drill.count(f"corruption: {name}, of no effect", tried=harmless, fired=harmless)
    assert wrong == [], "\n".join(wrong)


# Objects and manifests


def object_names(specimen: Specimen) -> dict[Path, tuple[str, ...]]:
    """All objects that are needed: the line of each, and the packages that need it."""
    rows = specimen.query(
        "SELECT hex(l.blake3), l.backend_id, group_concat(DISTINCT hex(p.package_id))"
        " FROM storage_locations l JOIN artifact_packages p ON p.sequence = l.package_sequence"
        " WHERE l.state = 'stored' GROUP BY 1, 2"
    )
    roots = {"local": specimen.home.objects, SECOND: specimen.root / SECOND}
    return {
        roots[str(backend)] / object_key(bytes.fromhex(str(blake3))): (
            f"objects: blake3:{str(blake3).lower()} in backend {backend}: ",
            *(str(uuid.UUID(package)) for package in str(packages).split(",")),
        )
        for blake3, backend, packages in rows
    }


def manifests(specimen: Specimen) -> set[Path]:
    """The manifests, in the backend where fsck decodes them."""
    rows = specimen.query("SELECT hex(manifest_blake3) FROM artifact_packages WHERE status = 'finalized'")
    return {specimen.home.objects / object_key(bytes.fromhex(str(row[0]))) for row in rows}


def files(specimen: Specimen, way: str, told: dict[Path, tuple[str, ...]], *parts: str) -> list[Case]:
    """Damage to each of some files; a swap is with each other one."""
    if way == "swap":
        cases = [
            damage.swap(one, other, told[one] + told[other])
            for one, other in combinations(sorted(told), 2)
            if specimen.files[one] != specimen.files[other]
        ]
    else:
        cases = damage.all_of(
            WAYS[way](path, specimen.files[path], 20, told[path])
            for path in sorted(told)
            if specimen.files[path] or way == "extend"
        )
    return [replace(case, parts=frozenset(parts)) for case in cases]


@pytest.mark.parametrize("way", [*WAYS, "swap"])
def test_objects(drill: Drill, whole: Specimen, way: str) -> None:
    names, other = object_names(whole), manifests(whole)
    told = {path: said for path, said in names.items() if path not in other}
    run(drill, "object", whole, files(whole, way, told, "objects"))


@pytest.mark.parametrize("way", [*WAYS, "swap"])
def test_manifests(drill: Drill, whole: Specimen, way: str) -> None:
    names, other = object_names(whole), manifests(whole)
    told = {path: (*said, f"manifests: package {said[1]}") for path, said in names.items() if path in other}
    run(drill, "manifest", whole, files(whole, way, told, "objects", "manifests"))


# Rows


@pytest.mark.parametrize("way", [*WAYS, "swap"])
def test_events(drill: Drill, whole: Specimen, way: str) -> None:
    def told(row: dict[str, object]) -> tuple[str, ...]:
        return (f"event {row['sequence']}",)

    cases = damage.row_cases(whole, "events", ["sequence"], told, unique=("event_id",))[way]
    # Without its first event a log is not that of a store, which is said when it is opened.
    parts = frozenset({"log", "database", "refused"})
    run(drill, "event row", whole, [replace(case, parts=parts) for case in cases])


@pytest.mark.parametrize("way", [*WAYS, "swap"])
def test_views(drill: Drill, whole: Specimen, way: str) -> None:
    cases: list[Case] = []
    for table, keys in VIEW_KEYS.items():
        key = keys.split(", ")

        def told(row: dict[str, object], table: str = table, key: list[str] = key) -> tuple[str, ...]:
            return (f"views: {table} {', '.join(f'{name} {shown(row[name])}' for name in key)}: ",)

        unique = {"artifact_packages": ("package_id",), "artifact_files": ("relative_path",)}.get(table, ())
        cases += damage.row_cases(whole, table, key, told, unique=unique)[way]
    run(drill, "view row", whole, [replace(case, parts=frozenset({"views"})) for case in cases])


def shown(value: object) -> str:
    """A key as fsck names it."""
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()
    return ascii(value)


# The bytes of the database


def page_parts(owner: str | None) -> set[str]:
    """What may be accused if a page is damaged, by the table or index that it belongs to."""
    if owner is None:
        return {"nothing", "database", "refused"}
    if owner in {"events", "sqlite_autoindex_events_1"}:
        return {"nothing", "database", "refused", "log"}
    # The schema says where every table begins.
    return {"nothing", "database", "refused", "views", *(["log"] if owner == "sqlite_schema" else [])}


def page_case(specimen: Specimen, name: str, data: bytes, *numbers: int) -> Case:
    """The database with other bytes, which differ in some pages only."""
    owners = specimen.owners
    parts = set().union(*(page_parts(owners.get(number + 1)) for number in numbers))
    return Case(name, damage.written(specimen.database, data), (), frozenset(parts))


def page_cases(specimen: Specimen, way: str) -> list[Case]:
    """Damage to single pages of the database, or to two of them."""
    data = specimen.files[specimen.database]
    count = len(data) // PAGE
    pages = {number: slice(number * PAGE, (number + 1) * PAGE) for number in range(count)}
    if way == "flip":
        # The header of the file bit by bit, and each page here and there.
        bits = [*range(100 * 8)]
        for number in pages:
            bits += sorted(
                random.Random(number).sample(range(number * PAGE * 8, (number + 1) * PAGE * 8), 100)
            )
        return [
            page_case(specimen, f"bit {bit}", damage.flipped(data, bit), bit // 8 // PAGE) for bit in bits
        ]
    if way == "swap":
        found = []
        for one, other in combinations(pages, 2):
            changed = bytearray(data)
            changed[pages[one]], changed[pages[other]] = data[pages[other]], data[pages[one]]
            found.append(page_case(specimen, f"pages {one} and {other} swapped", bytes(changed), one, other))
        return found
    fillings = {"zeros": bytes(PAGE), "ones": b"\xff" * PAGE, "noise": random.Random(7).randbytes(PAGE)}
    return [
        page_case(
            specimen,
            f"page {number} is {name}",
            data[: number * PAGE] + filling + data[(number + 1) * PAGE :],
            number,
        )
        for number in pages
        for name, filling in fillings.items()
    ]


@pytest.mark.parametrize("way", ["flip", "swap", "overwrite"])
def test_pages(drill: Drill, whole: Specimen, way: str) -> None:
    run(drill, "database page", whole, page_cases(whole, way))


@pytest.mark.parametrize("way", ["truncate", "extend", "delete"])
def test_the_database_file(drill: Drill, whole: Specimen, way: str) -> None:
    parts = {"refused", "database", "log", "views", "nothing"} if way != "extend" else {"nothing"}
    cases = WAYS[way](whole.database, whole.files[whole.database], 200)
    run(drill, "database file", whole, [replace(case, parts=frozenset(parts)) for case in cases])


# The write-ahead log of a process that died


@pytest.mark.parametrize("way", [*WAYS, "swap"])
def test_the_write_ahead_log(drill: Drill, whole: Specimen, live: Specimen, way: str) -> None:
    data = live.files[live.wal]
    if way == "swap":
        cases = list(damage.swap_blocks(live.wal, data, WAL_HEAD, FRAME))
    else:
        cases = list(WAYS[way](live.wal, data, 2000))
    first, last = len(whole.content["events"]), len(live.content["events"])
    assert first < last
    told = (f"log: event {last} was acknowledged, but the log ends at event ",)
    parts = frozenset({"nothing", "log", "objects", "manifests"})
    cases = [replace(case, told=told, parts=parts) for case in cases]
    run(drill, "write-ahead log", live, cases, concerned=live.named_after(first))


def test_the_write_ahead_log_of_another_store(drill: Drill, live: Specimen, tmp_path: Path) -> None:
    Life(tmp_path).store.close()
    die_at_work(tmp_path)
    other = Specimen(tmp_path).wal.read_bytes()
    parts = frozenset({"refused", "database", "log", "views", "objects", "manifests", "retention"})
    case = Case("the log of another store", damage.written(live.wal, other), (), parts)
    run(drill, "write-ahead log", live, [case])


@pytest.mark.parametrize("way", WAYS)
def test_what_belongs_to_no_data_may_go(drill: Drill, live: Specimen, way: str) -> None:
    """The index of the write-ahead log is made anew; half a note of what was acknowledged says nothing."""
    live.files.setdefault(live.beside("-shm"), bytes(32768))
    for path in (live.beside("-shm"), live.beside(".lock")):
        cases = [
            replace(case, parts=frozenset({"nothing"})) for case in WAYS[way](path, live.files[path], 20)
        ]
        for case, outcome in zip(cases, each_restored(live, [case.damage for case in cases]), strict=True):
            assert outcome is not None
            assert violation(case, outcome) is None


# The marker of a root


@pytest.mark.parametrize("way", [*WAYS, "swap"])
@pytest.mark.parametrize("place", ["local", SECOND])
def test_the_markers(drill: Drill, whole: Specimen, way: str, place: str) -> None:
    root = whole.home.objects if place == "local" else whole.root / SECOND
    path = root / MARKER
    if place == "local":
        told, parts = (str(root),), frozenset({"refused", "nothing"})
    else:
        told, parts = (f"objects: backend {SECOND}: ", str(root)), frozenset({"objects", "nothing"})
    if way == "swap":
        foreign = whole.files[path].replace(b"0", b"1")
        cases = [Case("the marker of another store", damage.written(path, foreign))]
    else:
        cases = list(WAYS[way](path, whole.files[path], 1000))
    cases = [replace(case, told=told, parts=parts) for case in cases]
    run(drill, "marker", whole, cases)
