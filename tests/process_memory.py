"""The peak memory of a process."""

import subprocess
import sys


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
