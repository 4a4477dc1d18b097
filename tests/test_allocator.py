"""Memory that was freed is kept, by glibc and by Arrow; other libraries are left alone."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from scoreline.pipeline.allocator import keep_freed_memory


def test_what_glibc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """M_MMAP_THRESHOLD is -3 and M_TRIM_THRESHOLD -1 in its malloc.h."""
    monkeypatch.setenv("MIMALLOC_PURGE_DELAY", "10")  # else it would be set for all tests
    told: dict[int, int] = {}
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=told.__setitem__))
    keep_freed_memory()
    assert told == {-3: 32 << 20, -1: 1 << 30}


KEPT = """
import time
from scoreline.pipeline.allocator import keep_freed_memory
keep_freed_memory()
import psutil, pyarrow as pa
if pa.default_memory_pool().backend_name != "mimalloc":
    raise SystemExit("another allocator")
def resident():
    return psutil.Process().memory_info().rss >> 20
before = resident()
held = [pa.array([1.0]).take(pa.repeat(0, 1 << 17)) for _ in range(256)]
most = resident() - before
del held
time.sleep(0.1)
again = [pa.array([1.0]).take(pa.repeat(0, 1 << 17)) for _ in range(8)]
print(most, resident() - before)
"""


def test_arrow_keeps_memory_unless_the_user_wants_otherwise() -> None:
    """256 MiB, which are freed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIMALLOC")}
    for own, kept in (({}, True), ({"MIMALLOC_PURGE_DELAY": "0"}, False)):
        run = subprocess.run([sys.executable, "-c", KEPT], env=environment | own, capture_output=True, text=True)
        if "another allocator" in run.stderr:
            pytest.skip("Arrow allocates by another library than mimalloc")
        most, left = map(int, run.stdout.split())
        assert most >= 250
        assert (left > most - 40) is kept


def test_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no such function."""
    monkeypatch.setenv("MIMALLOC_PURGE_DELAY", "10")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    keep_freed_memory()
