"""Which schemas may be registered: JSON Schema 2020-12 that stands for itself and costs bounded work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from artifactstore import codec
from artifactstore.errors import InvalidInputError
from artifactstore.metadata.patterns import Pattern
from artifactstore.metadata.required_files import REQUIRED_FILES, check_required_files
from artifactstore.metadata.validation import violations_of_schema
from artifactstore.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artifactstore.codec import Value

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_MAX = 1 << 16  # bytes, encoded
DEPTH_MAX = 32  # nested lists and maps
PARTS_MAX = 2000  # schemas in a schema
PATTERN_WORK_MAX = 100_000  # instructions that are written for all its patterns

# Where schemas stand in schemas; what stands elsewhere is data.
_ONE = (
    "items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else", "contentSchema"
)  # fmt: skip
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# Those that look at the same value again, so that a circle of them never ends.
_IN_PLACE = ("not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas")
_UNSUPPORTED = {
    "$dynamicRef": "use $ref",
    "$dynamicAnchor": "use $anchor",
    "$recursiveRef": "use $ref",
    "$recursiveAnchor": "use $anchor",
    "unevaluatedItems": "use items",
    "unevaluatedProperties": "use additionalProperties",
}


def check_schema(schema: Mapping[str, Value]) -> tuple[dict[str, Value], bytes]:
    """A schema as it is kept, and its encoding.

    Raises:
        InvalidInputError: it is not JSON Schema 2020-12, refers to something outside itself, or could cost
            more work than any honest schema does.
    """
    from collections.abc import Mapping as AnyMapping

    if not isinstance(schema, AnyMapping):
        raise _refused(f"a schema is a JSON object, not a {type(schema).__name__}")
    document = dict(schema)
    try:
        codec.check_encodable(document, where="schema", max_depth=DEPTH_MAX, allow_bytes=False)
    except InvalidInputError as error:
        raise _refused(error.message) from None
    encoded = codec.encode(document)
    if len(encoded) > SCHEMA_MAX:
        raise _refused(f"the schema is {len(encoded)} bytes long, {SCHEMA_MAX} are allowed")
    kept: Any = codec.decode_trusted(encoded)
    if kept.get("$schema", DIALECT) != DIALECT:
        raise _refused(f"$schema is {printable(str(kept['$schema']))}, not {DIALECT}")
    _check_vocabulary(kept)
    broken = violations_of_schema(kept, "the schema")
    if broken:
        raise _refused(f"it is not JSON Schema 2020-12: {'; '.join(map(str, broken[:3]))}")
    _check_circles(_check_parts(kept))
    check_required_files(kept)
    return kept, encoded


def _check_vocabulary(schema: Mapping[str, Any]) -> None:
    """Refuse by name what is not supported, before the rules for schemas are asked."""
    for number, (pointer, part) in enumerate(_parts(schema)):
        if number > PARTS_MAX:
            raise _refused(f"it consists of more than {PARTS_MAX} schemas")
        for keyword, hint in _UNSUPPORTED.items():
            if keyword in part:
                raise _refused(f"{pointer or '/'}: {keyword} is not supported", hint=hint)
        if pointer and "$id" in part:
            raise _refused(f"{pointer}: only the whole schema may have an $id")
        if pointer and REQUIRED_FILES in part:
            raise _refused(f"{pointer}: {REQUIRED_FILES} stands at the top of a schema")
        reference = part.get("$ref", "#")
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _refused(
                f"{pointer or '/'}: $ref {printable(str(reference))} is outside of the schema",
                hint="copy what it names into $defs, and refer to #/$defs/...",
            )


def _parts(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema that is an object, by its JSON pointer."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        pointer, part = waiting.pop()
        if isinstance(part, dict):
            yield pointer, part
            waiting.extend(
                (f"{pointer}/{step}", below) for step, below in _below(part, (*_ONE, *_LISTS, *_MAPS))
            )


def _below(part: dict[str, Any], keywords: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for keyword in keywords:
        value = part.get(keyword)
        if keyword in _ONE:
            yield keyword, value
        elif keyword in _LISTS and isinstance(value, list):
            yield from ((f"{keyword}/{number}", each) for number, each in enumerate(value))
        elif keyword in _MAPS and isinstance(value, dict):
            yield from ((f"{keyword}/{_escaped(name)}", each) for name, each in value.items())


def _check_parts(schema: dict[str, Any]) -> dict[str, list[str]]:
    """Check patterns and references, and tell which parts look at the same value as which other ones."""
    parts = dict(_parts(schema))
    anchors = {f"#{part['$anchor']}": pointer for pointer, part in parts.items() if "$anchor" in part}
    again: dict[str, list[str]] = {}
    work = 0
    for pointer, part in parts.items():
        for pattern in (
            *part.get("patternProperties", ()),
            *([part["pattern"]] if "pattern" in part else ()),
        ):
            try:
                work += Pattern(pattern).work
            except InvalidInputError as error:
                raise _refused(f"{pointer or '/'}: {error.message}") from None
            if work > PATTERN_WORK_MAX:
                raise _refused(f"{pointer or '/'}: the repetitions of all patterns together are too many")
        again[pointer] = [
            f"{pointer}/{step}" for step, below in _below(part, _IN_PLACE) if isinstance(below, dict)
        ]
        if "$ref" in part:
            named = part["$ref"]
            target = anchors.get(named, unquote(named[1:]))
            if target not in parts and not _is_boolean(schema, target):
                raise _refused(f"{pointer or '/'}: $ref {printable(named)} names no part of the schema")
            again[pointer].append(target)
    return again


def _is_boolean(schema: Any, pointer: str) -> bool:
    """Whether a pointer names a schema that is just true or false."""
    found = schema
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return isinstance(found, bool) and pointer.startswith(("/$defs/", "/definitions/"))


def _check_circles(again: dict[str, list[str]]) -> None:
    """Refuse a schema that refers to itself without going deeper into the document."""
    done: set[str] = set()
    for start in again:
        path: list[str] = []
        waiting: list[tuple[str, bool]] = [(start, False)]
        while waiting:
            pointer, left = waiting.pop()
            if left:
                path.pop()
                done.add(pointer)
            elif pointer in path:
                raise _refused(f"{pointer or '/'} refers to itself without looking deeper into the document")
            elif pointer not in done and pointer in again:
                path.append(pointer)
                waiting.append((pointer, True))
                waiting.extend((following, False) for following in again[pointer])


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _refused(rule: str, hint: str | None = None) -> InvalidInputError:
    return InvalidInputError(
        f"the schema is refused: {rule}",
        hint=hint or "see docs/reference/metadata-schemas.md",
        code="schema-refused",
    )
