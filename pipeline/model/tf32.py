"""TF32 products on a GPU: float32 values whose factors are rounded to 11 significant bits while they are multiplied.
Independent of models.

Whether a kernel uses TF32 is a setting of the process, read when the kernel is launched. Some models use it and others
do not, at the same time: hidden layers and attributions are computed in full float32 beside scores in TF32. So kernels
are launched inside `float32_products`, and callers with different settings wait for one another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition, local

import torch

from ..errors import DeviceError, UsageError
from ..options import Precision

_OPERATIONS = ("all", "matmul", "conv", "rnn")
#: GPUs before this compute capability (Ampere) compute in float32 whatever the settings are.
OLDEST = 8


@dataclass(slots=True)
class _Launching:
    """How many threads launch kernels, with which setting; `waiting`: how many want the other one."""

    changed: Condition = field(default_factory=Condition)
    tf32: bool = False
    users: int = 0
    waiting: int = 0


_launching = _Launching()
_thread = local()


@contextmanager
def float32_products(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Launch kernels with or without TF32 on a GPU, while the modes of the process are `pinned`.

    Waits while other threads launch kernels with the other setting. Does nothing on a CPU, and inside another such
    context with the same setting.
    """
    if device.type != "cuda":
        yield
        return
    if (entered := getattr(_thread, "tf32", None)) is not None:
        assert entered == tf32, "a model does not run inside another"
        yield
        return
    _enter(tf32)
    _thread.tf32 = tf32
    try:
        yield
    finally:
        _thread.tf32 = None
        _leave()


def _enter(tf32: bool) -> None:
    with _launching.changed:
        if _launching.users and (_launching.tf32 != tf32 or _launching.waiting):  # nobody overtakes those who wait
            _launching.waiting += 1
            _launching.changed.wait_for(lambda: not _launching.users or _launching.tf32 == tf32)
            _launching.waiting -= 1
        if _launching.tf32 != tf32:
            _launching.tf32 = tf32
            _set(tf32)
        _launching.users += 1


def _leave() -> None:
    with _launching.changed:
        _launching.users -= 1
        if not _launching.users:
            if _launching.tf32:
                _launching.tf32 = False
                _set(False)
            _launching.changed.notify_all()


def _set(tf32: bool) -> None:
    """Set both kinds of settings that torch has, so that reading either does not raise. Those of the CPU stay."""
    torch._C._set_cublas_allow_tf32(tf32)
    torch._C._set_cudnn_allow_tf32(tf32)
    for operation in _OPERATIONS:
        torch._C._set_fp32_precision_setter("cuda", operation, "tf32" if tf32 else "ieee")


def refuse_without_tf32(precision: Precision, device: torch.device) -> None:
    """Check that a device has TF32, if that is the precision.

    Raises:
        UsageError: it is a CPU.
        DeviceError: it is a GPU that is too old.
    """
    if precision != "tf32":
        return
    if device.type != "cuda":
        raise UsageError(
            f"--precision tf32 needs a CUDA GPU, but the device is {device.type}, which has no TF32; use --precision"
            " fp32, or --device cuda"
        )
    properties = torch.cuda.get_device_properties(device)
    if properties.major < OLDEST:
        raise DeviceError(
            f"--precision tf32 needs a GPU of compute capability {OLDEST}.0 or above, but {properties.name} has"
            f" {properties.major}.{properties.minor}; use --precision fp32"
        )
