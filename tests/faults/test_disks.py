"""Real full disks and failures that the kernel reports: tmpfs, file size limits, strace."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench import visible
from scoreline.jobs import cli

from conftest import Example

Words = Callable[[Path], list[str]]
CGROUP = Path("/sys/fs/cgroup")
COMMAND = [sys.executable, "-m", "scoreline"]


@pytest.fixture(scope="module")
def words(iris: Example, tmp_path_factory: pytest.TempPathFactory) -> Words:
    """The arguments of a run over three files with rejects."""
    data = tmp_path_factory.mktemp("data")
    frame = pd.concat([iris.frame] * 40, ignore_index=True)
    frame["row_id"] = np.random.default_rng(0).integers(0, 2**60, len(frame))  # incompressible
    frame.loc[::100, iris.features[0]] = np.nan
    for n in range(3):
        frame.to_parquet(data / f"{n}.parquet", index=False)
    base = [*COMMAND, "score", "--bundle", str(iris.bundle), "--max-rejects", "5%"]
    return lambda out: [*base, "--input", str(data), "--output", str(out)]


@pytest.fixture(scope="module")
def wanted(words: Words, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The output of a run that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_here(words(out)) == 0
    return visible(out)


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, cwd="/", timeout=300, check=False)


def run_here(words: list[str]) -> int:
    """The exit code of a run that nothing disturbs, in this process: starting Python and torch takes seconds."""
    return cli.run(words[len(COMMAND) :])


def test_a_limit_on_the_size_of_files(words: Words, wanted: dict[str, bytes], tmp_path: Path) -> None:
    """P4 without a full disk: the kernel refuses writes beyond the limit; nothing of the part is visible."""
    limited = run(["sh", "-c", 'ulimit -f 64; exec "$@"', "sh", *words(tmp_path / "out")])
    assert limited.returncode == 74, limited.stderr
    assert "Traceback" not in limited.stderr
    assert "raise the limit on the size of files (ulimit -f)" in limited.stderr
    assert visible(tmp_path / "out") == {}
    assert run_here(words(tmp_path / "out")) == 0
    assert visible(tmp_path / "out") == wanted


@pytest.mark.parametrize("share", [0.5, *(pytest.param(share, marks=pytest.mark.long) for share in (0.2, 0.8, 0.98))])
def test_a_full_disk(words: Words, wanted: dict[str, bytes], tmp_path: Path, share: float) -> None:
    """P4: a tmpfs that is full at the first part, a later one, or the manifest; then there is space again."""
    size_kb = int(share * sum(len(data) for data in wanted.values()) / 1024)
    out = tmp_path / "out"
    out.mkdir()
    script = (
        f'mount -t tmpfs -o size={size_kb}k tmpfs "$0" || exit 99; "$@"; code=$?; cp -r "$0" "$0.first";'
        ' mount -o remount,size=64m "$0"; "$@" || exit 98; cp -r "$0" "$0.second"; exit $code'
    )
    done = run(["unshare", "-m", "sh", "-c", script, str(out), *words(out)]) if shutil.which("unshare") else None
    if done is None or done.returncode in (1, 99):
        pytest.skip("no tmpfs can be mounted here")
    assert done.returncode == 74, done.stderr
    assert "Traceback" not in done.stderr
    left = visible(tmp_path / "out.first")
    assert "_SUCCESS" not in left
    assert all(wanted[name] == left[name] for name in left)
    assert visible(tmp_path / "out.second") == wanted


@pytest.mark.parametrize(
    ("inject", "code"),
    [
        pytest.param("fsync:error=EIO:when=1", 74, marks=pytest.mark.long),
        ("fsync:error=EIO:when=4", 74),
        pytest.param("rename:error=EIO:when=2", 0, marks=pytest.mark.long),
        pytest.param("rename:error=EIO", 74, marks=pytest.mark.long),
        ("rename:error=ETIMEDOUT:when=1..2", 0),
        pytest.param("mkdir:error=ENOSPC:when=2", 74, marks=pytest.mark.long),
    ],
)
def test_what_the_kernel_reports(
    words: Words, wanted: dict[str, bytes], tmp_path: Path, inject: str, code: int
) -> None:
    """P5, P7: a temporary failure is retried where that is safe; any other ends the run."""
    call = inject.partition(":")[0]
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    if shutil.which("strace") is None or run([*strace, "true"]).returncode:
        pytest.skip("no strace here, or it may not trace")
    done = run([*strace, "-e", f"inject={inject}", *words(tmp_path / "out")])
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert "_SUCCESS" not in visible(tmp_path / "out")
    assert run_here(words(tmp_path / "out")) == 0
    assert visible(tmp_path / "out") == wanted


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A control group of 150 MB, which torch alone exceeds."""
    for parent, limit in ((CGROUP / "memory", "memory.limit_in_bytes"), (CGROUP, "memory.max")):
        group = parent / f"scoreline-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text("150M")
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group can be made here")


@pytest.mark.long
def test_a_memory_limit(words: Words, wanted: dict[str, bytes], tmp_path: Path, limited_group: Path) -> None:
    """P19: the kernel kills the run; the next one, with more memory, gives the same bytes."""
    script = f'echo $$ > {limited_group}/cgroup.procs && exec "$@"'
    killed = run(["sh", "-c", script, "sh", *words(tmp_path / "out")])
    assert killed.returncode == -9, killed.stderr
    assert run_here(words(tmp_path / "out")) == 0
    assert visible(tmp_path / "out") == wanted
