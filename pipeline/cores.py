"""How many cores this process may use: fewer than the machine has, in a container or under `taskset`. Independent of
what they are used for.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cores:
    """The number of cores, and a description of what limits it."""

    count: int
    limited_by: str


def available_cores(root: Path = CGROUP) -> Cores:
    """The cores allowed by the CPU affinity of the process and the quota of its control group, at least one.

    A quota is rounded up: more threads would only be throttled.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    if quota is not None and math.ceil(quota) < allowed:
        return Cores(count=max(1, math.ceil(quota)), limited_by=f"a cgroup quota of {quota:g} cores")
    total = os.cpu_count() or allowed
    return Cores(
        count=allowed, limited_by="the machine" if allowed == total else f"CPU affinity ({allowed} of {total})"
    )


def _quota(root: Path) -> float | None:
    """The quota of the control group (v1 or v2) in cores; None if there is no limit."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        quota = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return quota if quota > 0 else None
