"""The modes of torch and numpy that move values, pinned to those of a fresh process while something is scored and given
back afterwards. Knows nothing of models.

Some modes belong to a thread (autocast, default device, inference mode, gradients, number of threads, flushed
denormals, numpy's errors): they are pinned in each thread that computes. Others belong to the process (default dtype,
deterministic algorithms, precision of float32 products, backends): they are pinned by the first that asks and given
back by the last, so that calls from several threads do not give back each other's. Meanwhile the caller's other
threads see the pinned ones.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock, local
from typing import Any

import numpy as np
import torch
from torch import overrides
from torch.utils import _device
from torch.utils._device import DeviceContext

#: The precision of float32 products, by backend and operation; a general one holds where a special one is "none".
_FLOAT32_PRODUCTS = (
    ("generic", "all"),
    *((backend, operation) for backend in ("cuda", "mkldnn") for operation in ("all", "matmul", "conv", "rnn")),
)
_OLD_FLOAT32_PRODUCTS: tuple[tuple[Callable[[], Any], Callable[[Any], object], Any], ...] = (
    (torch._C._get_float32_matmul_precision, torch._C._set_float32_matmul_precision, "highest"),
    (torch._C._get_cudnn_allow_tf32, torch._C._set_cudnn_allow_tf32, False),
)
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class _Mode:
    """A mode of the process: how it is read and written, and what scoring takes."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    wanted: Any


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(mode: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])  # half a second: torch imports its compiler for it


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _attribute(owner: Any, name: str, wanted: Any) -> _Mode:
    return _Mode(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), wanted)


#: As a fresh process has them, but that no float32 product is made in fewer bits.
_OF_PROCESS = (
    _Mode(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    _Mode(_deterministic, _set_deterministic, (False, False)),
    _Mode(_anomaly, lambda mode: torch.set_anomaly_enabled(*mode), (False, True)),
    _attribute(torch.backends.cudnn, "enabled", True),
    _attribute(torch.backends.cudnn, "benchmark", False),
    _attribute(torch.backends.cudnn, "deterministic", False),
    _attribute(torch.backends.mkldnn, "enabled", True),
    _attribute(torch.backends.mkldnn, "deterministic", False),
    _attribute(torch.backends.opt_einsum, "enabled", torch.backends.opt_einsum.is_available()),
    _Mode(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, True),
    _Mode(torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp, True),
    _Mode(torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp, True),
    _Mode(torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp, True),
    _Mode(torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp, True),
)


@dataclass(slots=True)
class _Process:
    """How many hold the modes of the process, and how to give them back."""

    lock: Lock = field(default_factory=Lock)
    holders: int = 0
    back: ExitStack = field(default_factory=ExitStack)


_process = _Process()
_thread = local()


@contextmanager
def pinned() -> Iterator[None]:
    """Every mode that moves a value, as scoring takes it, in this thread; as before afterwards. Models run on one
    intra-op thread: the last bits of a small pass depend on how many there are, and small layers do not get faster from
    more (measured: a GRU of 24 by fifty times slower where others want the cores, too).

    Left alone: `TorchFunctionMode` and `TorchDispatchMode` contexts of the caller (the first turn off the fast path of
    transformers), global module hooks, the engine of quantised operations, preferred linear algebra libraries.
    """
    if getattr(_thread, "pinned", False):
        yield
        return
    with ExitStack() as back:
        _pin_thread(back)
        back.callback(_release)
        _hold()
        yield


def _pin_thread(back: ExitStack) -> None:
    _thread.pinned = True
    back.callback(setattr, _thread, "pinned", False)
    if (threads := torch.get_num_threads()) != 1:
        torch.set_num_threads(1)
        back.callback(torch.set_num_threads, threads)
    back.enter_context(torch.inference_mode(False))
    back.enter_context(torch.enable_grad())
    for device in ("cpu", "cuda"):
        if torch.is_autocast_enabled(device):
            torch.set_autocast_enabled(device, False)
            back.callback(torch.set_autocast_enabled, device, True)
    _leave_devices(back)
    if sys.float_info.min * _HALF == 0.0:  # torch does not say whether it flushes
        torch.set_flush_denormal(False)
        back.callback(torch.set_flush_denormal, True)
    back.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))


def _leave_devices(back: ExitStack) -> None:
    """Take default devices from the stack of contexts. To enter another above them would not do: where any is entered,
    a transformer leaves its fast path."""
    entered = _entered()
    others = [mode for mode in entered if not isinstance(mode, DeviceContext)]
    if len(others) < len(entered):
        back.callback(setattr, _device, "CURRENT_DEVICE", _device.CURRENT_DEVICE)
        _device.CURRENT_DEVICE = None
        back.callback(_restack, entered)
        _restack(others)


def _entered() -> list[Any]:
    return list(overrides._get_current_function_mode_stack())  # type: ignore[no-untyped-call]


def _restack(modes: Sequence[Any]) -> None:
    for _ in _entered():
        overrides._pop_mode()  # type: ignore[no-untyped-call]
    for mode in modes:
        overrides._push_mode(mode)  # type: ignore[no-untyped-call]


def _hold() -> None:
    with _process.lock:
        _process.holders += 1
        if _process.holders > 1:
            return
        for mode in _OF_PROCESS:
            if (found := mode.read()) != mode.wanted:
                mode.write(mode.wanted)
                _process.back.callback(mode.write, found)
        _pin_float32_products(_process.back)


def _release() -> None:
    with _process.lock:
        _process.holders -= 1
        if not _process.holders:
            _process.back.close()


def _pin_float32_products(back: ExitStack) -> None:
    """torch keeps two accounts of these: an old setting for all products, and a new one for each backend and operation,
    which computes. A new one that is "none" reads as the one above it, so each is read once those above are away."""
    read, write = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter
    old = [(write_old, wanted, _readable(read_old)) for read_old, write_old, wanted in _OLD_FLOAT32_PRODUCTS]
    found = {}
    for place in _FLOAT32_PRODUCTS:
        found[place] = read(*place)
        write(*place, "none")
    for write_old, wanted, before in old:
        if before is not None:
            write_old(wanted)
    for place in _FLOAT32_PRODUCTS:
        write(*place, "ieee")

    def give_back() -> None:
        for write_old, _, before in old:
            if before is not None:
                write_old(before)
        for place, precision in found.items():
            write(*place, precision)

    back.callback(give_back)


def _readable(read: Callable[[], Any]) -> Any:
    """An old setting, or None where the new ones contradict it: torch does not say it then, and nobody reads it."""
    try:
        return read()
    except RuntimeError:
        return None
