"""A device that runs out of memory: how it is recognised, and half as many rows each time."""

from collections.abc import Callable

import pytest
import torch
from scoreline.pipeline.errors import ModelFailedError
from scoreline.pipeline.model.memory import halving, is_out_of_memory

CPU = torch.device("cpu")
FULL = torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be …"),  # cudaHostAlloc, for pinned memory
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED"),
        RuntimeError("Failed to allocate memory for requested buffer of size 1024"),  # onnxruntime
    ],
    ids=lambda error: str(error)[:30],
)
def test_errors_of_full_devices(error: Exception) -> None:
    """Of torch, the libraries below it, and onnxruntime."""
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("size mismatch"), ValueError("CUDA out of memory"), MemoryError(), KeyError("x")], ids=repr
)
def test_other_errors(error: Exception) -> None:
    """A model that quotes such a message in an error of its own has not run out of memory."""
    assert not is_out_of_memory(error)


def attempts(limit: int, error: Exception = FULL) -> tuple[list[int], Callable[[int], int]]:
    """A function that takes at most `limit` rows, and the rows of its calls."""
    called: list[int] = []

    def run(rows: int) -> int:
        called.append(rows)
        if rows > limit:
            raise error
        return rows

    return called, run


@pytest.mark.parametrize(
    ("rows", "limit", "tried"),
    [(8, 8, [8]), (8, 7, [8, 4]), (100, 6, [100, 50, 25, 12, 6]), (7, 1, [7, 3, 1]), (2, 1, [2, 1]), (1, 1, [1])],
)
def test_rows_are_halved(rows: int, limit: int, tried: list[int]) -> None:
    """Until they fit, at least to one; every smaller number is reported."""
    called, run = attempts(limit)
    reported: list[int] = []
    assert halving(run, rows, device=CPU, halved=reported.append) == tried[-1]
    assert (called, reported) == (tried, tried[1:])


def test_no_memory_for_one_row() -> None:
    """The error is one line."""
    called, run = attempts(0)
    with pytest.raises(ModelFailedError) as raised:
        halving(run, 4, device=CPU)
    assert called == [4, 2, 1]
    assert str(raised.value) == (
        "the device has no memory for a single row: CUDA out of memory. Tried to allocate 2 GiB."
    )


def test_an_error_of_the_model() -> None:
    """Is raised at once, since fewer rows would not help."""
    called, run = attempts(1, ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        halving(run, 4, device=CPU)
    assert called == [4]


@pytest.mark.parametrize(("device", "freed"), [("cpu", 0), ("cuda", 2)])
def test_memory_is_returned(device: str, freed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a GPU, once for each smaller number of rows, so that other flows can use it."""
    calls: list[None] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(None))
    halving(attempts(2)[1], 8, device=torch.device(device))
    assert len(calls) == freed
