"""Pinned memory of the host, and which emulated GPUs have copied from or to it."""

import weakref
from typing import Any

import torch
from torch import Tensor

from fakecuda_clocks import lines, problems, shown
from fakecuda_devices import check_device, current_device, has_failed, launch

#: The sizes of allocations by address, and the tensors, so that no address is used twice.
_pinned: dict[int, int] = {}
_kept: dict[int, Tensor] = {}
#: The devices that took part in copies, whose end an event marks once the memory is freed; by address.
_copied: dict[int, set[int]] = {}


def reset_pinned() -> None:
    """Forget everything."""
    for store in (_pinned, _copied, _kept):
        store.clear()


def is_pinned(tensor: Tensor, *_: Any, **__: Any) -> bool:
    """`Tensor.is_pinned`."""
    return not hasattr(tensor, "_memory") and _address(tensor) is not None


def _address(tensor: Tensor) -> int | None:
    at = tensor.data_ptr()
    return next((base for base, size in list(_pinned.items()) if base <= at < base + size), None)


def alias(tensor: Tensor) -> Tensor:
    """Another tensor of the same pinned memory, which does not keep `tensor` from being freed or used again."""
    address = _address(tensor) or 0
    offset = (tensor.data_ptr() - address) // tensor.element_size()
    storage = _kept[address].untyped_storage()
    return torch.empty(0, dtype=tensor.dtype).set_(storage, offset, tensor.shape, tensor.stride())


def used_in_copy(host: Tensor, index: int) -> None:
    """A device copies from or to pinned memory."""
    _copied.setdefault(_address(host) or 0, set()).add(index)


def pin(tensor: Tensor) -> Tensor:
    """Register the memory of a new tensor as pinned."""
    launch(current_device(), "cudaHostAlloc", tensor.nbytes)
    check_device(current_device())
    if size := tensor.untyped_storage().nbytes():
        _pinned[tensor.data_ptr()] = size
        _kept[tensor.data_ptr()] = tensor.detach()  # another tensor of the same memory
        weakref.finalize(tensor, _freed, tensor.data_ptr(), lines()).atexit = False
    return tensor


def _freed(address: int, where: tuple[tuple[str, int], ...]) -> None:
    if any(map(has_failed, _copied.get(address, ()))):
        problems.append(f"pinned memory ({shown(where)}) freed after the device failed: an abort")


def pin_memory(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    """`Tensor.pin_memory`."""
    copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return pin(copy.copy_(tensor))
