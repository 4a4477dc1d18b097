"""The devices that models run on, behind one protocol, and the CPU; `cuda.py` has the GPU. Independent of models."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DeviceError
from ..records import Inputs, Sent, Sequences
from .memory import loading


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """Results in the host's memory. `device_s`: seconds by stage, as far as the device has a clock of its own."""

    tensors: dict[str, Tensor | Sequences]
    device_s: Mapping[str, float] = field(default_factory=dict)


class Clock(Protocol):
    """Measures the stages of a block, on the clock of its device."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """The seconds by stage so far."""

    def measure(self, stage: str, *, nodes: bool = False) -> AbstractContextManager[None]:
        """Measure a piece of work; `nodes`: it is a forward pass, which may be measured node by node."""


class HostClock:
    """The host's clock."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str, *, nodes: bool = False) -> Iterator[None]:  # noqa: ARG002 - the same for the host
        """Measure a piece of work."""
        start = perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + perf_counter() - start


class Device(Protocol):
    """Where a model runs."""

    @property
    def torch(self) -> torch.device:
        """The device as a `torch.device`, with its number if it is a GPU."""

    @property
    def card(self) -> str | None:
        """The name of the GPU; None for the CPU."""

    @property
    def extra_flows(self) -> int:
        """How many threads beyond one for each core keep it busy, since those that wait for it need no core."""

    @property
    def pins(self) -> bool:
        """Whether it copies from pinned memory."""

    @property
    def survives_errors(self) -> bool:
        """Whether it can still be used after a model has raised."""

    @property
    def busy_s(self) -> float | None:
        """The seconds in which it has computed or copied; None if that is not measured."""

    def clock(self) -> Clock:
        """A clock for the computations of one block."""

    def lane(self) -> "Device":
        """The same device for one more block in flight, which does not wait for those of others."""

    def peak_bytes(self, run: Callable[[], object], /) -> int:
        """The most memory that a call takes on the device, which is made twice; 0 if it shares the host's."""

    def room(self, block_bytes: int, /) -> int | None:
        """How many blocks of this size fit into its free memory; None if it shares the host's."""

    def send(self, tensors: Inputs) -> Sent:
        """Start copying a block's inputs to the device."""

    def work(
        self,
        sent: Sent,
        compute: Callable[[Inputs], Inputs],
        rows: NDArray[np.int64] | None = None,
        clock: Clock | None = None,
        *,
        waits: bool = False,
    ) -> Fetched:
        """Compute with rows that were sent, at these positions (None: all), and copy the results to the host. Raises
        what `compute` raises.

        Args:
            clock: made by `clock`, with which `compute` measures what it does.
            waits: whether `compute` waits for the device again and again, as generating text does; if not, it only
                launches work there, which is faster by one thread at a time.
        """

    def using(self, sent: Sent, rows: NDArray[np.int64] | None = None) -> AbstractContextManager[Inputs]:
        """The rows that were sent, at these positions, for computations that fetch their own results."""

    def select_rows(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """The rows at these positions of inputs that are on the device; None selects all of them."""


class Cpu:
    """The host itself: nothing is copied."""

    card = None
    busy_s = None
    extra_flows = 0
    pins = False
    survives_errors = True

    def __init__(self) -> None:
        self.torch = torch.device("cpu")

    def clock(self) -> HostClock:
        """The host's clock."""
        return HostClock()

    def lane(self) -> Device:
        """The host: threads do not wait for one another."""
        return self

    def peak_bytes(self, _: Callable[[], object]) -> int:
        """Not measured, and not called."""
        return 0

    def room(self, _: int) -> int | None:
        """The host's memory is limited elsewhere."""
        return None

    def send(self, tensors: Inputs) -> Sent:
        """The inputs unchanged."""
        return Sent(tensors=tensors)

    def work(
        self,
        sent: Sent,
        compute: Callable[[Inputs], Inputs],
        rows: NDArray[np.int64] | None = None,
        _: Clock | None = None,
        *,
        waits: bool = False,  # noqa: ARG002 - nothing is launched
    ) -> Fetched:
        """Compute in the calling thread."""
        return Fetched(tensors=dict(compute(select(sent.tensors, rows))))

    def using(self, sent: Sent, rows: NDArray[np.int64] | None = None) -> AbstractContextManager[Inputs]:
        """The rows, in the calling thread."""
        return nullcontext(select(sent.tensors, rows))

    def select_rows(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """Copies of the rows, in the column-major layout of the tensors."""
        return select(tensors, rows)


def select(tensors: Inputs, rows: NDArray[np.int64] | None, index: Tensor | None = None) -> Inputs:
    """Copies of the rows at these positions, in the column-major layout of the tensors; None selects all, uncopied.

    Args:
        index: the positions on the device of the tensors, if that is not the CPU.
    """
    if rows is None:
        return tensors
    on_host = torch.from_numpy(rows)
    return {name: _select(tensor, on_host if index is None else index, on_host) for name, tensor in tensors.items()}


def rows_between(tensors: Inputs, start: int, stop: int) -> Inputs:
    """Copies of consecutive rows of tables, in their column-major layout."""
    found: dict[str, Tensor | Sequences] = {}
    for name, tensor in tensors.items():
        assert isinstance(tensor, Tensor), "tables have no steps"
        found[name] = tensor.T[:, start:stop].contiguous().T
    return found


def _select(tensor: Tensor | Sequences, index: Tensor, on_host: Tensor) -> Tensor | Sequences:
    if isinstance(tensor, Sequences):
        return tensor.take(index, on_host)
    return tensor.T[:, index].T if tensor.dim() == 2 else tensor[index]


def open_device(name: str) -> Device:
    """The first device of this name. Raises DeviceError as `pick_devices` does."""
    return _opened(pick_devices(name)[0])


def open_others(name: str) -> list[Device]:
    """The devices of this name but the first. Raises DeviceError as `pick_devices` does."""
    return [_opened(one) for one in pick_devices(name)[1:]]


def _opened(device: torch.device) -> Device:
    if device.type == "cpu":
        return Cpu()
    from .cuda import Cuda  # which imports this module

    with loading(device):
        return Cuda(device)


def pick_devices(name: str) -> list[torch.device]:
    """The torch devices of this name, GPUs with their numbers.

    `cuda`: every visible GPU of the same card as the first, since those of another round differently; `cuda:1`: that
    one; `auto`: as `cuda` where there is a GPU, otherwise the CPU.

    Raises:
        DeviceError: the device is unknown or not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:1") from error
    if device.type == "cpu":
        return [device]
    if device.type != "cuda":
        raise DeviceError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:1")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise DeviceError(
            f"device {name!r} is not available: this machine has {count} CUDA device{'s' * (count != 1)};"
            " use --device cpu or auto"
        )
    if device.index is not None:
        return [device]
    every = [torch.device("cuda", index) for index in range(count)]
    return every if count == 1 else [one for one in every if _card(one) == _card(every[0])]


def _card(device: torch.device) -> tuple[str, int, int]:
    """What decides how a GPU rounds: its model, and its compute capability."""
    found = torch.cuda.get_device_properties(device)
    return found.name, found.major, found.minor


def group_name(first: torch.device, name: str) -> str:
    """What all devices of a name are called: `cpu`, `cuda` or `cuda:1`.

    Args:
        first: the first of them.
    """
    return str(first) if ":" in name else first.type
