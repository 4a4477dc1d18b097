"""The devices that models run on, behind one protocol: a CPU and a CUDA GPU. Independent of models.

On a GPU, copies overlap with computation: while one block is computed, the next is copied in and the previous one
copied out, each on its own stream, and every lane waits only for its own block. Pinned memory comes from torch's cache,
which reuses a buffer once the copies that use it have finished.
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
        """The device as a `torch.device`."""

    @property
    def lanes(self) -> int | None:
        """How many blocks it processes at once; None for one per core."""

    @property
    def pins(self) -> bool:
        """Whether it copies from pinned memory."""

    @property
    def survives_errors(self) -> bool:
        """Whether it can still be used after a model has raised."""

    def send(self, tensors: Inputs) -> Sent:
        """Start copying a block's inputs to the device."""

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs]) -> Fetched:
        """Compute with inputs that were sent, and copy the results to the host. Raises what `compute` raises."""

    def select_rows(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """The rows at these positions of inputs that are on the device; None selects all of them."""


class Cpu:
    """The host itself: nothing is copied."""

    lanes = None
    pins = False
    survives_errors = True

    def __init__(self) -> None:
        self.torch = torch.device("cpu")

    def send(self, tensors: Inputs) -> Sent:
        """The inputs unchanged."""
        return Sent(tensors=tensors)

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs]) -> Fetched:
        """Compute in the calling thread."""
        return Fetched(tensors=dict(compute(sent.tensors)))

    def select_rows(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """Copies of the rows, in the column-major layout of the tensors."""
        if rows is None:
            return tensors
        index = torch.from_numpy(rows)
        return {name: _select(tensor, index) for name, tensor in tensors.items()}


class Cuda:
    """A GPU with three streams that all lanes share: copies in, work, copies out.

    It has three lanes: while one block is copied in, another is computed and a third copied out and decoded.
    """

    lanes = 3
    pins = True
    survives_errors = False

    def __init__(self, device: torch.device) -> None:
        self.torch = self._device = device
        self._inward, self._work, self._outward = (_stream(device) for _ in range(3))
        self._one_at_a_time = Lock()  # keeps a block's kernels together in the queue

    def send(self, tensors: Inputs) -> Sent:
        """Start copying and return immediately. Tensors that are not pinned are copied to pinned memory first."""
        start, end = _event(), _event()
        with torch.cuda.stream(self._inward):
            start.record()
            copies = {name: _each(self._to_device, given) for name, given in tensors.items()}
            end.record()
        return Sent(tensors=copies, events=(start, end))

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs]) -> Fetched:
        """Compute after the copy, copy the results back, and wait for them.

        Raises what `compute` raises, and errors of the device.
        """
        assert sent.events is not None, "it was sent by this device"
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

    def select_rows(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """Selected on the current stream."""
        if rows is None:
            return tensors
        index = torch.from_numpy(rows).to(self._device)
        return {name: _select(tensor, index) for name, tensor in tensors.items()}

    def _to_device(self, tensor: Tensor) -> Tensor:
        return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(self._device, non_blocking=True)

    def _used_by_work(self, tensor: Tensor) -> Tensor:
        tensor.record_stream(self._work)
        return tensor

    def _to_host(self, result: Tensor) -> Tensor:
        result.record_stream(self._outward)
        host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
        return host.copy_(result, non_blocking=True)


def _select(tensor: Tensor | Sequences, index: Tensor) -> Tensor | Sequences:
    if isinstance(tensor, Sequences):
        return tensor[index]
    return tensor.T[:, index].T if tensor.dim() == 2 else tensor[index]


def open_device(name: str) -> Device:
    """The device of this name; `auto` is the first GPU, or the CPU. Raises DeviceError as `pick_device` does."""
    picked = pick_device(name)
    return Cuda(picked) if picked.type == "cuda" else Cpu()


def _each(function: Callable[[Tensor], Tensor], value: Tensor | Sequences) -> Tensor | Sequences:
    return value.map(function) if isinstance(value, Sequences) else function(value)


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]


def pick_device(name: str) -> torch.device:
    """The torch device of this name; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        DeviceError: the device is unknown or not available.
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
                f"device {name!r} is not available: this machine has {count} CUDA device{'s' * (count != 1)};"
                " use --device cpu or auto"
            )
    elif device.type != "cpu":
        raise DeviceError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:1")
    return device
