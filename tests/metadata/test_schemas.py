"""Which schemas are taken, what they find, and that none of them can hang or look elsewhere."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from store.harness import refused

from artifactstore import InvalidInputError
from artifactstore.metadata.budget import Budget
from artifactstore.metadata.registration import DEPTH_MAX, check_schema
from artifactstore.metadata.validation import VIOLATIONS_MAX, violations

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT = {"path": "report/*.html", "media_type": "text/html"}


def chain(depth: int) -> dict[str, Any]:
    """A schema that doubles its work at each of so many steps."""
    parts: dict[str, Any] = {"d0": {"type": "object"}}
    for number in range(1, depth + 1):
        below = {"$ref": f"#/$defs/d{number - 1}"}
        parts[f"d{number}"] = {"allOf": [below, below]}
    return {"$ref": f"#/$defs/d{depth}", "$defs": parts}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


REFUSED: dict[str, tuple[Any, str]] = {
    "not an object": ([], "list"),
    "a remote reference": ({"$ref": "http://127.0.0.1/evil"}, "outside"),
    "a file": ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "/properties/a: $ref"),
    "a relative reference": ({"$id": "http://127.0.0.1/x", "$ref": "other"}, "outside"),
    "an id inside": ({"$defs": {"a": {"$id": "http://127.0.0.1/x"}}}, "$id"),
    "another dialect": ({"$schema": "http://json-schema.org/draft-07/schema#"}, "draft-07"),
    "a dialect that is no text": ({"$schema": 7}, "$schema is"),
    "a reference to nothing": ({"$ref": "#/$defs/a"}, "names no part"),
    "a reference into data": (
        {"const": {"a": {}}, "properties": {"a": {"$ref": "#/const/a"}}},
        "names no part",
    ),
    "a circle of one": ({"$ref": "#"}, "refers to itself"),
    "a circle of two": (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}},
        "itself",
    ),
    "dynamic references": ({"$dynamicRef": "#a"}, "$dynamicRef is not supported"),
    "what is left over": ({"unevaluatedProperties": False}, "not supported"),
    "a wrong type": ({"type": "objekt"}, "/type"),
    "a wrong shape": ({"properties": 5}, "/properties"),
    "a bad pattern": ({"properties": {"a": {"pattern": "(?=x)"}}}, "/properties/a"),
    "patterns that are large together": (
        {"patternProperties": {f"((a{{30}}){{30}}){{4}}{number}": {} for number in range(30)}},
        "of all patterns together",
    ),
    "a bad pattern of keys": ({"patternProperties": {"[": {}}}, "pattern"),
    "too deep": (nested(DEPTH_MAX + 1), "nested deeper"),
    "too large": ({"description": "x" * 70_000}, "bytes long"),
    "not finite": ({"minimum": float("inf")}, "not a JSON number"),
    "bytes": ({"const": b"x"}, "bytes"),
    "many odd names": ({"required": [{"a": number} for number in range(3000)]}, "/required/0"),
    "files are no list": ({"x-required-files": REPORT}, "a list"),
    "a file is no object": ({"x-required-files": ["*.html"]}, "/x-required-files/0"),
    "a file without a path": ({"x-required-files": [{"media_type": "text/html"}]}, "glob"),
    "a file with more": ({"x-required-files": [{**REPORT, "type": 1}]}, "'type'"),
    "no files": ({"x-required-files": [{**REPORT, "minimum": 0}]}, "positive"),
    "true files": ({"x-required-files": [{**REPORT, "minimum": True}]}, "positive"),
    "no media type": ({"x-required-files": [{"path": "a", "media_type": "html"}]}, "media type"),
    "an empty glob": ({"x-required-files": [{"path": "/"}]}, "glob"),
    "files of a part": ({"properties": {"a": {"x-required-files": []}}}, "at the top"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_schema_that_is_refused(name: str) -> None:
    schema, said = REFUSED[name]
    with refused(InvalidInputError, "schema-refused", said):
        check_schema(schema)


ACCEPTED: list[dict[str, Any]] = [
    {},
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/run",
        "type": "object",
    },
    {"properties": {"child": {"$ref": "#"}}},
    {"properties": {"a": {"$ref": "#name"}}, "$defs": {"a": {"$anchor": "name", "type": "integer"}}},
    {"properties": {"a": {"$ref": "#/$defs/a~1b"}}, "$defs": {"a/b": True}},
    {"properties": {"$ref": {"type": "string"}}, "default": {"$ref": "http://example.org/only/data"}},
    {
        "x-required-files": [
            REPORT,
            {"path": "**/*.png", "media_type": "image/*", "minimum": 2, "description": "screens"},
        ]
    },
    {"title": "anything", "x-ours": {"unevaluatedItems": 1}},
    nested(DEPTH_MAX - 1),
]


@pytest.mark.parametrize("number", range(len(ACCEPTED)))
def test_a_schema_that_is_taken(number: int) -> None:
    assert check_schema(ACCEPTED[number])[0] == ACCEPTED[number]


DOCUMENTS: list[Any] = [
    {}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "x"}, {"a": "xyz"}, {"a": []}, {"a": [1, 1.0]}, {"a": [1, True, "1"]},
    {"a": [{"b": 1}, {"b": 1.0}]}, {"a": [{"b": 1}, {"b": 2}]}, {"a": None}, {"a": {"b": 2}}, {"a": -3}, {"a": 7.5},
    {"b": 1}, {"a": 1, "b": 2}, {"ab": 1}, {"a": [1, 2, 3, 4]}, {"a": ["x", 5]}, {"a": {"a": {"a": 1}}},
]  # fmt: skip
RULES: list[dict[str, Any]] = [
    {"type": "integer"}, {"type": ["string", "null"]}, {"const": 1}, {"const": [1, 1]}, {"const": {"b": 2.0}}, {"enum": [1, "x", None]},
    {"enum": [[1, True, "1"], False]}, {"minimum": 1, "maximum": 5}, {"exclusiveMinimum": 1}, {"exclusiveMaximum": 1},
    {"multipleOf": 2.5}, {"minLength": 2}, {"maxLength": 1}, {"pattern": "^x.?"}, {"uniqueItems": True}, {"minItems": 1},
    {"maxItems": 2}, {"contains": {"type": "string"}}, {"contains": {"type": "integer"}, "minContains": 2, "maxContains": 3},
    {"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, {"items": False}, {"required": ["b"]},
    {"additionalProperties": False}, {"properties": {"b": {"const": 2}}, "additionalProperties": False},
    {"patternProperties": {"^b": {"type": "integer"}}, "additionalProperties": {"type": "object"}},
    {"propertyNames": {"maxLength": 1}}, {"minProperties": 1, "maxProperties": 1}, {"dependentRequired": {"a": ["b"]}},
    {"dependentSchemas": {"a": {"required": ["b"]}}}, {"not": {"type": "array"}}, {"anyOf": [{"minimum": 2}, {"type": "string"}]},
    {"oneOf": [{"minimum": 2}, {"multipleOf": 2}]}, {"allOf": [{"minimum": 0}, {"maximum": 2}]},
    {"if": {"type": "integer"}, "then": {"minimum": 0}, "else": {"type": "string"}}, {"format": "date-time"}, False, True,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(RULES)))
def test_documents_are_judged_as_by_jsonschema(number: int) -> None:
    for schema in (
        {"properties": {"a": RULES[number]}},
        {"$ref": "#/$defs/r", "$defs": {"r": RULES[number]}},
    ):
        body, _ = check_schema(schema)
        for document in DOCUMENTS:
            expected = Draft202012Validator(schema).is_valid(document)
            assert (violations(body, document, "it") == ()) == expected, (schema, document)


def test_a_violation_says_where_what_and_why() -> None:
    schema: dict[str, Any] = {
        "properties": {
            "counts": {"properties": {"a/b": {"minimum": 0}}},
            "verdict": {"enum": ["passed", "failed"]},
        },
        "required": ["run_id"],
        "additionalProperties": False,
    }
    found = violations(schema, {"counts": {"a/b": -1}, "verdict": "perhaps", "more": 1}, "it")
    assert [(each.pointer, each.value, each.rule, each.expected) for each in found[1:]] == [
        ("/counts/a~1b", "-1", "/properties/counts/properties/a~1b/minimum", "0"),
        (
            "/more",
            '{"counts": {"a/b": -1}, "verdict": "perhaps", "more": 1}',
            "/additionalProperties",
            "false",
        ),
        ("/verdict", '"perhaps"', "/properties/verdict/enum", '["passed", "failed"]'),
    ]
    assert (found[0].pointer, found[0].rule) == ("", "/required")
    assert "run_id" in str(found[0])


def test_of_alternatives_the_closest_is_told() -> None:
    schema = {"anyOf": [{"type": "string"}, {"properties": {"a": {"properties": {"b": {"const": 1}}}}}]}
    (found,) = violations(schema, {"a": {"b": 2}}, "it")
    assert "closest: /a/b" in found.message


def test_no_more_is_told_than_can_be_read() -> None:
    found = violations(
        {"additionalProperties": {"type": "integer"}}, {f"k{n}": "x\n" * 500 for n in range(500)}, "it"
    )
    assert len(found) == VIOLATIONS_MAX
    assert all(len(str(each)) < 1000 and str(each).isprintable() for each in found)


def boxed(depth: int) -> list[Any]:
    """A list in a list in a list."""
    box: list[Any] = []
    for _ in range(depth):
        box = [box]
    return box


def each_of(count: int, rule: dict[str, Any]) -> dict[str, Any]:
    """A schema that holds the member `a` against a rule so many times."""
    return {"allOf": [{"properties": {"a": rule}}] * count}


CPU_MAX = 8.0  # seconds for what takes one at most: a busy machine counts the waits for its memory, too
BOMBS: dict[str, tuple[dict[str, Any], Any]] = {
    "different ones among deep values": (each_of(20, {"uniqueItems": True}), {"a": [boxed(55)] * 800}),
    "a deep value among others": (each_of(20, {"enum": [1]}), {"a": [boxed(55)] * 800}),
    "a deep value that is none": (each_of(20, {"const": 1}), {"a": [boxed(55)] * 800}),
    "different ones among long keys": (each_of(400, {"uniqueItems": True}), {"a": [{"k" * 900_000: 1}]}),
    "entries that may be anything": (each_of(300, {"items": True}), {"a": [0] * 30_000}),
    "entries of no rule": (each_of(20, {"items": {}}), {"a": [0] * 30_000}),
    "names of no rule": (
        {"allOf": [{"propertyNames": {"title": "a"}}] * 20},
        {str(n): 0 for n in range(30_000)},
    ),
    "many rules that say nothing": (
        {"properties": {"a": {"items": {"allOf": [{}] * 500}}}},
        {"a": [0] * 500},
    ),
    "patterns longer than their texts": (
        {"patternProperties": {f"(a{{300}}){{3}}{n}": {} for n in range(50)}},
        {str(n): 0 for n in range(9000)},
    ),
    "a pattern over much text": ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 900_000 + "!"}),
    "doubling": (chain(25), {}),
    "alternatives with long messages": (
        {"anyOf": [{"minProperties": 10**6 + n} for n in range(500)]},
        {str(n): "x" * 100 for n in range(8000)},
    ),
    "many patterns for many keys": (
        {"patternProperties": {f"^(x|y)*{n}$": {} for n in range(500)}},
        {"xy" * 20 + str(n): 1 for n in range(2000)},
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    schema, document = BOMBS[name]
    body, _ = check_schema(schema)
    before = time.thread_time()
    with refused(InvalidInputError, "schema-too-complex", "too much work"):
        violations(body, document, "the metadata")
    assert time.thread_time() - before < CPU_MAX


@pytest.mark.parametrize("place", ["by a reference", "in a part"])
def test_a_part_that_names_its_dialect_is_bounded_as_all_others(place: str) -> None:
    dialect = "https://json-schema.org/draft/2020-12/schema"
    rules: dict[str, Any] = {"digit": {"pattern": r"^\d$"}, "text": {"pattern": "^(a+)+$"}}
    body, _ = check_schema(
        {"$schema": dialect, "properties": {**rules, "child": {"$ref": "#"}}}
        if place == "by a reference"
        else {"properties": {"child": {"$schema": dialect, "properties": rules}}}
    )
    # A digit of another script is one to Python's patterns alone, which a text can keep busy without end.
    assert len(violations(body, {"child": {"digit": "\u0661"}}, "it")) == 1
    with refused(InvalidInputError, "schema-too-complex", "too much work"):
        violations(body, {"child": {"text": "a" * 900_000 + "!"}}, "it")


def test_a_value_that_nothing_allows_is_not_repeated() -> None:
    body, _ = check_schema({"properties": {"a": {"anyOf": [False] * 200}}})
    tracemalloc.start()
    try:
        (found,) = violations(body, {"a": "x" * 900_000}, "it")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert found.pointer == "/a"


@pytest.mark.parametrize("keyword", ["anyOf", "allOf"])
def test_a_schema_of_many_small_parts_is_refused_within_its_bounds(keyword: str) -> None:
    before = time.thread_time()
    with refused(InvalidInputError, "schema-too-complex", "the schema takes too much work"):
        check_schema({keyword: [keyword == "allOf"] * 60_000})
    assert time.thread_time() - before < CPU_MAX


def test_a_schema_can_be_a_bomb_itself() -> None:
    with refused(InvalidInputError, "schema-refused", "more than 2000"):
        check_schema({"$defs": {f"d{n}": {"not": {"not": {"not": {}}}} for n in range(2500)}})


def test_much_work_that_is_honest_is_done() -> None:
    schema: dict[str, Any] = {
        "properties": {"a": {"items": {"enum": [str(n) for n in range(5000)]}, "uniqueItems": True}}
    }
    assert violations(schema, {"a": [str(n) for n in range(4000)]}, "it") == ()
    deep: dict[str, Any] = {}
    for _ in range(60):
        deep = {"child": deep}
    assert violations({"properties": {"child": {"$ref": "#"}}, "type": "object"}, deep, "it") == ()


def test_a_budget_is_spent_once() -> None:
    budget = Budget("it", steps=3)
    budget.spend(3)
    with refused(InvalidInputError, "schema-too-complex", "it takes"):
        budget.spend(1)


@contextlib.contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port, and who has connected to it."""
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    seen.append(server.accept())

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], seen
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_nothing_is_fetched() -> None:
    with listener() as (port, seen):
        address = f"http://127.0.0.1:{port}/x"
        for schema in ({"$ref": address}, {"$id": address, "$ref": "y"}, {"$schema": address}):
            with pytest.raises(InvalidInputError):
                check_schema(schema)
        # Also a schema that came into a store without these checks is not followed.
        with pytest.raises(Exception, match="127"):
            violations({"$ref": address}, {}, "it")
        body, _ = check_schema(
            {"$id": address, "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "null"}}}
        )
        assert len(violations(body, {"a": 1}, "it")) == 1
    assert seen == []
