"""The modes of torch and numpy that affect results, set to those of a fresh process during scoring and restored
afterwards. Independent of models.

Some modes belong to a thread (autocast, default device, inference mode, gradients, number of threads, flushed
denormals, numpy's errors): they are set in each thread that computes. Others belong to the process (default dtype,
deterministic algorithms, precision of float32 products, backends): the first caller sets them and the last restores
them, so that calls from several threads do not interfere. Meanwhile the caller's other threads see these modes, too.
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

#: The settings for the precision of float32 products, by backend and operation; where a specific one is "none", the
#: general one applies.
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
    """A mode of the process: how to read and set it, and the value for scoring."""

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


#: The modes of a fresh process, except that float32 products are never computed in fewer bits.
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
    """How many callers need the modes of the process, and how to restore the earlier ones."""

    lock: Lock = field(default_factory=Lock)
    users: int = 0
    back: ExitStack = field(default_factory=ExitStack)


_process = _Process()
_thread = local()


@contextmanager
def pinned() -> Iterator[None]:
    """Set every mode that affects results to its value for scoring, in this thread; restore them afterwards.

    Models run on one intra-op thread: the last bits of a small pass depend on the number of threads, and small layers
    do not run faster on more of them (measured: a GRU of width 24 ran fifty times slower on busy cores).

    Not changed: `TorchFunctionMode` and `TorchDispatchMode` contexts of the caller (the first disable the fast path of
    transformers), global module hooks, the engine of quantised operations, preferred linear algebra libraries.
    """
    if getattr(_thread, "pinned", False):
        yield
        return
    with ExitStack() as back:
        _pin_thread(back)
        back.callback(_release)
        _acquire()
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
    if sys.float_info.min * _HALF == 0.0:  # torch has no getter for this mode
        torch.set_flush_denormal(False)
        back.callback(torch.set_flush_denormal, True)
    back.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))


def _leave_devices(back: ExitStack) -> None:
    """Remove default devices from the stack of contexts. Entering another one on top is not enough: with any such
    context, a transformer leaves its fast path."""
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


def _acquire() -> None:
    with _process.lock:
        _process.users += 1
        if _process.users > 1:
            return
        for mode in _OF_PROCESS:
            if (found := mode.read()) != mode.wanted:
                mode.write(mode.wanted)
                _process.back.callback(mode.write, found)
        _pin_float32_products(_process.back)


def _release() -> None:
    with _process.lock:
        _process.users -= 1
        if not _process.users:
            _process.back.close()


def _pin_float32_products(back: ExitStack) -> None:
    """torch has two kinds of settings for these: an old one for all products, and a new one for each backend and
    operation, which takes effect. A new one that is "none" reads as the more general one, so each is read after those
    are reset."""
    read, write = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter
    old = [(write_old, wanted, _readable(read_old)) for read_old, write_old, wanted in _OLD_FLOAT32_PRODUCTS]
    found = {}
    for setting in _FLOAT32_PRODUCTS:
        found[setting] = read(*setting)
        write(*setting, "none")
    for write_old, wanted, before in old:
        if before is not None:
            write_old(wanted)
    for setting in _FLOAT32_PRODUCTS:
        write(*setting, "ieee")

    def restore() -> None:
        for write_old, _, before in old:
            if before is not None:
                write_old(before)
        for setting, precision in found.items():
            write(*setting, precision)

    back.callback(restore)


def _readable(read: Callable[[], Any]) -> Any:
    """An old setting; None where the new ones contradict it, since torch then raises instead of returning it."""
    try:
        return read()
    except RuntimeError:
        return None
