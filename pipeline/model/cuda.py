"""A CUDA GPU. Copies overlap with computation: while one block is computed, the next is copied in and the previous one
copied out, each on its own stream, and every lane waits only for its own block. Pinned memory comes from torch's cache,
which reuses a buffer once the copies that use it have finished. Independent of models.
"""

import ctypes
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ModelFailedError, ScorelineError, one_line
from ..features.pinned import pinned_copy
from ..records import Inputs, Sent, Sequences
from .devices import Fetched, select
from .memory import free_memory, is_out_of_memory, no_memory
from .passes import in_row_order, num_rows

#: Copies and computations whose tensors are kept at least, whether finished or not.
KEPT = 12


class InFlight:
    """Keeps tensors until the device has finished with them.

    The memory of one stream is then never reused while another still works with it. It also matters once the device has
    failed: to free a tensor that took part in a copy then ends the process with SIGABRT, from a destructor. So the
    tensors of the last blocks are kept a while longer, and after a failure forever.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[torch.cuda.Event, Any]] = deque()
        self._lock = Lock()

    def add(self, event: torch.cuda.Event, tensors: Any) -> None:
        """Keep tensors until this event has passed. Raises RuntimeError if the device has failed."""
        with self._lock:
            self._entries.append((event, tensors))
        self.release(KEPT)

    def add_failed(self, stream: torch.cuda.Stream, tensors: Any) -> None:
        """Keep tensors of a call that has failed halfway: until its stream has passed, or forever."""
        event = _event()
        try:
            event.record(stream)
        except Exception:  # whatever a driver raises
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(tensors))
            return
        with self._lock:
            self._entries.append((event, tensors))

    def release(self, kept: int = 0) -> None:
        """Drop entries whose event has passed, except for the last `kept`."""
        with self._lock:
            while len(self._entries) > kept and self._entries[0][0].query():  # type: ignore[no-untyped-call]
                self._entries.popleft()

    def __del__(self) -> None:
        """Wait for the rest, or keep it if the device has failed in the meantime."""
        try:
            for event, _ in self._entries:
                event.synchronize()
        except Exception:  # whatever a driver raises
            self.keep_forever()

    def keep_forever(self) -> None:
        """Never free the tensors, not even when the process ends: the device has failed."""
        with self._lock:
            for entry in self._entries:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(entry))


class Cuda:
    """A GPU with three streams that all lanes share: copies in, work, copies out.

    It has three lanes: while one block is copied in, another is computed and a third copied out and decoded. Where its
    memory does not suffice for a block, the block is sent and computed in halves.
    """

    lanes = 3
    pins = True
    survives_errors = False

    def __init__(self, device: torch.device) -> None:
        self.torch = self._device = device
        self.card: str = torch.cuda.get_device_properties(device).name
        self._inward, self._work, self._outward = (_stream(device) for _ in range(3))
        self._one_at_a_time = Lock()  # keeps a block's kernels together in the queue
        self._in_flight = InFlight()

    def send(self, tensors: Inputs) -> Sent:
        """Start copying and return immediately. Tensors that are not pinned are copied to pinned memory first.

        If the device has no memory for them, nothing is sent, and `work` sends smaller parts.

        Raises:
            ModelFailedError: the device has failed.
        """
        try:
            return self._send(tensors)
        except Exception as error:
            if not is_out_of_memory(error):
                raise self._failed(error) from error
        self._free_memory()
        return Sent(tensors=tensors)

    def work(self, sent: Sent, compute: Callable[[Inputs], Inputs], rows: NDArray[np.int64] | None = None) -> Fetched:
        """Compute after the copy, copy the results back, and wait for them.

        Raises what `compute` raises, and ModelFailedError if the device has failed, or has no memory for a single row.
        """
        reason: BaseException = torch.OutOfMemoryError("its inputs do not fit")
        if sent.events is not None:
            try:
                return self._fetched(sent, compute, rows)
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
        halves = [self.work(self.send(select(source, half)), compute) for half in np.array_split(rows, 2)]
        return _joined(halves)

    @contextmanager
    def using(self, sent: Sent, rows: NDArray[np.int64] | None = None) -> Iterator[Inputs]:
        """Rows that were sent, on the current stream, for computations that fetch their own results.

        Raises:
            ModelFailedError: the device has failed, or has no memory for these rows.
        """
        if sent.events is None:
            sent, rows = self.send(select(sent.tensors, rows)), None
            if sent.events is None:
                raise ModelFailedError("the device has no memory for the rows of a block; pass a smaller --batch-size")
        stream = torch.cuda.current_stream(self._device)
        try:
            stream.wait_event(sent.events[1])
            yield self.select_rows(sent.tensors, rows)
            stream.synchronize()
        except Exception as error:
            if self._wait_after_failure() or isinstance(error, ScorelineError):
                raise
            raise self._device_failed(error) from error

    def select_rows(self, tensors: Inputs, rows: NDArray[np.int64] | None) -> Inputs:
        """Selected on the current stream."""
        if rows is None:
            return tensors
        pinned = _pinned(torch.from_numpy(rows))
        index, copied = self._to_device(pinned), _event()
        copied.record(torch.cuda.current_stream(self._device))
        self._in_flight.add(copied, pinned)
        return select(tensors, rows, index)

    def _send(self, tensors: Inputs) -> Sent:
        start, end = _event(), _event()
        pinned = {name: _each(_pinned, given) for name, given in tensors.items()}
        copies: dict[str, Tensor | Sequences] = {}
        try:
            with torch.cuda.stream(self._inward):
                start.record()
                for name, given in pinned.items():
                    copies[name] = _each(self._to_device, given)
                end.record()
        except Exception:
            self._in_flight.add_failed(self._inward, (pinned, copies))
            raise
        self._in_flight.add(end, (pinned, copies))
        return Sent(tensors=copies, source=tensors, events=(start, end))

    def _fetched(self, sent: Sent, compute: Callable[[Inputs], Inputs], rows: NDArray[np.int64] | None) -> Fetched:
        assert sent.events is not None, "it was sent"
        copied_from, copied = sent.events
        start, end, done = _event(), _event(), _event()
        with self._one_at_a_time:
            with torch.cuda.stream(self._work):
                self._work.wait_event(copied)
                start.record()
                results = compute(self.select_rows(sent.tensors, rows))
                end.record()
            with torch.cuda.stream(self._outward):
                self._outward.wait_event(end)
                fetched: dict[str, Tensor | Sequences] = {}
                try:
                    for name, result in results.items():
                        fetched[name] = _fetch(result)
                    done.record()
                except Exception:
                    self._in_flight.add_failed(self._outward, (sent, results, fetched))
                    raise
        self._in_flight.add(done, (sent, results, fetched))
        try:
            done.synchronize()
        except Exception as error:
            raise self._failed(error) from error
        return Fetched(
            tensors={name: _each(Tensor.clone, result) for name, result in fetched.items()},
            device_s={
                "transfer": copied_from.elapsed_time(copied) / 1000,
                "forward": start.elapsed_time(end) / 1000,
            },
        )

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)

    def _free_memory(self) -> None:
        try:
            self._in_flight.release()
            free_memory(self._device)
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ModelFailedError:
        self._wait_after_failure()
        return self._device_failed(error)

    def _device_failed(self, error: Exception) -> ModelFailedError:
        return ModelFailedError(f"the device {self._device} has failed: {one_line(error)}")

    def _wait_after_failure(self) -> bool:
        """Wait for what a failed call has started, so that its tensors can be freed. Returns whether the device still
        works; if it does not, what is in flight is never freed."""
        try:
            torch.cuda.synchronize(self._device)
        except Exception:  # whatever a driver raises
            self._in_flight.keep_forever()
            return False
        return True


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
    if result.dim() == 2 and result.T.is_contiguous():
        return _fill_pinned(result.T).T
    return _fill_pinned(result)


def _fill_pinned(result: Tensor) -> Tensor:
    try:
        host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
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


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
