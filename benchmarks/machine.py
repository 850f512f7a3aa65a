"""What the machine is, and what else runs on it. Linux only: /proc, /sys and syncfs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import time
from pathlib import Path

VOLATILE = ("tmpfs", "ramfs")  # a sync costs nothing there, so nothing is measured
NOISY = 0.3  # share of one core used by others from which a run is called noisy
WINDOW = 0.25  # seconds over which idleness is judged


def sync(directory: Path) -> float:
    """Make everything written to the file system of `directory` durable.

    Returns: seconds it took.
    Raises: OSError if the file system could not write something back.
    """
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        begin = time.perf_counter()
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(directory))
        return time.perf_counter() - begin
    finally:
        os.close(descriptor)


def busy_seconds() -> float:
    """CPU seconds since boot of all user processes, and those that the hypervisor took away.

    System time is left out: the kernel's threads write back what the measured command wrote.
    """
    user, nice, _system, _idle, _wait, _interrupt, _soft, steal = (
        int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    )
    return (user + nice + steal) / os.sysconf("SC_CLK_TCK")


def disk_busy_seconds(directory: Path) -> float:
    """Seconds since boot in which the disk under `directory` had work; 0 where the kernel does not say."""
    device = directory.stat().st_dev
    with contextlib.suppress(OSError):
        statistics = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text(
            encoding="ascii"
        )
        return int(statistics.split()[9]) / 1000  # [ms] -> [s]
    return 0.0


def settle(directory: Path, *, patience: float) -> bool:
    """Wait until neither the CPU nor the disk of `directory` has other work.

    Args:
        patience: seconds after which the run starts all the same.
    Returns: whether it became quiet.
    """
    sync(directory)
    deadline = time.monotonic() + patience
    while True:
        processor, disk = busy_seconds(), disk_busy_seconds(directory)
        time.sleep(WINDOW)
        processor, disk = busy_seconds() - processor, disk_busy_seconds(directory) - disk
        if max(processor, disk) <= NOISY * WINDOW:
            return True
        if time.monotonic() >= deadline:
            return False


def file_system(directory: Path) -> str:
    """Type of the file system that holds `directory`, for example `ext4`."""
    resolved = directory.resolve()
    best, kind = -1, "unknown"
    for line in (
        Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    ):
        fields = line.split(" ")
        mount_point = Path(fields[4])
        if resolved.is_relative_to(mount_point) and len(mount_point.parts) >= best:
            best, kind = len(mount_point.parts), fields[fields.index("-") + 1]
    return kind


def describe(directory: Path) -> dict[str, str | int]:
    """The facts without which seconds mean nothing."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory / 1024**3),
        "kernel": platform.release().partition("-")[0],
        "file_system": file_system(directory),
        "python": platform.python_version(),
        "architecture": platform.machine(),
    }
