"""Runs of the command, each in a process of its own that is a fork of one that has imported everything once: hundreds
of them take minutes."""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, RLock
from typing import Any

#: After how many seconds a run counts as hung.
HUNG_S = 120


class ForkedRuns:
    """The process that forks.

    Args:
        scratch: a folder for what runs print.
        environment: its variables.
        program: the file that it executes, which calls `serve`.

    Attributes:
        pid: of the run that is being made, from the moment at which `started` is set.
    """

    def __init__(self, scratch: Path, environment: Mapping[str, str], program: str = __file__) -> None:
        self._output = scratch / "output"
        self.pid, self.started = 0, Event()
        self._parent = subprocess.Popen(
            [sys.executable, program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**environment, "OMP_NUM_THREADS": "1"},
        )

    def warm_up(self, command: list[str]) -> None:
        """Make a first run, in the parent itself, after which torch and Arrow are initialised."""
        code, output = self.run({"commands": [command], "forked": False})
        assert code == 0, output

    def run(self, order: Mapping[str, Any]) -> tuple[int, str]:
        """Make a run. Returns its exit code, or minus the signal, and what it printed.

        Args:
            order: `commands`, executed one after the other up to the first that fails; `forked`; and what the program's
                preparation needs.
        """
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self.started.clear()
        self._parent.stdin.write(json.dumps({**order, "output": str(self._output)}) + "\n")
        self._parent.stdin.flush()
        self.pid = int(self._parent.stdout.readline())
        self.started.set()
        code = int(self._parent.stdout.readline())
        return code, self._output.read_text()

    def close(self) -> None:
        """End the parent process."""
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        assert self._parent.stdout is not None
        self._parent.stdout.close()
        self._parent.wait()


#: Called with an order, in the process that executes it, before its commands.
Prepare = Callable[[dict[str, Any]], None]


def serve(prepare: Prepare) -> None:
    """Be the parent process: import everything, and make a run for each line of stdin."""
    import pandas  # noqa: F401
    from scoreline.jobs import cli, score  # noqa: F401 - imported before the fork, once
    from scoreline.jobs.terminal import logs, progress, tables  # noqa: F401
    from scoreline.pipeline.evaluation import verify  # noqa: F401
    from scoreline.pipeline.running import score as scored  # noqa: F401
    from tqdm import tqdm

    # Its own lock is shared with forked processes: one that is killed while it has the lock would keep it.
    tqdm.set_lock(RLock())
    with os.fdopen(os.dup(1), "w") as answers:
        for line in sys.stdin:
            order = json.loads(line)
            if order["forked"]:
                code = _fork(order, prepare, answers)
            else:
                print(os.getpid(), file=answers, flush=True)
                code = _run(order, cli)
            print(code, file=answers, flush=True)


def _fork(order: dict[str, Any], prepare: Prepare, answers: Any) -> int:
    """Run commands in another process."""
    from scoreline.jobs import cli

    child = os.fork()
    if child == 0:
        code = 1
        try:
            faulthandler.dump_traceback_later(HUNG_S, exit=True, file=2)
            code = _run(order, cli, prepare)
        finally:
            os._exit(code)
    print(child, file=answers, flush=True)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _run(order: dict[str, Any], cli: Any, prepare: Prepare | None = None) -> int:
    """Run commands in this process, whose output goes to a file from now on."""
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    if prepare is not None:
        prepare(order)
    try:
        return next((code for words in order["commands"] if (code := cli.run(words))), 0)
    finally:
        sys.stderr.flush()


def set_flows(flows: int) -> None:
    """Let a run start as many flows as it would on this number of cores."""
    from scoreline.pipeline.cores import Cores
    from scoreline.pipeline.running import run

    run.available_cores = lambda: Cores(count=flows, limited_by="the test")
