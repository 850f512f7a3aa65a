"""What a message says: identifiers, counts and a verdict, never evidence."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from artifactstore import events
from artifactstore.errors import InvalidInputError, StateError
from artifactstore.fields import check_integer, check_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifactstore.codec import Value
    from artifactstore.events import Draft
    from artifactstore.model import Package

_COUNTS_MAX = 32


@dataclass(frozen=True, slots=True)
class LinkageRequest:
    """Whom to tell, and what beside the package's id and manifest digest.

    Args:
        workstream_id, task_id: where the message belongs; at least one of them.
        verdict: of the run that the package holds.
        counts: of its tests.
    Raises:
        InvalidInputError: neither id is given, or something is no label or number.
    """

    workstream_id: str | None
    task_id: str | None
    verdict: str
    counts: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.workstream_id is None and self.task_id is None:
            raise InvalidInputError("a linkage needs a workstream or a task", code="invalid-field")
        for name, text in (("workstream", self.workstream_id), ("task", self.task_id)):
            if text is not None:
                check_label(text, field=name)
        check_label(self.verdict, field="verdict")
        if len(self.counts) > _COUNTS_MAX:
            raise InvalidInputError(f"more than {_COUNTS_MAX} counts", code="invalid-field")
        for name, count in self.counts.items():
            check_label(name, field="name of a count")
            check_integer(count, field=f"count {name}")


def requested(package: Package, linkage: LinkageRequest, link_id: uuid.UUID) -> Draft:
    """The event that puts a message into the outbox.

    Raises:
        StateError: the package is open.
    """
    if package.manifest_digest is None:
        raise StateError(f"package {package.package_id} is not finalized", code="not-finalized")
    message: dict[str, Value] = {
        "counts": dict(linkage.counts),
        "verdict": linkage.verdict,
        "package_id": package.package_id,
        "manifest_digest": str(package.manifest_digest),
    }
    return events.linkage_requested(
        uuid.UUID(package.package_id).bytes,
        link_id=link_id.bytes,
        workstream_id=linkage.workstream_id,
        task_id=linkage.task_id,
        message=message,
    )
