"""The start of a command's process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

THREADS = """
import os
from scoreline.jobs.terminal.process import tune
tune()
import numpy
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_numpy_starts_threads_only_where_the_user_wants_them() -> None:
    """One thread for the program, and one for its signals."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    found = [
        int(
            subprocess.run(
                [sys.executable, "-c", THREADS], env=environment | own, capture_output=True, check=True
            ).stdout
        )
        for own in ({}, {"OPENBLAS_NUM_THREADS": "2"})
    ]
    assert found[1] == found[0] + 1
