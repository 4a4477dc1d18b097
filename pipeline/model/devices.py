"""A GPU that is kept busy: while one block is computed the next is copied in and the last copied out, each on a stream
of its own, and every lane waits for its own block alone. Knows nothing of models.

Pinned memory comes from torch's own cache, which hands a buffer out again once the copies that use it are through.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from ..errors import DeviceError
from ..records import Inputs, Sent, Sequences


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """Results in the host's memory, and the seconds that the device took, by its own clock."""

    tensors: dict[str, Tensor | Sequences]
    transfer_s: float
    forward_s: float


class CudaStreams:
    """Three streams that all lanes share: copies in, work, copies out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inward, self._work, self._outward = (_stream(device) for _ in range(3))
        self._one_at_a_time = Lock()  # a block's kernels stand together in the queue

    def send(self, tensors: Inputs) -> Sent:
        """Begin to copy; returns at once. Pinned tensors are copied as they are, others by way of pinned ones."""
        start, end = _event(), _event()
        with torch.cuda.stream(self._inward):
            start.record()
            moved = {name: _each(self._to_device, given) for name, given in tensors.items()}
            end.record()
        return Sent(tensors=moved, start=start, end=end)

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs]) -> Fetched:
        """Compute once the copy is there, copy the results back, and wait for those alone.

        Raises what `compute` raises, and what the device has to say of it.
        """
        start, end, done = _event(), _event(), _event()
        with self._one_at_a_time:
            with torch.cuda.stream(self._work):
                self._work.wait_event(sent.end)
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
            transfer_s=sent.start.elapsed_time(sent.end) / 1000,
            forward_s=start.elapsed_time(end) / 1000,
        )

    def _to_device(self, tensor: Tensor) -> Tensor:
        return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(self._device, non_blocking=True)

    def _used_by_work(self, tensor: Tensor) -> Tensor:
        tensor.record_stream(self._work)
        return tensor

    def _to_host(self, result: Tensor) -> Tensor:
        result.record_stream(self._outward)
        host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
        return host.copy_(result, non_blocking=True)


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
        raise DeviceError(f"device {name!r} is not known; say auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(
                f"device {name!r} is not available: {count} CUDA devices are here; use --device cpu or auto"
            )
    elif device.type != "cpu":
        raise DeviceError(f"device {name!r} is not supported; say auto, cpu, cuda or cuda:1")
    return device
