"""Arrays in pinned memory, from which a GPU copies while the host goes on. Independent of kinds of input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def new_array(shape: tuple[int, ...], dtype: Any, *, pin: bool) -> NDArray[Any]:
    """An array whose values are arbitrary, in pinned memory if `pin` is set and there is some left."""
    if pin:
        import torch  # imported by now; planning does not need it

        try:
            pinned: NDArray[Any] = torch.empty(
                shape, dtype=getattr(torch, np.dtype(dtype).name), pin_memory=True
            ).numpy()
        except RuntimeError:  # no more pinned memory; or the device has failed, which transfer reports
            return np.empty(shape, dtype=dtype)
        return pinned
    return np.empty(shape, dtype=dtype)


def some_of(values: NDArray[Any], kept: NDArray[np.bool_], *, axis: int = 0, pin: bool) -> NDArray[Any]:
    """The rows along an axis where `kept` is set, contiguous."""
    rows, shape = np.flatnonzero(kept), list(values.shape)
    shape[axis] = len(rows)
    out = new_array(tuple(shape), values.dtype, pin=pin)
    return np.take(values, rows, axis=axis, out=out, mode="clip")  # other modes copy into a buffer first


def pinned_copy(tensor: Tensor) -> Tensor:
    """A copy in pinned memory; the tensor itself if it is empty, or there is no more such memory."""
    try:
        return tensor.pin_memory() if tensor.numel() else tensor
    except RuntimeError:  # as above
        return tensor
