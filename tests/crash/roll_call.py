"""Whether every drill that docs/reliability.md names was run: what cannot run must not look green.

Asked for by `--every-drill`. A drill that needs what not every machine has is excused if its tests were
skipped for a reason, and both are printed; any other that is missing fails the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

# What a machine may lack, by the names of the drills that need it. Tracing is not among them: without it
# most promises are not tried at all.
NEEDS = {
    "*over S3": "an S3 server of its own",
    "clock jumps: *": "libfaketime",
    "full disks": "the right to mount",
    "fuzzing led by coverage": "atheris",
    "lowest versions": "a package index",
    "missing rights": "root, to give up rights",
    "power loss, real: *": "loop devices, the right to mount them, and the tools of the file system",
    "read-only media": "the right to mount",
    "reproducible release": "a package index, and a git checkout",
}

_BESIDE = ", of no effect"  # ends the names of what another drill counts beside its own, if there was any


@dataclass(frozen=True)
class Absence:
    """A drill that was not run.

    Args:
        needs: what it needs and not every machine has; None if nothing excuses it.
        reasons: why its tests were skipped.
    """

    name: str
    needs: str | None
    reasons: tuple[str, ...]

    @property
    def excused(self) -> bool:
        """Whether the run is sound without it."""
        return self.needs is not None and bool(self.reasons)

    def __str__(self) -> str:
        what = f"it needs {self.needs}" if self.excused else "it must run"
        return f"{self.name}: not run ({'; '.join(self.reasons) or 'no test was skipped for it'}): {what}"


def absences(
    drills: Mapping[str, Collection[Path]], counted: Collection[str], skipped: Collection[tuple[Path, str]]
) -> list[Absence]:
    """The drills that were not run.

    Args:
        drills: all of them, and the modules in which they are.
        counted: the names of those that were run.
        skipped: the module of each test that was skipped, and why.
    """
    return [
        Absence(
            name,
            next((needs for pattern, needs in NEEDS.items() if fnmatch(name, pattern)), None),
            tuple(sorted({reason for module, reason in skipped if module in modules})),
        )
        for name, modules in sorted(drills.items())
        if name not in counted and not name.endswith(_BESIDE)
    ]
