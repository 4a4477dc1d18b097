"""Arrays in pinned memory, from which a GPU copies while the host goes on. Independent of kinds of input."""

from __future__ import annotations

import ctypes
from collections import deque
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def never_free(value: Any) -> None:
    """Keep a value for the rest of the process, and at its end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


class PinnedMemory:
    """Pinned memory of this process: a piece that no array uses any more is used again, and none is ever freed.

    To free a piece that took part in a copy, torch records an event. After the device has failed, which can happen at
    any moment, that raises, from a destructor: the process would end with SIGABRT.
    """

    def __init__(self) -> None:
        self._unused: dict[int, deque[Tensor]] = {}

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """An array of bytes. Raises RuntimeError if there is no more such memory, or the device has failed."""
        import torch  # imported by now; planning does not need it

        size = 1 << (num_bytes - 1).bit_length()
        unused = self._unused.setdefault(size, deque())
        try:
            memory = unused.pop()
        except IndexError:
            memory = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        return np.asarray(_Piece(memory, unused))[:num_bytes]


class _Piece:
    """Memory that the arrays made of it keep. Its pieces are put back without a lock, since this can happen anywhere.

    Args:
        memory: pinned bytes.
        unused: where to put them once no array uses them.
    """

    def __init__(self, memory: Tensor, unused: deque[Tensor]) -> None:
        self._memory, self._unused = memory, unused
        address = (memory.data_ptr(), False)
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": tuple(memory.shape), "data": address}

    def __del__(self) -> None:
        self._unused.append(self._memory)


_MEMORY = PinnedMemory()
never_free(_MEMORY)


def new_array(shape: tuple[int, ...], dtype: Any, *, pin: bool) -> NDArray[Any]:
    """An array whose values are arbitrary, in pinned memory if `pin` is set and there is some left."""
    num_bytes = prod(shape) * np.dtype(dtype).itemsize
    if pin and num_bytes:
        try:
            pinned: NDArray[Any] = _MEMORY.take(num_bytes).view(dtype)
            return pinned.reshape(shape)
        except RuntimeError:  # no more pinned memory; or the device has failed, which transfer reports
            pass
    return np.empty(shape, dtype=dtype)


def some_of(values: NDArray[Any], kept: NDArray[np.bool_], *, axis: int = 0, pin: bool) -> NDArray[Any]:
    """The rows along an axis where `kept` is set, contiguous."""
    rows, shape = np.flatnonzero(kept), list(values.shape)
    shape[axis] = len(rows)
    out = new_array(tuple(shape), values.dtype, pin=pin)
    return np.take(values, rows, axis=axis, out=out, mode="clip")  # other modes copy into a buffer first


def pinned_like(tensor: Tensor) -> Tensor:
    """A tensor of the same shape and dtype in pinned memory, column by column if the other is; its values are
    arbitrary. Raises RuntimeError if there is no more such memory."""
    import torch

    flat = torch.from_numpy(_MEMORY.take(tensor.nbytes)).view(tensor.dtype)
    if tensor.dim() == 2 and tensor.T.is_contiguous():
        return flat.view(tensor.T.shape).T
    return flat.view(tensor.shape)


def pinned_copy(tensor: Tensor) -> Tensor:
    """A copy in pinned memory; the tensor itself if it is empty, or there is no more such memory."""
    try:
        return pinned_like(tensor).copy_(tensor) if tensor.numel() else tensor
    except RuntimeError:  # as above
        return tensor
