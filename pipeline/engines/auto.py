"""Chooses what scores the splits of a run: threads of this process, or several processes. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..events import Event
from ..options import ScoreJob
from ..planning.plan import Plan
from ..records import Partition
from ..running.execute import Engine, Execution, Loaded
from ..running.ledger import Ledger
from ..running.local import LocalEngine
from ..storage.uris import is_remote
from .processes import ProcessEngine, cannot_start

#: From so many files of at most so many bytes on, with a model of at most so many, processes are faster (measured on
#: two cores): most of the work is done by the interpreter, and threads wait for one another.
FEWEST_FILES, SMALL_FILE_BYTES, MODEL_BYTES = 2_000, 1 << 18, 64 << 20
#: Where there is one of these, there may be a GPU, which one process uses best.
_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


class AutoEngine:
    """Threads, or processes where many small files are scored on several cores (`running.execute.Engine`)."""

    def __init__(self) -> None:
        self._chosen: Engine = LocalEngine()

    def begin(self, execution: Execution, inputs: Sequence[Partition]) -> None:
        """Choose by the inputs, before they are planned."""
        self._choose(execution, inputs)
        self._chosen.begin(execution, inputs)

    def load(self, execution: Execution, plan: Plan) -> Loaded:
        """Load the bundle where the splits will be scored."""
        self._choose(execution, [planned.partition for planned in plan.partitions])
        return self._chosen.load(execution, plan)

    def _choose(self, execution: Execution, inputs: Sequence[Partition]) -> None:
        suited = suit_processes(execution.job, inputs, execution.bundle.model_bytes())
        if execution.cores.count > 1 and suited and cannot_start() is None:
            self._chosen = ProcessEngine()

    def score(self, execution: Execution, ledger: Ledger) -> Iterable[Event]:
        """Score every split of the plan there."""
        return self._chosen.score(execution, ledger)


def suit_processes(job: ScoreJob, inputs: Sequence[Partition], model_bytes: int) -> bool:
    """Whether several processes score inputs faster than one, if there are cores for them."""
    return (
        len(inputs) >= FEWEST_FILES
        and sum(one.size for one in inputs) <= SMALL_FILE_BYTES * len(inputs)
        and model_bytes <= MODEL_BYTES
        and not job.compile
        and job.memory_bytes is None
        and not any(map(is_remote, (inputs[0].path, job.output)))
        and (job.device == "cpu" or (job.device == "auto" and not any(Path(name).exists() for name in _GPU_FILES)))
    )
