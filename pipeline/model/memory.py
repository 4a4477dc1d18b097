"""Running out of memory on a device: recognised in all its forms, and answered with half as many rows. Independent of
models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from ..errors import DeviceError, DeviceFailedError, one_line

#: What torch, cuBLAS, cuDNN, cuSOLVER and onnxruntime write where an allocation fails and the exception is a plain
#: RuntimeError. "CUDA error: out of memory" is also what `cudaHostAlloc`, for pinned memory, fails with.
_MESSAGES = (
    "CUDA error: out of memory",
    "CUDA out of memory",
    "cudaErrorMemoryAllocation",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "Failed to allocate memory for requested buffer",
)
Result = TypeVar("Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the host's pinned memory, is full."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def no_memory(error: BaseException) -> DeviceFailedError:
    """The error for a device that has no memory for a single row."""
    return DeviceFailedError(f"the device has no memory for a single row: {one_line(error)}")


@contextmanager
def loading(device: torch.device) -> Iterator[None]:
    """Load models on a device. Raises DeviceError if a GPU has no memory for them, or cannot be used, such as
    one that another process has reserved."""
    try:
        yield
    except (DeviceFailedError, RuntimeError) as error:
        if device.type != "cuda":
            raise
        if isinstance(error, DeviceFailedError):  # on the golden rows
            raise _unusable(device, error) from error
        if is_out_of_memory(error):
            raise DeviceError(
                f"the device {device} has no memory for the model: {one_line(error)}; nvidia-smi lists what uses it;"
                " free it, or use another --device"
            ) from error
        if isinstance(error, torch.AcceleratorError):
            raise _unusable(device, error) from error
        raise


def _unusable(device: torch.device, error: BaseException) -> DeviceError:
    return DeviceError(
        f"the device {device} cannot be used: {one_line(error)}; nvidia-smi shows its state; use another --device, or"
        " try again"
    )


def free_memory(device: torch.device) -> None:
    """Return memory that torch keeps for later to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def halving(
    run: Callable[[int], Result],
    rows: int,
    *,
    device: torch.device,
    halved: Callable[[int], object] = lambda _: None,
) -> Result:
    """`run(rows)`, with half as many rows at once each time that the device runs out of memory.

    Args:
        halved: called with each smaller number of rows.

    Raises:
        DeviceFailedError: there is not enough memory for a single row.
    """
    while True:
        try:
            return run(rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if rows == 1:
                raise no_memory(error) from error
        rows = max(1, rows // 2)  # here, where the tensors of the failed attempt are no longer referenced
        halved(rows)
        free_memory(device)
