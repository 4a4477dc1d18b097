"""How many cores this process may use: fewer than the machine has, in a container or under `taskset`. Independent of
what they are used for.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Where control groups are mounted, and the names of those of this process.
CGROUP, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cores:
    """The number of cores, and a description of what limits it."""

    count: int
    limited_by: str


def available_cores(root: Path = CGROUP, own: Path = OWN_GROUPS) -> Cores:
    """The cores allowed by the CPU affinity of the process and the quota of its control group, at least one.

    A quota is rounded up: more threads would only be throttled.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root, own)
    if quota is not None and math.ceil(quota) < allowed:
        return Cores(count=max(1, math.ceil(quota)), limited_by=f"a cgroup quota of {quota:g} cores")
    total = os.cpu_count() or allowed
    return Cores(
        count=allowed, limited_by="the machine" if allowed == total else f"CPU affinity ({allowed} of {total})"
    )


def _quota(root: Path, own: Path) -> float | None:
    """The smallest quota in cores of the control group of this process (v1 or v2) and those above it; None if there is
    no limit."""
    found = [_quota_of(folder) for folder in _groups(root, own)]
    return min((quota for quota in found if quota is not None), default=None)


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """The folders of these groups. In a container, whose group is the root that it sees, they are that alone."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        lines = []
    lines += [["0", "", "/"], ["", "cpu", "/"]]
    for number, controllers, path in (line for line in lines if len(line) == 3):
        if number == "0" or "cpu" in controllers.split(","):
            top = root / "cpu" if controllers else root
            group = Path(os.path.normpath("/" + path.lstrip("/")))
            yield from (top / above.relative_to("/") for above in (group, *group.parents))


def _quota_of(folder: Path) -> float | None:
    try:
        limit, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except (OSError, ValueError):
            return None
    try:
        quota = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return quota if quota > 0 else None
