"""Whether files lie on a medium that nobody can write to any more."""

from __future__ import annotations

import os

_MOUNTS = "/proc/self/mountinfo"


def is_sealed(folder: str) -> bool:
    """Whether the file system itself is read-only, as a burnt disc, an image or an archive volume is.

    A mount that is read-only only here does not count, since others may write to the same files behind it.
    False where nobody can tell.

    Source: proc_pid_mountinfo(5).
    """
    if not os.statvfs(folder).f_flag & os.ST_RDONLY:
        return False
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            found = [line.split() for line in mounts]
    except OSError:
        return False
    # The last field has the options of the file system, an earlier one those of the mount.
    options = [fields[-1].split(",") for fields in found if fields[2] == wanted]
    return bool(options) and all("ro" in each for each in options)
