"""JSON schemas of what goes in and out, made from the library's own values where it has them.

Source: JSON Schema 2020-12, which OpenAPI 3.1 uses as it is.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from artifactstore import model, results
from artifactstore.digest import Digest
from artifactstore.httpapi.deletion_routes import PACKAGES_MAX
from artifactstore.lifecycle.gc import GcResult
from artifactstore.lifecycle.gc_plan import GcPlan, PlannedPackage
from artifactstore.upload_files import Upload

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_DIGEST: Schema = {"type": "string", "pattern": "^(blake3|sha256):[0-9a-f]{64}$"}
_LABEL: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_METADATA: Schema = {"type": "object", "additionalProperties": True}
_VALUES = (
    model.Package,
    model.File,
    model.FileHit,
    model.Hold,
    model.RetentionState,
    model.Explanation,
    model.Verification,
    results.ComponentHealth,
    model.MetadataSchema,
    results.SweepResult,
    PlannedPackage,
    GcPlan,
    GcResult,
    Upload,
)


def schemas() -> dict[str, Schema]:
    """All schemas by name."""
    made = {kind.__name__: _of_dataclass(kind) for kind in _VALUES}
    package = made["Package"]
    retention = {
        **{
            name: made["Explanation"]["properties"][name] for name in ("rule", "expiry", "extension", "holds")
        },
        **{
            name: schema
            for name, schema in made["RetentionState"]["properties"].items()
            if name.startswith(("eligible_", "collected_"))
        },
    }
    more = {"retention": _object(retention), "verification": _named("Verification")}
    health = {
        "status": {"type": "string", "enum": ["ok", "degraded"]},
        "db": _named("ComponentHealth"),
        "backend": _named("ComponentHealth"),
        "warnings": _list(_TEXT),
        "oldest_verified_at": _or_null(_MOMENT),
    }
    return {
        **made,
        # Beside what a plan says stands what names it.
        **{
            name: _object({"plan_digest": _DIGEST, **made[name]["properties"]})
            for name in ("GcPlan", "GcResult")
        },
        "PackageDocument": _object({**package["properties"], **more}),
        "Health": _object(health),
        "Banner": _object(dict.fromkeys(("service", "version", "documentation", "openapi"), _TEXT)),
        "Event": _event(),
        "Manifest": _METADATA,
        "OpenApi": _METADATA,
        **{f"{name}List": _page(_named(kind)) for name, kind in _LISTS.items()},
        "Problem": _object(
            {
                "type": _TEXT,
                "title": _TEXT,
                "status": {"type": "integer"},
                "code": _TEXT,
                "detail": _TEXT,
                "hint": _MAYBE_TEXT,
            }
        ),
        "KnownDigests": _object({"present": _list(_DIGEST), "missing": _list(_DIGEST)}),
        **_taken(),
    }


_LISTS = {
    "Package": "Package",
    "File": "File",
    "Hit": "FileHit",
    "Event": "Event",
    "Schema": "MetadataSchema",
}


def _taken() -> dict[str, Schema]:
    """What requests bring."""
    return {
        "Nothing": _object({}),
        "NewPackage": _object(
            {
                "name": _LABEL,
                "producer": _LABEL,
                "subject": _LABEL,
                "retention_class": {**_LABEL, "type": ["string", "null"], "default": "raw-evidence"},
                "metadata": {**_METADATA, "type": ["object", "null"]},
                "metadata_schema": {**_LABEL, "type": ["string", "null"]},
            },
            required=("name", "producer", "subject"),
        ),
        "KnownFiles": _object(
            {
                "files": {
                    "type": "array",
                    "minItems": 1,
                    "items": _object(
                        {
                            "relative_path": {"type": "string", "minLength": 1},
                            "digest": _DIGEST,
                            "media_type": _MAYBE_TEXT,
                            "executable": {"type": "boolean"},
                        },
                        required=("relative_path", "digest"),
                    ),
                }
            }
        ),
        "Digests": _object({"digests": {**_list(_DIGEST), "maxItems": 10_000}}),
        "NewUpload": _object(
            {
                "package": {"type": "string", "description": "Id of an open package."},
                "relative_path": {"type": "string", "minLength": 1},
                "media_type": _MAYBE_TEXT,
                "executable": {"type": ["boolean", "null"]},
                "expected_size": {"type": ["integer", "null"], "minimum": 0},
                "expected_digest": _or_null(_DIGEST),
            },
            required=("package", "relative_path"),
        ),
        "Extension": _object(
            {
                "until": {**_MAYBE_TEXT, "description": "2030-12-31 or RFC 3339."},
                "by": {**_MAYBE_TEXT, "description": "90d, 7y, 2h30m, P90D."},
                "forever": {"type": ["boolean", "null"]},
                "reason": _MAYBE_TEXT,
            },
            required=(),
        ),
        "NewHold": _object(
            {"reason": _LABEL, "authority": _MAYBE_TEXT, "case_id": _MAYBE_TEXT}, required=("reason",)
        ),
        "Release": _object({"reason": _LABEL}),
        **_taken_by_deletion(),
        "NewSchema": _object({"slug": {"type": "string", "minLength": 1}, "schema": _METADATA}),
    }


def _taken_by_deletion() -> dict[str, Schema]:
    flag: Schema = {"type": ["boolean", "null"]}
    limit: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": PACKAGES_MAX}
    plan = {"plan": _or_null(_named("GcPlan")), "limit": limit}
    sweep = {
        "abandoned_after": {"type": ["string", "integer", "null"], "description": "30d, P30D, or seconds."},
        "mark_abandoned": flag,
        "accept_clock": flag,
        "limit": limit,
    }
    return {
        "NewSweep": _object(sweep, required=()),
        "NewGcPlan": _object(plan, required=()),
        "NewGc": _object({**plan, "accept_clock": flag}, required=()),
    }


def _event() -> Schema:
    return _object(
        {
            "sequence": {"type": "integer", "minimum": 1},
            "event_id": _TEXT,
            "type": _TEXT,
            "package_id": _MAYBE_TEXT,
            "actor": _TEXT,
            "recorded_at": _MOMENT,
            "payload": _METADATA,
            "leaf_hash": _DIGEST,
        }
    )


def _of_dataclass(kind: type) -> Schema:
    """The schema of what `facts.members` makes of a value."""
    known = {
        "Mapping": Mapping,
        "Sequence": Sequence,
        "Digest": Digest,
        "Value": object,
        "RetentionState": model.RetentionState,
    }
    hints = get_type_hints(kind, localns=known)
    described = _argument_texts(kind)
    properties = {}
    for each in fields(kind):
        schema = _of_member(each.name, hints[each.name])
        properties[each.name] = {
            **schema,
            **({"description": described[each.name]} if each.name in described else {}),
        }
    return _object(properties)


def _argument_texts(kind: type) -> dict[str, str]:
    """What the docstring says of each field, where it has a line of its own."""
    found = {}
    for line in (kind.__doc__ or "").splitlines():
        name, colon, text = line.strip().partition(": ")
        if colon and name.isidentifier():
            found[name] = text[:1].upper() + text[1:]
    return found


def _of_member(name: str, hint: object) -> Schema:
    if get_origin(hint) in {types.UnionType, typing.Union}:
        [inner] = [each for each in get_args(hint) if each is not types.NoneType]
        return _or_null(_of_member(name, inner))
    if name.endswith("_at") and hint is int:
        return _MOMENT
    if get_origin(hint) is tuple:
        return _list(_of_member(name, get_args(hint)[0]))
    if get_origin(hint) is Mapping:
        return _METADATA
    if isinstance(hint, type) and is_dataclass(hint) and hint is not Digest:
        return _named(hint.__name__)
    simple: dict[object, Schema] = {
        str: _TEXT,
        int: {"type": "integer"},
        bool: {"type": "boolean"},
        bytes: _DIGEST,
        Digest: _DIGEST,
    }
    return simple[hint]


def _object(properties: Mapping[str, Schema], *, required: Sequence[str] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _page(items: Schema) -> Schema:
    return _object({"items": _list(items), "next_cursor": _MAYBE_TEXT})


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}
