"""docs/format.md against the code: each block of bytes, JSON, SQL and Python, and each table."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from artifactstore import codec, events, media_types, schema, views
from artifactstore.check import AUDIT_DIRECTORY, AUDIT_FILES
from artifactstore.digest import object_key
from artifactstore.lifecycle.gc_plan import PLAN_TYPE
from artifactstore.manifest import MEDIA_TYPE
from artifactstore.moment import MOMENT_MAX, MOMENT_MIN
from artifactstore.objects.local import MARKER, LocalBackend
from format import make_vectors, reference_cbor
from format.event_cases import example_log

DOCUMENT = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
EVENTS = make_vectors.event_vectors()
EXAMPLE = make_vectors.manifest_vectors()[0]
VECTORS: dict[str, Any] = {
    "cbor.json": {vector["name"]: vector for vector in make_vectors.cbor_vectors()["accepted"]},
    "manifest.json": {vector["name"]: vector for vector in make_vectors.manifest_vectors()},
    "events.json": {str(vector["sequence"]): vector for vector in EVENTS},
    "gc_plan.json": {vector["name"]: vector for vector in make_vectors.plan_vectors()},
}


def list_of_files(manifest: bytes) -> bytes:
    """The encoding of the files of a manifest."""
    value: Any = codec.decode(manifest)
    return reference_cbor.encode(value["files"])


@dataclass(frozen=True)
class Block:
    """A fenced block of the document: its language, what it shows, its lines."""

    language: str
    shows: str
    text: str

    def expected(self) -> Any:
        """The field of the golden vector that the block shows."""
        file, name, field = self.shows.split(": ")
        vector = VECTORS[file][name]
        return list_of_files(bytes.fromhex(vector["cbor"])).hex() if field == "files" else vector[field]


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", DOCUMENT, re.MULTILINE)]


def blocks(language: str) -> list[Block]:
    found = [block for block in BLOCKS if block.language == language]
    assert found
    return found


def section(title: str) -> str:
    """The part of the document below a heading, without the parts below other headings."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[1]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a part, as rows of cells, without their heads."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
        for table in found
    ]


def test_no_block_is_overlooked() -> None:
    assert DOCUMENT.count("\n```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"hex", "json", "python", "sql", "text"}


@pytest.mark.parametrize("block", blocks("hex"), ids=lambda block: block.shows)
def test_bytes_and_what_is_said_of_them(block: Block) -> None:
    lines = [line.partition("#") for line in block.text.splitlines()]
    shown = "".join(re.sub(r"\s", "", encoded) for encoded, _, _ in lines)
    assert shown == block.expected()
    if any(mark for _, mark, _ in lines):
        said = [(re.sub(r"\s", "", encoded), remark.strip()) for encoded, _, remark in lines]
        assert said == reference_cbor.annotate(bytes.fromhex(shown))


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.shows)
def test_json(block: Block, tmp_path: Path) -> None:
    if block.shows == "marker":
        store_id = uuid.UUID(json.loads(block.text)["store_id"])
        backend = LocalBackend(str(tmp_path / "root"))
        backend.attach(store_id, create=True)
        backend.close()
        assert (tmp_path / "root" / MARKER).read_text(encoding="utf-8") == block.text
    else:
        shown = json.dumps(json.loads(block.text), sort_keys=True)
        assert shown == json.dumps(block.expected(), sort_keys=True)


def test_sql() -> None:
    shown = [schema.statement_text(block.text) for block in blocks("sql")]
    expected = [*schema.EVENT_STATEMENTS, *schema.VIEW_STATEMENTS]
    assert sorted(shown) == sorted(map(schema.statement_text, expected))


def python() -> dict[str, Any]:
    """The functions of the document, with the second encoder as the one that they name."""
    namespace: dict[str, Any] = {"encode": reference_cbor.encode}
    for block in blocks("python"):
        exec(block.text, namespace)  # noqa: S102 - the page's own examples
    return namespace


def test_the_functions_of_the_document() -> None:
    functions = python()
    for vector in VECTORS["manifest.json"].values():
        data = bytes.fromhex(vector["cbor"])
        digest = functions["content_digest"](data, len(list_of_files(data)))
        assert f"sha256:{digest.hex()}" == vector["content_digest"]
    with contextlib.closing(example_log()) as connection:
        for *columns, leaf_hash in connection.execute("SELECT * FROM events"):
            assert functions["leaf_hash"](*columns) == leaf_hash
        views.rebuild(connection, connection)
        order = [(row[0].strip("`"), row[1].replace("`", "")) for row in tables(section("Fingerprint"))[0]]
        assert dict(order) == schema.VIEW_KEYS
        assert list(dict(order)) == sorted(schema.VIEW_KEYS)
        assert functions["fingerprint"](connection, order) == views.fingerprint(connection)


def test_every_digest_in_the_text_is_right() -> None:
    with contextlib.closing(example_log()) as connection:
        views.rebuild(connection, connection)
        fingerprint = views.fingerprint(connection)
    file = EXAMPLE["json"]["files"][0]
    key = object_key(bytes.fromhex(file["blake3"].removeprefix("blake3:")))
    (plan,) = VECTORS["gc_plan.json"].values()
    expected = [EXAMPLE["blake3"], EXAMPLE["sha256"], key, fingerprint, plan["sha256"]]
    assert (
        re.findall(r"^\S*[0-9a-f]{64}$", "".join(block.text for block in blocks("text")), re.MULTILINE)
        == expected
    )
    assert file["sha256"] == f"sha256:{hashlib.sha256(b'passed' + bytes([10])).hexdigest()}"
    assert file["blake3"] == f"blake3:{blake3(b'passed' + bytes([10])).hexdigest()}"


FITS = {
    "bytes(16)": lambda value: isinstance(value, bytes) and len(value) == 16,
    "bytes(32)": lambda value: isinstance(value, bytes) and len(value) == 32,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int,
    "unsigned": lambda value: type(value) is int and value >= 0,
    "list": lambda value: isinstance(value, list),
    "map": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
    "text": lambda value: isinstance(value, str),
}


def assert_described(value: Any, table: list[list[str]]) -> None:
    """Assert that a map has the keys of a table, in its order, with values of its types."""
    assert [f"`{key}`" for key in value] == [row[0] for row in table]
    for shown, (_, kinds, _) in zip(value.values(), table, strict=True):
        assert any(FITS[kind](shown) for kind in kinds.split(" or ")), (shown, kinds)


def test_the_tables_of_the_manifest() -> None:
    top, file, totals, package = tables(section("Manifest"))
    for vector in VECTORS["manifest.json"].values():
        manifest: Any = codec.decode(bytes.fromhex(vector["cbor"]))
        assert_described(manifest, top)
        assert_described(manifest["totals"], totals)
        assert_described(manifest["package"], package)
        for listed in manifest["files"]:
            assert_described(listed, file)
    assert MEDIA_TYPE in section("Manifest")


@pytest.mark.parametrize("number", range(len(EVENTS)))
def test_the_tables_of_the_events(number: int) -> None:
    vector = EVENTS[number]
    payload: Any = codec.decode(bytes.fromhex(vector["payload"]))
    idempotency = payload.pop("idempotency", None)
    assert_described(payload, tables(section(vector["type"]))[0])
    if idempotency is not None:
        assert_described(idempotency, tables(section("Idempotency"))[0])
    assert ("`package_id` is null" in section(vector["type"])) == (vector["package_id"] is None)


def test_the_tables_of_the_plan() -> None:
    top, package = tables(section("Plan of a gc"))
    for vector in VECTORS["gc_plan.json"].values():
        plan: Any = codec.decode(bytes.fromhex(vector["cbor"]))
        assert_described(plan, top)
        for planned in plan["packages"]:
            assert_described(planned, package)
    assert f"`{PLAN_TYPE}`" in section("Plan of a gc")


def test_every_type_of_event_is_described() -> None:
    described = re.findall(r"^#### (v1\..*)$", DOCUMENT, re.MULTILINE)
    constants = [
        value for value in vars(events).values() if isinstance(value, str) and value.startswith("v1.")
    ]
    assert described == constants
    assert f"at present {events.FORMAT}" in section(events.STORE_CREATED)


def test_the_numbers_of_the_database_file() -> None:
    application, version = tables(section("Event log"))[0]
    assert bytes.fromhex(application[2].split("`")[1]) == schema.APPLICATION_ID.to_bytes(4, "big") == b"ARTS"
    assert version[2].endswith(f"at present {schema.SCHEMA_VERSION}")


def test_the_table_of_media_types() -> None:
    listed = {
        row[0].strip("`"): " ".join(suffix.strip(" `.") for suffix in row[1].split(","))
        for row in tables(section("Media types"))[0]
    }
    assert listed == media_types._TYPES
    for media_type, suffixes in listed.items():
        for suffix in suffixes.split():
            for name in (f"a.{suffix}", f"d.txt/.{suffix}", f"a.b.{suffix.upper()}"):
                assert media_types.guess_media_type(name) == media_type
    for name in ("Makefile", "a.", "a.unknown", "a.json/b", ""):
        assert media_types.guess_media_type(name) == media_types.UNKNOWN
    assert f"`{media_types.UNKNOWN}`" in section("Media types")


def test_the_table_of_the_kit() -> None:
    assert [row[0].strip("`") for row in tables(section("Exports"))[0]] == list(AUDIT_FILES)
    assert f"`{AUDIT_DIRECTORY}`" in section("Exports")


def test_limits() -> None:
    times = " ".join(section("Identifiers, times, digests").split())
    assert f"from {MOMENT_MIN} to {MOMENT_MAX}." in times
    cbor = " ".join(section("Deterministic CBOR").split())
    assert f"at most {codec.MAX_DEPTH} levels" in cbor
    assert f"deeper than {codec.MAX_DEPTH + codec.ENVELOPE_DEPTH}." in cbor
