"""What the machine is, and what else runs on it. Linux only: /proc, /sys and syncfs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import subprocess
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
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


def processor() -> str:
    """Model of the CPU, which of its instructions compute a SHA, and whether it is a virtual one."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip().lower(), value.strip())
    flags = facts.get("flags", facts.get("features", "")).split()
    model = facts.get("model name") or facts.get("cpu part") or "unnamed processor"
    sha = " ".join(sorted(flag for flag in flags if flag.startswith("sha"))) or "no SHA instructions"
    return f"{model} ({sha}{', virtual machine' if 'hypervisor' in flags else ''})"


def disk(directory: Path) -> str:
    """What is under a directory, as far as the kernel says: it cannot see behind a virtual one."""
    number = directory.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    if not block.is_dir():
        return "disk not known"
    if (block / "partition").exists():
        block = block.parent
    driver = (block / "device/driver").resolve().name if (block / "device/driver").exists() else ""
    if driver in {"virtio_blk", "xen-blkfront", "vbd"}:
        return f"virtual disk ({driver})"
    with contextlib.suppress(OSError):
        model = block / "device/model"
        named = model.read_text(encoding="utf-8", errors="replace").strip() if model.exists() else block.name
        turns = (block / "queue/rotational").read_text(encoding="ascii").strip() == "1"
        return f"{named} ({'rotating' if turns else 'solid state'})"
    return block.name


def describe(directory: Path) -> dict[str, str | int]:
    """The facts without which seconds mean nothing."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count() or 0,
        "processor": processor(),
        "memory_gib": round(memory / 1024**3),
        "kernel": platform.release().partition("-")[0],
        "file_system": file_system(directory),
        "disk": disk(directory),
        "python": platform.python_version(),
        "architecture": platform.machine(),
    }


def commit() -> str | None:
    """The last commit that changed the program or its benchmarks, with `+` if the files are not of it.

    None where this is no checkout. Results and pages are left out: writing them changes nothing measured.
    """
    paths = ("artifactstore", "benchmarks", ":(exclude)benchmarks/*.json", ":(exclude)benchmarks/*.md")

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *words, "--", *paths], cwd=PROJECT, capture_output=True, text=True, check=False
        )

    try:
        last = git("log", "-1", "--format=%h", "--abbrev=12")
        changed = git("status", "--porcelain").stdout.strip()
    except OSError:
        return None
    name = last.stdout.strip()
    return (name + "+" * bool(changed)) if last.returncode == 0 and name else None
