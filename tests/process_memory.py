"""The peak memory of a process."""

import subprocess
import sys
from functools import cache


def peak_mb(*words: object) -> float:
    """Peak RSS of Python with these arguments in MB, measured by the kernel."""
    code = (
        "import resource, subprocess, sys;"
        "done = subprocess.run([sys.executable, *sys.argv[1:]]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@cache
def imports_mb() -> float:
    """Peak RSS in MB of a process that imports torch and Arrow, whose builds differ: 250 MB with the CPU build of
    torch, and 700 to 900 MB with that for CUDA."""
    return peak_mb("-c", "import torch, pyarrow.parquet")
