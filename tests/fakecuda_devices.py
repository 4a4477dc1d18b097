"""The emulated GPUs of this process: how many there are, which one is current, their memory, and whether they have
failed."""

import threading
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

lock = threading.RLock()
_thread = threading.local()
#: Bytes that tensors take on each device now, and the most so far.
_allocated: dict[int, int] = {}
_peak: dict[int, int] = {}
#: How often an operation was launched on a device, by its number and name.
launched: Counter[tuple[int, str]] = Counter()
#: By device, the error that has invalidated its context.
_failures: dict[int, str] = {}


class Limits:
    """What the emulated devices have, and what they refuse.

    `devices`: how many there are; `cards`: the names of those that are not "emulated", by device. `memory`: of each
    device; `bytes`: the largest allocation. `fail`: called with the name of every operation that launches a kernel or a
    copy and with the bytes of its tensors; may raise. `major`: of the compute capability.
    `kernel_s`, `copy_s`: the seconds that a kernel and an asynchronous copy take.
    """

    devices = 2
    cards: dict[int, str] = {}  # noqa: RUF012 - replaced by tests, never changed in place
    memory = 1 << 30
    bytes = 1 << 30
    major = 9
    kernel_s = copy_s = 0.0
    fail: Callable[[str, int], object] | None = None


def reset_devices() -> None:
    """Two healthy devices with free memory, as in a fresh process."""
    Limits.devices, Limits.cards, Limits.memory, Limits.bytes, Limits.major = 2, {}, 1 << 30, 1 << 30, 9
    Limits.kernel_s = Limits.copy_s = 0.0
    Limits.fail = None
    _failures.clear()
    _peak.clear()
    launched.clear()
    _thread.__dict__.clear()


def out_of_memory() -> torch.OutOfMemoryError:
    """What torch raises if an allocation fails."""
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")


def index_of(device: Any = None) -> int:
    """The number of a device; of the current one if none is named. Raises RuntimeError if there is no such device."""
    if isinstance(device, str | torch.device):
        device = torch.device(device).index
    index = current_device() if device is None else int(device)
    if not 0 <= index < Limits.devices:
        raise RuntimeError("CUDA error: invalid device ordinal")
    return index


def current_device() -> int:
    """`torch.cuda.current_device`."""
    index: int = getattr(_thread, "device", 0)
    return index


def set_device(device: Any) -> None:
    """`torch.cuda.set_device`."""
    _thread.device = index_of(device)


class DeviceContext:
    """`torch.cuda.device`."""

    def __init__(self, device: Any) -> None:
        self._index = index_of(device)

    def __enter__(self) -> None:
        self._before = current_device()
        set_device(self._index)

    def __exit__(self, *_: object) -> None:
        set_device(self._before)


def properties(device: Any = None) -> SimpleNamespace:
    """`torch.cuda.get_device_properties`."""
    return SimpleNamespace(
        name=Limits.cards.get(index_of(device), "emulated"), total_memory=Limits.memory, multi_processor_count=1,
        major=Limits.major, minor=0,
    )  # fmt: skip


def launch(index: int, name: str, num_bytes: int) -> None:
    """An operation on a device is about to be launched. Raises what `Limits.fail` does."""
    _thread.launching = index
    launched[index, name] += 1
    if Limits.fail is not None:
        Limits.fail(name, num_bytes)


def launching() -> int:
    """The number of the device on which the calling thread launches an operation, for `Limits.fail`."""
    index: int = getattr(_thread, "launching", 0)
    return index


def fail_device(message: str) -> None:
    """Invalidate the context of the device whose operation is being launched, as a device-side assert does: from now on
    every call that concerns it raises."""
    _failures[launching()] = message


def has_failed(index: int) -> bool:
    """Whether the context of a device is invalid."""
    return index in _failures


def check_device(index: int) -> None:
    """Raise RuntimeError if the context of a device is invalid."""
    if index in _failures:
        raise RuntimeError(f"CUDA error: {_failures[index]}")


def allocate(index: int, num_bytes: int) -> None:
    """Take memory of a device. Raises OutOfMemoryError if it has too little."""
    with lock:
        taken = _allocated.get(index, 0) + num_bytes
        if num_bytes > Limits.bytes or taken > Limits.memory:
            raise out_of_memory()
        _allocated[index] = taken
        _peak[index] = max(_peak.get(index, 0), taken)


def free(index: int, num_bytes: int) -> None:
    """Return memory to a device."""
    with lock:
        _allocated[index] -= num_bytes


def memory_allocated(device: Any = None) -> int:
    """`torch.cuda.memory_allocated`."""
    return _allocated.get(index_of(device), 0)


def max_memory_allocated(device: Any = None) -> int:
    """`torch.cuda.max_memory_allocated`."""
    return _peak.get(index_of(device), 0)


def reset_peak_memory_stats(device: Any = None) -> None:
    """`torch.cuda.reset_peak_memory_stats`."""
    _peak[index_of(device)] = memory_allocated(device)


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """`torch.cuda.mem_get_info`."""
    return Limits.memory - memory_allocated(device), Limits.memory
