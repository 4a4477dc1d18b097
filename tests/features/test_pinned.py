"""Arrays for copies to a GPU: their values, and what happens without pinned memory."""

import numpy as np
import pytest
import torch
from scoreline.pipeline.features.pinned import new_array, pinned_copy, pinned_like, some_of

import fakecuda

emulated_only = pytest.mark.skipif(torch.cuda.is_available(), reason="a real GPU has pinned memory left")


def no_memory(name: str, _: int) -> None:
    """Fail each allocation of pinned memory."""
    if name == "cudaHostAlloc":
        raise fakecuda.out_of_memory()


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("pin", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_new_arrays(dtype: type, pin: bool) -> None:
    """Of the shape and dtype that was asked for, pinned or not."""
    array = new_array((3, 2), dtype, pin=pin)
    assert (array.shape, array.dtype) == ((3, 2), np.dtype(dtype))
    assert torch.from_numpy(array).is_pinned() == pin


@pytest.mark.usefixtures("cuda")
def test_memory_is_used_again() -> None:
    """Once the last array of it is gone, and by arrays of about the same size."""
    first = new_array((10, 10), np.float32, pin=True)
    address, view = first.ctypes.data, torch.from_numpy(first)[3:]
    del first
    assert new_array((99,), np.float32, pin=True).ctypes.data != address
    del view
    assert new_array((300,), np.uint8, pin=True).ctypes.data == address


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("dtype", [torch.bool, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("columns_first", [False, True])
def test_tensors_like_others(dtype: torch.dtype, columns_first: bool) -> None:
    """Of the same shape, dtype and order."""
    tensor = torch.zeros(3, 5, dtype=dtype).T if columns_first else torch.zeros(5, 3, dtype=dtype)
    found = pinned_like(tensor)
    assert (found.shape, found.dtype, found.stride()) == (tensor.shape, dtype, tensor.stride())
    assert found.is_pinned()


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("pin", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
def test_some_rows(axis: int, pin: bool) -> None:
    """As numpy selects them, contiguous."""
    values = np.arange(12.0).reshape(3, 4)
    kept = np.arange(values.shape[axis]) != 1
    found = some_of(values, kept, axis=axis, pin=pin)
    assert np.array_equal(found, np.compress(kept, values, axis=axis))
    assert found.flags.c_contiguous
    assert torch.from_numpy(found).is_pinned() == pin


@emulated_only
@pytest.mark.usefixtures("cuda")
def test_without_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other memory, with the same values."""
    monkeypatch.setattr(fakecuda.Limits, "fail", no_memory)
    assert not torch.from_numpy(new_array((2,), np.float32, pin=True)).is_pinned()
    tensor = torch.arange(3)
    assert pinned_copy(tensor) is tensor


@pytest.mark.usefixtures("cuda")
def test_copies() -> None:
    """Pinned and equal; an empty tensor is returned as it is."""
    tensor, empty = torch.arange(3), torch.empty(0)
    copy = pinned_copy(tensor)
    assert copy.is_pinned()
    assert torch.equal(copy, tensor)
    assert pinned_copy(empty) is empty
