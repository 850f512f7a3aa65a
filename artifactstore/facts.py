"""The library's values as JSON says them: the same keys, digests and times as text.

The command line with `--json` and HTTP give out these very documents.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

from artifactstore.digest import Digest
from artifactstore.moment import format_moment

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from artifactstore.lifecycle.gc import GcResult
    from artifactstore.lifecycle.gc_plan import GcPlan
    from artifactstore.model import Explanation, Package, Verification
    from artifactstore.results import Health


def plain(value: object) -> object:
    """A value of the library, or a list of them, made of what JSON knows.

    Digests become `algorithm:hex`, moments RFC 3339. Metadata stays as its producer gave it.
    """
    if isinstance(value, Digest):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return members(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def members(value: DataclassInstance) -> dict[str, object]:
    """The JSON object of a dataclass: the same keys in the same order."""
    return {field.name: _member(field.name, getattr(value, field.name)) for field in fields(value)}


def package_document(package: Package, explained: Explanation, checked: Verification) -> dict[str, object]:
    """All that is known of one package: itself, why it is kept, and how well its bytes are checked."""
    state = members(explained.state)
    why = members(explained)
    retention = {
        **{name: why[name] for name in ("rule", "expiry", "extension", "holds")},
        **{name: value for name, value in state.items() if name.startswith(("eligible_", "collected_"))},
    }
    return {**members(package), "retention": retention, "verification": members(checked)}


def health_document(health: Health) -> dict[str, object]:
    """Whether a store works, with the verdict in front."""
    return {"status": health.status, **members(health)}


def plan_digest(plan: GcPlan) -> str:
    """What names a plan, in the events of those who execute it too."""
    return f"sha256:{plan.digest.hex()}"


def plan_document(plan: GcPlan) -> dict[str, object]:
    """What a gc would do."""
    return {"plan_digest": plan_digest(plan), **members(plan)}


def gc_document(result: GcResult) -> dict[str, object]:
    """What a gc did."""
    plan = plan_document(result.plan)
    return {"plan_digest": plan["plan_digest"], **members(result), "plan": plan}


def _member(name: str, value: object) -> object:
    if isinstance(value, bytes):
        return f"{'blake3' if name == 'blake3' else 'sha256'}:{value.hex()}"
    if name.endswith("_at") and isinstance(value, int):
        return format_moment(value)
    return plain(value)
