"""Runs the child process of `pack --allow-pickle` as a fork of a process that has imported everything: importing torch
and scikit-learn takes three seconds, and the tests need many children. Each is a process of its own, with its own
stdin, environment and exit code, as `subprocess.run` would start it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

COMMAND = [sys.executable, "-P", "-m", "scoreline.jobs.unpickle"]


class WarmParent:
    """The process that forks, started when it is first needed."""

    @cached_property
    def _process(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, command: list[str], **given: Any) -> SimpleNamespace:
        """What `subprocess.run` does with this command and these arguments, which must be those of `pack`."""
        request = {"input": given.pop("input"), "env": given.pop("env"), "cwd": str(Path.cwd())}
        assert command == COMMAND
        assert given == {"stdout": subprocess.DEVNULL, "text": True, "check": False}
        return SimpleNamespace(returncode=self._fork(request))

    def execute(self, code: str, folder: Path) -> None:
        """What `python -c` does with code, in a folder. It must not fail."""
        assert self._fork({"code": code, "input": "", "env": dict(os.environ), "cwd": str(folder)}) == 0

    def _fork(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        if "_process" in vars(self):
            self._process.communicate()


def child(request: dict[str, Any]) -> None:
    """Be the child process: never returns."""
    from scoreline.jobs import unpickle

    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    with tempfile.TemporaryFile("w+") as given, Path(os.devnull).open("w") as nowhere:
        given.write(request["input"])
        given.flush()
        os.lseek(given.fileno(), 0, os.SEEK_SET)
        os.dup2(given.fileno(), 0)
        os.dup2(nowhere.fileno(), 1)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a descriptor, open until the process ends
        code = 1
        try:
            if "code" in request:
                sys.path.insert(0, request["cwd"])
                exec(request["code"], vars(sys.modules["__main__"]))
            else:
                unpickle.main()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)


def main() -> None:
    """Import what children need, and fork one for each line of stdin."""
    import joblib  # noqa: F401
    import pandas  # noqa: F401
    import sklearn.compose
    import sklearn.pipeline
    import sklearn.preprocessing  # noqa: F401
    import torch  # noqa: F401
    from scoreline.jobs import unpickle  # noqa: F401
    from scoreline.pipeline.scoring import scorer  # noqa: F401

    sys.path.pop(0)  # this folder: -P
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201 - the answer
    os._exit(0)  # without the teardown of torch, which takes a second


if __name__ == "__main__":
    main()
