"""A CUDA GPU. Each block in flight has a lane: a stream of its own, on which it is copied in, computed and copied out.
So copies of one block overlap with the computation of others, and each thread waits only for its own block. Pinned
memory is used again once the copies that use it have finished (see features/pinned.py). Independent of models.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DeviceFailedError, ScorelineError, one_line
from ..features.pinned import pinned_copy, pinned_like
from ..records import Inputs, Sent, Sequences
from .devices import Clock, Device, Fetched, select
from .event_clock import EventClock, Gaps, Timeline
from .in_flight import InFlight, new_event
from .memory import free_memory, is_out_of_memory, no_memory
from .passes import in_row_order, num_rows

#: Blocks that the device has in hand while all cores work on others: one copied in, one computed, one copied out.
IN_HAND = 3
#: The share of the free memory that blocks in flight may take; the rest is for padding, rounding and fragments.
USABLE = 0.8


class Cuda:
    """A GPU, with one lane for the threads that share this object; `lane` opens another.

    Where its memory does not suffice for a block, the block is sent and computed in halves.

    Only one thread launches kernels at a time. Each launch releases the GIL, and sixteen threads that take it from one
    another take 2.5 times as long as one after the other for the same small operations (measured on two cores).

    Args:
        first: the first lane of the device; None to open it.
    """

    extra_flows = IN_HAND
    pins = True
    survives_errors = False

    def __init__(self, device: torch.device, first: "Cuda | None" = None) -> None:
        self.torch = self._device = device
        self.card: str = torch.cuda.get_device_properties(device).name
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._in_flight, self._gaps = InFlight(), Gaps()
        self._all_in_flight: list[InFlight] = [] if first is None else first._all_in_flight
        self._all_in_flight.append(self._in_flight)
        self._timeline: Timeline = self._new_timeline() if first is None else first._timeline
        self._launching: Lock = Lock() if first is None else first._launching

    def _new_timeline(self) -> Timeline:
        origin = new_event()
        origin.record(self._stream)
        origin.synchronize()
        return Timeline(origin)

    @property
    def busy_s(self) -> float:
        """The seconds in which the device has computed or copied, on all lanes."""
        return self._timeline.busy_s

    def clock(self) -> Clock:
        """A clock of events on the current stream."""
        return EventClock(self._timeline, self._gaps)

    def lane(self) -> Device:
        """The same device with a lane of its own."""
        return Cuda(self._device, self)

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """The most memory that a call takes on the device, while nothing else runs there. It is called twice, since
        libraries allocate what they keep at the first call.

        Raises:
            DeviceFailedError: the device has failed, or has no memory for it.
        """
        try:
            run()
            torch.cuda.synchronize(self._device)
            self._in_flight.release()
            before = torch.cuda.memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            run()
            return torch.cuda.max_memory_allocated(self._device) - before
        except ScorelineError:
            raise
        except Exception as error:  # whatever a driver raises
            raise self._failed(error) from error

    def room(self, block_bytes: int) -> int | None:
        """How many blocks of this size fit into the memory that is free while the device has none in hand. Raises
        DeviceFailedError if it has failed."""
        try:
            for one in self._all_in_flight:
                one.release()
            free_memory(self._device)
            return int(torch.cuda.mem_get_info(self._device)[0] * USABLE) // max(1, block_bytes)
        except Exception as error:  # whatever a driver raises
            raise self._failed(error) from error

    def send(self, tensors: Inputs) -> Sent:
        """Start copying and return immediately. Tensors that are not pinned are copied to pinned memory first.

        If the device has no memory for them, nothing is sent, and `work` sends smaller parts.

        Raises:
            DeviceFailedError: the device has failed.
        """
        try:
            self._in_flight.release()
            return self._send(tensors)
        except Exception as error:
            if not is_out_of_memory(error):
                raise self._failed(error) from error
        self._free_memory()
        return Sent(tensors=tensors)

    def work(
        self,
        sent: Sent,
        compute: Callable[[Inputs], Inputs],
        rows: NDArray[np.int64] | None = None,
        clock: Clock | None = None,
        *,
        waits: bool = False,
    ) -> Fetched:
        """Compute after the copy, copy the results back, and wait for them.

        Raises what `compute` raises, and DeviceFailedError if the device has failed, or has no memory for a single row.
        """
        reason: BaseException = torch.OutOfMemoryError("its inputs do not fit")
        if sent.events is not None:
            try:
                return self._fetched(sent, compute, rows, clock, nullcontext() if waits else self._launching)
            except Exception as error:
                if not is_out_of_memory(error):
                    if self._wait_after_failure() or isinstance(error, ScorelineError):
                        raise
                    raise self._device_failed(error) from error
                reason = error.with_traceback(None)  # whose frames hold tensors
        source = sent.tensors if sent.source is None else sent.source
        rows = np.arange(num_rows(source)) if rows is None else rows
        if len(rows) < 2:
            raise no_memory(reason)
        self._free_memory()
        parts = np.array_split(rows, 2)
        halves = [self.work(self.send(select(source, part)), compute, clock=clock, waits=waits) for part in parts]
        return _joined(halves)

    @contextmanager
    def using(self, sent: Sent, rows: NDArray[np.int64] | None = None) -> Iterator[Inputs]:
        """Rows that were sent, on the lane's stream, for computations that fetch their own results.

        Raises:
            DeviceFailedError: the device has failed, or has no memory for these rows.
        """
        if sent.events is None:
            sent, rows = self.send(select(sent.tensors, rows)), None
            if sent.events is None:
                raise _no_memory_for_rows()
        whole = EventClock(self._timeline, self._gaps)
        try:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(sent.events[1])
                with whole.measure(""):
                    yield self.select_rows(sent.tensors, rows)
                self._stream.synchronize()
            whole.collect()
        except Exception as error:
            if self._wait_after_failure():
                if is_out_of_memory(error):
                    raise _no_memory_for_rows() from error
                raise
            if isinstance(error, ScorelineError):
                raise
            raise self._device_failed(error) from error

    def select_rows(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """Selected on the current stream."""
        if rows is None:
            return tensors
        stream = torch.cuda.current_stream(self._device)
        pinned, copied = _pinned(torch.from_numpy(rows)), new_event()
        try:
            index = self._to_device(pinned)
            copied.record(stream)
            self._in_flight.add(copied, pinned)
        except BaseException:
            self._in_flight.add_failed(stream, pinned)
            raise
        return select(tensors, rows, index)

    def _send(self, tensors: Inputs) -> Sent:
        start, end = new_event(), new_event()
        pinned = {name: _each(_pinned, given) for name, given in tensors.items()}
        copies: dict[str, Tensor | Sequences] = {}
        try:
            with torch.cuda.stream(self._stream):
                start.record()
                for name, given in pinned.items():
                    copies[name] = _each(self._to_device, given)
                end.record()
            self._in_flight.add(end, (pinned, copies))
        except BaseException:
            self._in_flight.add_failed(self._stream, (pinned, copies))
            raise
        return Sent(tensors=copies, source=tensors, events=(start, end))

    def _fetched(
        self,
        sent: Sent,
        compute: Callable[[Inputs], Inputs],
        rows: NDArray[np.int64] | None,
        clock: Clock | None,
        launching: AbstractContextManager[Any],
    ) -> Fetched:
        assert sent.events is not None, "it was sent"
        whole = EventClock(self._timeline, self._gaps)
        computed, done = new_event(), new_event()
        fetched: dict[str, Tensor | Sequences] = {}
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(sent.events[1])
            with launching, whole.measure("") if clock is None else nullcontext():
                results = compute(self.select_rows(sent.tensors, rows))
            computed.record()
            try:
                for name, result in results.items():
                    fetched[name] = _fetch(result)
                done.record()
                self._in_flight.add(done, (sent, results, fetched))
            except BaseException:
                self._in_flight.add_failed(self._stream, (sent, results, fetched))
                raise
        try:
            done.synchronize()
        except Exception as error:
            raise self._failed(error) from error
        for one in (whole, clock):
            if isinstance(one, EventClock):
                one.collect()
        self._timeline.add(computed, done)
        return Fetched(
            # Copies, so that the pinned memory serves the next block.
            tensors={name: _each(Tensor.clone, result) for name, result in fetched.items()},
            device_s={"transfer": self._timeline.add(*sent.events)},
        )

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)

    def _free_memory(self) -> None:
        try:
            self._in_flight.release()
            free_memory(self._device)
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DeviceFailedError:
        self._wait_after_failure()
        return self._device_failed(error)

    def _device_failed(self, error: Exception) -> DeviceFailedError:
        return DeviceFailedError(f"the device {self._device} has failed: {one_line(error)}")

    def _wait_after_failure(self) -> bool:
        """Wait for what a failed call has started, so that its tensors can be freed. Returns whether the device still
        works; if it does not, what is in flight is never freed."""
        try:
            torch.cuda.synchronize(self._device)
        except Exception:  # whatever a driver raises
            for one in self._all_in_flight:
                one.keep_forever()
            return False
        return True


def _no_memory_for_rows() -> DeviceFailedError:
    return DeviceFailedError("the device has no memory for the rows of a block; pass a smaller --batch-size")


def _joined(parts: list[Fetched]) -> Fetched:
    """The results of consecutive rows as one; the seconds are added up."""
    names = parts[0].tensors
    return Fetched(
        tensors={name: in_row_order([part.tensors[name] for part in parts], []) for name in names},
        device_s={name: sum(part.device_s[name] for part in parts) for name in parts[0].device_s},
    )


def _pinned(tensor: Tensor) -> Tensor:
    """The tensor in pinned memory, if there is some left: to copy from other memory is correct, but slower."""
    return tensor if tensor.is_pinned() else pinned_copy(tensor)


def _to_host(result: Tensor) -> Tensor:
    """A copy in pinned memory, which arrives later; column by column if the result is."""
    try:
        host = pinned_like(result)
    except RuntimeError:  # no more pinned memory; the copy then waits
        host = torch.empty(result.shape, dtype=result.dtype)
    return host.copy_(result, non_blocking=True)


def _fetch(result: Tensor | Sequences) -> Tensor | Sequences:
    if not isinstance(result, Sequences):
        return _to_host(result)
    offsets = _to_host(result.offsets) if result.on_host is None else result.on_host
    return Sequences(values=_to_host(result.values), offsets=offsets)


def _each(function: Callable[[Tensor], Tensor], value: Tensor | Sequences) -> Tensor | Sequences:
    return value.map(function) if isinstance(value, Sequences) else function(value)
