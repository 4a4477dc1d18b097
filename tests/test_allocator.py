"""glibc is told to keep memory; other C libraries are left alone."""

import ctypes
from types import SimpleNamespace

import pytest
from scoreline.pipeline.allocator import keep_freed_memory


def test_what_glibc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """M_MMAP_THRESHOLD is -3 and M_TRIM_THRESHOLD -1 in its malloc.h."""
    told: dict[int, int] = {}
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=told.__setitem__))
    keep_freed_memory()
    assert told == {-3: 32 << 20, -1: 1 << 30}


def test_another_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no such function."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    keep_freed_memory()
