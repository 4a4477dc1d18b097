"""The devices that models run on, behind one protocol: a CPU and a CUDA GPU. Independent of models.

A GPU is kept busy: while one block is computed the next is copied in and the last copied out, each on a stream of its
own, and every lane waits for its own block alone. Pinned memory comes from torch's own cache, which hands a buffer out
again once the copies that use it are through.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DeviceError
from ..records import Inputs, Sent, Sequences


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """Results in the host's memory. `device_s`: seconds by stage, where the device has a clock of its own."""

    tensors: dict[str, Tensor | Sequences]
    device_s: Mapping[str, float] = field(default_factory=dict)


class Device(Protocol):
    """Where a model runs."""

    @property
    def torch(self) -> torch.device:
        """As torch names it."""

    @property
    def lanes(self) -> int | None:
        """How many blocks it works on at once; None for one per core."""

    @property
    def pins(self) -> bool:
        """Whether it copies from pinned memory."""

    @property
    def survives_errors(self) -> bool:
        """Whether it can be used on after a model has raised."""

    def send(self, tensors: Inputs) -> Sent:
        """Begin to copy a block's inputs to the device."""

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs]) -> Fetched:
        """Compute with what was sent, and bring the results back to the host. Raises what `compute` raises."""

    def some(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """Some rows of inputs that are on the device, at positions in order; None: all of them."""


class Cpu:
    """The host itself: nothing is copied."""

    lanes = None
    pins = False
    survives_errors = True

    def __init__(self) -> None:
        self.torch = torch.device("cpu")

    def send(self, tensors: Inputs) -> Sent:
        """As they are."""
        return Sent(tensors=tensors)

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs]) -> Fetched:
        """In the calling thread."""
        return Fetched(tensors=dict(compute(sent.tensors)))

    def some(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """Copies, column by column, as the tensors are laid out."""
        if rows is None:
            return tensors
        index = torch.from_numpy(rows)
        return {name: _some(tensor, index) for name, tensor in tensors.items()}


class Cuda:
    """A GPU with three streams that all lanes share: copies in, work, copies out.

    One block is copied in, one computed, one copied out and decoded: three lanes.
    """

    lanes = 3
    pins = True
    survives_errors = False

    def __init__(self, device: torch.device) -> None:
        self.torch = self._device = device
        self._inward, self._work, self._outward = (_stream(device) for _ in range(3))
        self._one_at_a_time = Lock()  # keeps a block's kernels together in the queue

    def send(self, tensors: Inputs) -> Sent:
        """Begin to copy; returns at once. Pinned tensors are copied as they are, others by way of pinned ones."""
        start, end = _event(), _event()
        with torch.cuda.stream(self._inward):
            start.record()
            moved = {name: _each(self._to_device, given) for name, given in tensors.items()}
            end.record()
        return Sent(tensors=moved, events=(start, end))

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs]) -> Fetched:
        """Compute once the copy is there, copy the results back, and wait for those alone.

        Raises what `compute` raises, and what the device has to say of it.
        """
        assert sent.events is not None, "it was sent to this device"
        copied_from, copied = sent.events
        start, end, done = _event(), _event(), _event()
        with self._one_at_a_time:
            with torch.cuda.stream(self._work):
                self._work.wait_event(copied)
                for given in sent.tensors.values():
                    _each(self._used_by_work, given)
                start.record()
                results = compute(sent.tensors)
                end.record()
            with torch.cuda.stream(self._outward):
                self._outward.wait_event(end)
                fetched = {name: _each(self._to_host, result) for name, result in results.items()}
                done.record()
        done.synchronize()
        return Fetched(
            tensors=fetched,
            device_s={
                "transfer": copied_from.elapsed_time(copied) / 1000,
                "forward": start.elapsed_time(end) / 1000,
            },
        )

    def some(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """On the stream that computes."""
        if rows is None:
            return tensors
        index = torch.from_numpy(rows).to(self._device)
        return {name: _some(tensor, index) for name, tensor in tensors.items()}

    def _to_device(self, tensor: Tensor) -> Tensor:
        return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(self._device, non_blocking=True)

    def _used_by_work(self, tensor: Tensor) -> Tensor:
        tensor.record_stream(self._work)
        return tensor

    def _to_host(self, result: Tensor) -> Tensor:
        result.record_stream(self._outward)
        host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
        return host.copy_(result, non_blocking=True)


def _some(tensor: Tensor | Sequences, index: Tensor) -> Tensor | Sequences:
    if isinstance(tensor, Sequences):
        return tensor[index]
    return tensor.T[:, index].T if tensor.dim() == 2 else tensor[index]


def open_device(name: str) -> Device:
    """The device of that name, or the best there is for `auto`. Raises DeviceError as `pick_device` does."""
    picked = pick_device(name)
    return Cuda(picked) if picked.type == "cuda" else Cpu()


def _each(function: Callable[[Tensor], Tensor], value: Tensor | Sequences) -> Tensor | Sequences:
    return value.map(function) if isinstance(value, Sequences) else function(value)


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


def pick_device(name: str) -> torch.device:
    """`auto` takes the first GPU where there is one; a device that is named is used, or refused.

    Raises:
        DeviceError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device {name!r} is not available: {count} CUDA devices are here; use --device cpu or auto"
            )
    elif device.type != "cpu":
        raise DeviceError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:1")
    return device
