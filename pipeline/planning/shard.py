"""The shard that a process scores: from `--shard`, or from the variables of a scheduler. Does not import torch."""

import re
from collections.abc import Mapping

from ..errors import counted
from ..options import Shard

MAX_SHARDS = 10_000
_GIVEN = re.compile(r"(?P<number>auto|[0-9]{1,9})(/(?P<count>[0-9]{1,9}))?")
#: The variables of an index that counts from 0, and of the number of tasks (empty: not set by the scheduler).
_FROM_ZERO = {
    "AWS_BATCH_JOB_ARRAY_INDEX": "AWS_BATCH_JOB_ARRAY_SIZE",
    "CLOUD_RUN_TASK_INDEX": "CLOUD_RUN_TASK_COUNT",
    "JOB_COMPLETION_INDEX": "",
}
_SLURM = "SLURM_ARRAY_TASK_ID"


def parse_shard(text: str, environment: Mapping[str, str]) -> Shard:
    """The shard that a text names: `3/16` is the third of 16, `auto` the one of the scheduler's array
    job, and `auto/16` the same where the scheduler (Kubernetes) does not say how many there are.

    Raises:
        ValueError: it is none of these, no scheduler or several have set an index, or the numbers do not fit.
    """
    given = _GIVEN.fullmatch(text.strip())
    if given is None or (given["number"] != "auto" and given["count"] is None):
        raise ValueError(f"{text[:40]!r} is not a shard; use 3/16 (the third of 16), auto, or auto/16 on Kubernetes")
    count = None if given["count"] is None else int(given["count"])
    if given["number"] == "auto":
        number, count = _from_environment(environment, count)
    else:
        number = int(given["number"])
    if count is None:
        raise ValueError("the scheduler does not say how many shards there are; pass --shard auto/16")
    if not 1 <= count <= MAX_SHARDS:
        raise ValueError(f"{text[:40]!r} is not a shard; there are 1 to {MAX_SHARDS:,} of them")
    if not 1 <= number <= count:
        raise ValueError(f"shard {number} of {count} does not exist; shards are numbered 1/{count} to {count}/{count}")
    return Shard(number=number, count=count)


def _from_environment(environment: Mapping[str, str], count: int | None) -> tuple[int, int | None]:
    """The number of the shard, from 1, and how many there are."""
    found = [name for name in (*_FROM_ZERO, _SLURM) if name in environment]
    if len(found) != 1:
        problem = f"both {found[0]} and {found[1]} are set" if found else "no scheduler has set an index"
        names = ", ".join((*_FROM_ZERO, _SLURM))
        raise ValueError(f"{problem}; pass --shard 3/16, or set one of {names}")
    (name,) = found
    set_count: int | None = None
    if name == _SLURM:
        number, set_count = _from_slurm(environment)
    else:
        number = 1 + _number(environment, name)
        if _FROM_ZERO[name] in environment:
            set_count = _number(environment, _FROM_ZERO[name])
    if count is not None and set_count is not None and count != set_count:
        raise ValueError(f"--shard says {counted(count, 'shard')}, but the scheduler {set_count}; pass --shard auto")
    return number, count if set_count is None else set_count


def _from_slurm(environment: Mapping[str, str]) -> tuple[int, int]:
    """An array may begin anywhere and have steps, but no gaps."""
    task, first, last, count = (
        _number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "COUNT")
    )
    step = (last - first) // (count - 1) if count > 1 else 1
    if step < 1 or first + step * (count - 1) != last or (task - first) % step:
        raise ValueError(f"the tasks of the array, {count} from {first} to {last}, have gaps; use --array=0-15")
    return 1 + (task - first) // step, count


def _number(environment: Mapping[str, str], name: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", value := environment.get(name, "")):
        raise ValueError(f"{name} is {value!r}, not a number" if value else f"{name} is not set")
    return int(value)
