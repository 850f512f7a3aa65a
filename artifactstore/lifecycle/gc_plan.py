"""The plan of a gc: what it would take, as a value that can be kept, sent and compared."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifactstore import codec
from artifactstore.errors import IntegrityError, InvalidInputError
from artifactstore.moment import MOMENT_MAX, MOMENT_MIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PLAN_TYPE = "application/vnd.artifactstore.gc-plan.v1+cbor"


@dataclass(frozen=True, slots=True)
class PlannedPackage:
    """A package that a plan takes.

    Args:
        freed_size: bytes of its objects that the plan removes.
        shared_size: bytes of its objects that stay, since packages outside the plan need them.
    """

    package_id: str
    name: str
    retention_class: str
    reason: str
    expires_at: int | None
    eligible_at: int
    eligible_by: str
    file_count: int
    total_size: int
    freed_size: int
    shared_size: int


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What a gc would do, with everything that decides it.

    Args:
        object_count: objects that would be removed.
        freed_size: their bytes, each counted once.
        shared_size: bytes of objects that lose a user and stay.
    """

    store_id: str
    packages: tuple[PlannedPackage, ...]
    object_count: int
    freed_size: int
    shared_size: int

    def to_bytes(self) -> bytes:
        """The plan as canonical CBOR."""
        return codec.encode(
            {
                "media_type": PLAN_TYPE,
                "store_id": self.store_id,
                "object_count": self.object_count,
                "freed_size": self.freed_size,
                "shared_size": self.shared_size,
                "packages": [
                    {name: getattr(package, name) for name in PlannedPackage.__slots__}
                    for package in self.packages
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> GcPlan:
        """Read a plan that `to_bytes` wrote; whether it still holds, `Store.plan_gc` tells.

        Raises:
            IntegrityError: it was altered or cut, or is no plan.
        """
        document = _checked(codec.decode(data), _PLAN_FIELDS)
        del document["media_type"]
        entries = document.pop("packages")
        packages = tuple(PlannedPackage(**_checked(entry, _PACKAGE_FIELDS)) for entry in entries)
        return cls(packages=packages, **document)

    @property
    def digest(self) -> bytes:
        """Raw sha256 of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).digest()


def check_kind(plan: GcPlan) -> GcPlan:
    """Return what is a plan.

    Raises:
        InvalidInputError: it is something else, such as the bytes of one.
    """
    if not isinstance(plan, GcPlan):
        raise InvalidInputError(
            f"a plan must be a GcPlan, not {type(plan).__name__}", hint="`GcPlan.from_bytes` reads one"
        )
    return plan


def _checked(value: object, fields: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    """A map with exactly these keys, each of whose values fits."""
    if not isinstance(value, dict) or value.keys() != fields.keys():
        raise IntegrityError(f"not a gc plan: it lacks one of {', '.join(fields)}", code="not-a-plan")
    for name, fits in fields.items():
        if not fits(value[name]):
            raise IntegrityError(f"not a gc plan: {name} is malformed", code="not-a-plan")
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_moment(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and MOMENT_MIN <= value <= MOMENT_MAX


_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAN_FIELDS: dict[str, Callable[[Any], bool]] = {
    "media_type": lambda value: value == PLAN_TYPE,
    "store_id": _is_id,
    "object_count": _is_count,
    "freed_size": _is_count,
    "shared_size": _is_count,
    "packages": lambda value: isinstance(value, list),
}
_PACKAGE_FIELDS: dict[str, Callable[[Any], bool]] = {
    "package_id": _is_id,
    "name": _is_text,
    "retention_class": _is_text,
    "reason": _is_text,
    "expires_at": lambda value: value is None or _is_moment(value),
    "eligible_at": _is_moment,
    "eligible_by": _is_text,
    "file_count": _is_count,
    "total_size": _is_count,
    "freed_size": _is_count,
    "shared_size": _is_count,
}
