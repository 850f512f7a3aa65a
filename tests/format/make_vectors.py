"""Writes the golden vectors of schemas/vectors, always the same bytes; a test compares them.

Run `python -m format.make_vectors` in the folder `tests` after a change of the format that is meant.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from blake3 import blake3

from artifactstore import codec, event_log
from artifactstore.manifest import decode
from artifactstore.paths import broken_rule
from format.cbor_cases import ENCODED, REFUSED_CBOR
from format.event_cases import example_log, example_plan
from format.manifest_cases import MANIFESTS, manifest_bytes, refused_manifests
from format.path_cases import ACCEPTED_PATHS, REFUSED_PATHS
from format.reference_cbor import diagnostic

VECTORS = Path(__file__).parents[2] / "schemas" / "vectors"


def all_vectors() -> dict[str, Any]:
    """The content of each file by its name."""
    return {
        "cbor.json": cbor_vectors(),
        "events.json": event_vectors(),
        "gc_plan.json": plan_vectors(),
        "manifest.json": manifest_vectors(),
        "manifest_refused.json": refused_manifest_vectors(),
        "paths.json": path_vectors(),
    }


def document(content: Any) -> str:
    """A vector file as it is on disk."""
    return json.dumps(content, ensure_ascii=True, indent=1) + "\n"


def cbor_vectors() -> dict[str, Any]:
    return {
        "accepted": [
            {"name": name, "diagnostic": diagnostic(value), "cbor": codec.encode(value).hex()}
            for name, value in ENCODED.items()
        ],
        "refused": [{"reason": reason, "cbor": encoded} for reason, encoded in REFUSED_CBOR.items()],
    }


def manifest_vectors() -> list[dict[str, Any]]:
    found = []
    for name, (package, files) in MANIFESTS.items():
        data = manifest_bytes(package, files)
        manifest = decode(data)
        found.append(
            {
                "name": name,
                "json": manifest.to_json(),
                "cbor": data.hex(),
                "blake3": f"blake3:{blake3(data).hexdigest()}",
                "sha256": f"sha256:{hashlib.sha256(data).hexdigest()}",
                "content_digest": str(manifest.content_digest),
            }
        )
    return found


def refused_manifest_vectors() -> list[dict[str, Any]]:
    return [{"reason": reason, "cbor": data.hex()} for reason, data in refused_manifests()]


def path_vectors() -> dict[str, Any]:
    refused = []
    for path in REFUSED_PATHS:
        data = path if isinstance(path, bytes) else path.encode()
        text = None if isinstance(path, bytes) else path
        rule = broken_rule(data.decode("utf-8", "surrogateescape"))
        refused.append({"path": text, "utf8": data.hex(), "rule": rule})
    return {
        "accepted": [{"path": path, "utf8": path.encode().hex()} for path in ACCEPTED_PATHS],
        "refused": refused,
    }


def event_vectors() -> list[dict[str, Any]]:
    connection = example_log()
    rows = connection.execute("SELECT * FROM events ORDER BY sequence")
    found = []
    for row, event in zip(rows, event_log.read(connection, after=0), strict=True):
        sequence, event_id, kind, package_id, actor, recorded_at, payload, leaf_hash = row
        envelope = [
            sequence, event_id, kind, package_id, actor, recorded_at, hashlib.sha256(payload).digest()
        ]  # fmt: skip
        found.append(
            {
                "sequence": sequence,
                "event_id": event_id.hex(),
                "type": kind,
                "package_id": None if package_id is None else package_id.hex(),
                "actor": actor,
                "recorded_at": recorded_at,
                "payload": payload.hex(),
                "envelope": codec.encode(envelope).hex(),
                "leaf_hash": leaf_hash.hex(),
                "json": event_log.to_json(event),
            }
        )
    return found


def plan_vectors() -> list[dict[str, Any]]:
    plan = example_plan()
    data = plan.to_bytes()
    return [
        {
            "name": "one package",
            "diagnostic": diagnostic(codec.decode(data)),
            "cbor": data.hex(),
            "sha256": f"sha256:{hashlib.sha256(data).hexdigest()}",
        }
    ]


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for file_name, content in all_vectors().items():
        (VECTORS / file_name).write_text(document(content), encoding="ascii")
