"""Emulated GPUs: `torch.cuda` on CPU tensors, for machines without any.

Tensors on "cuda" are a subclass that cannot be mixed with CPU tensors, nor with those of another device. The values are
those of the CPU, except for those of log2, division by a number and TF32. `problems`
lists what a real GPU could get wrong (see `fakecuda_clocks`): reads of what another stream may not have written,
memory freed while another stream may use it, pinned memory that changes while it is copied. A copy to the host holds
poison until the host has waited for it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from scoreline.pipeline.features import pinned
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _device

import fakecuda_clocks as clocks
import fakecuda_devices as devices
import fakecuda_kernels as kernels
from fakecuda_clocks import Memory, current_stream
from fakecuda_devices import Limits, check_device, index_of, launch, lock, out_of_memory
from fakecuda_pinned import alias, is_pinned, pin, pin_memory, reset_pinned, used_in_copy
from fakecuda_time import execute

__all__ = ["Limits", "installed", "out_of_memory"]

#: Operations that launch no kernel: attributes and views.
_FREE = {
    "__get__", "__hash__", "__len__", "__repr__", "__set__", "as_subclass", "chunk", "data_ptr", "detach", "dim",
    "element_size", "expand", "expand_as", "flatten", "get_device", "has_names", "is_complex", "is_contiguous",
    "is_floating_point", "is_inference", "is_same_size", "is_signed", "narrow", "ndimension", "nelement", "numel",
    "permute", "requires_grad_", "select", "size", "split", "squeeze", "storage_offset", "stride", "t", "transpose",
    "type", "unbind", "unsqueeze", "untyped_storage", "view",
}  # fmt: skip
_IN_PLACE = {"__setitem__", "__iadd__", "__imul__", "__isub__", "__itruediv__"}
_FACTORIES = ("arange", "empty", "full", "ones", "rand", "randint", "randn", "tensor", "zeros")
_PLAIN_TO = Tensor.to
_PLAIN_MODULE_TO = nn.Module.to
_PLAIN_RECORD_STREAM = Tensor.record_stream
_PLAIN_CPU = Tensor.cpu


class CudaTensor(Tensor):
    """A tensor on the emulated device."""

    _memory: Memory

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass(), lock:
            return _call(func, args, dict(kwargs or {}))


def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Check where the tensors are and who may still write to them; then execute on the CPU."""
    name = getattr(func, "__name__", str(func)).partition(".")[0]
    if name == "__get__":
        if func.__self__ is Tensor.device:
            return torch.device("cuda", args[0]._memory.index)
        if func.__self__ in (Tensor.is_cuda, Tensor.is_cpu):
            return func.__self__ is Tensor.is_cuda
    if func is Tensor.get_device:
        return args[0]._memory.index
    if func in (Tensor.numpy, Tensor.__array__):
        raise TypeError("can't convert cuda device type tensor to numpy. Use Tensor.cpu() first")
    if func is Tensor.is_pinned:
        return False
    if func is _PLAIN_RECORD_STREAM:
        args[0]._memory.recorded.add(args[1].id)
        return None
    if func is _PLAIN_CPU:
        return _to_cpu(args[0])
    if func in (_PLAIN_TO, Tensor.to):
        return _to(*args, **kwargs)
    if func is Tensor.copy_ and not isinstance(args[0], CudaTensor):
        return _to_host(args[0], args[1], kwargs.get("non_blocking", args[2] if len(args) > 2 else False))
    return _launch(func, name, args, kwargs)


def _launch(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    given = _tensors((*args, *kwargs.values()))
    here = [tensor for tensor in given if isinstance(tensor, CudaTensor)]
    index = here[0]._memory.index if here else devices.current_device()
    if name not in _FREE:
        _refuse_mixed(name, given)
        launch(index, name, sum(tensor.nbytes for tensor in given))
        for tensor in here:
            tensor._memory.use()
    if name == "repeat" and given[0].nbytes * _product(args[1:]) > Limits.bytes:
        raise out_of_memory()
    if kwargs.get("device") is not None:
        if torch.device(kwargs["device"]).type != "cuda":
            raise RuntimeError(f"Expected all tensors to be on the same device: {name} creates one on the CPU")
        index = index_of(kwargs["device"])
        kwargs["device"] = "cpu"
    in_place = name in _IN_PLACE or (name.endswith("_") and not name.endswith("__"))
    func, args = kernels.operation(func, name, args)
    result = func(*args, **kwargs)
    if name == "log2" and here:  # less exact than on a CPU: that of 8 is less than 3
        result = torch.nextafter(result, torch.zeros_like(result))
    if here and in_place:
        here[0]._memory.write()
    memories = {_storage(tensor): tensor._memory for tensor in here}
    if name not in _FREE:
        if in_place or not _is_view(result, memories):
            execute(index, current_stream(index).id, "compute")
        if kernels.waits(name, given, args, kwargs):
            clocks.finish_stream(index, name)
    if name in kernels.PACKING:
        return _on_device(result[0], index, memories), result[1]
    return _on_device(result, index, memories)


def _is_view(result: Any, memories: dict[int, Memory]) -> bool:
    """Whether nothing was computed for a result."""
    return isinstance(result, Tensor) and _storage(result) in memories


def _product(sizes: Any) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count


def _refuse_mixed(name: str, given: list[Tensor]) -> None:
    """Raise as torch does for tensors of two devices; CPU scalars may be mixed, and CPU indices on the device."""
    found = sorted({tensor._memory.index for tensor in given if isinstance(tensor, CudaTensor)})
    if len(found) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found cuda:{found[0]} and cuda:{found[1]}: {name}"
        )
    for tensor in given:
        if isinstance(tensor, CudaTensor):
            if name in kernels.INDEXING and not isinstance(given[0], CudaTensor):
                raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            continue
        index = name in kernels.INDEXING and tensor is not given[0]
        sizes = name in kernels.SIZES_ON_HOST and tensor.dtype == torch.int64
        if tensor.dim() > 0 and not (index or sizes):
            raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda and cpu: {name}")


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among the values, also in lists, tuples and dicts."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
        elif isinstance(value, dict):
            found += _tensors(value.values())
    return found


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _new(plain: Tensor, index: int, memory: Memory | None = None) -> CudaTensor:
    """The tensor as one on a device; without `memory`, as a new allocation written by the current stream."""
    with torch._C.DisableTorchFunctionSubclass():
        tensor = plain if isinstance(plain, CudaTensor) else plain.as_subclass(CudaTensor)
        tensor._memory = Memory(index, tensor.untyped_storage().nbytes()) if memory is None else memory
    return tensor


def _on_device(result: Any, index: int, memories: dict[int, Memory]) -> Any:
    """What an operation returned, as tensors on a device: views of known memory, or new allocations."""
    if isinstance(result, Tensor):
        return _new(result, index, memories.get(_storage(result)))
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*(_on_device(entry, index, memories) for entry in result))
    if type(result) in (list, tuple) or "return_types" in str(type(result)):
        return type(result)([_on_device(entry, index, memories) for entry in result])
    return result


def _to_cpu(tensor: CudaTensor) -> Tensor:
    with torch._C.DisableTorchFunctionSubclass():
        tensor._memory.use()
        clocks.finish_stream(tensor._memory.index, "cpu")
        return tensor.as_subclass(Tensor).clone()


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to`, between and on all devices."""
    rest = [entry for entry in args if not isinstance(entry, torch.device | str)]
    named = [entry for entry in args if isinstance(entry, torch.device | str)]
    device = torch.device(named[0]) if named else kwargs.get("device")
    device = None if device is None else torch.device(device)
    others = {name: value for name, value in kwargs.items() if name not in ("device", "non_blocking")}
    if isinstance(tensor, CudaTensor):
        if device is not None and device.type == "cpu":
            plain = _to_cpu(tensor)
            return _PLAIN_TO(plain, *rest, **others) if rest or others else plain
        if device is not None and index_of(device) != tensor._memory.index:
            return _to(_to_cpu(tensor), device, *rest, **others)
        with torch._C.DisableTorchFunctionSubclass(), lock:
            tensor._memory.use()
            result = _PLAIN_TO(tensor, *rest, **others) if rest or others else tensor
            return _on_device(result, tensor._memory.index, {_storage(tensor): tensor._memory})
    if device is None or device.type != "cuda":
        return _PLAIN_TO(tensor, *args, **kwargs)
    if isinstance(tensor, FakeTensor):  # the note of a shape in an exported program
        return tensor
    with lock:
        return _to_device(tensor, index_of(device), rest, others, non_blocking=kwargs.get("non_blocking", False))


def _to_device(tensor: Tensor, index: int, rest: list[Any], others: dict[str, Any], *, non_blocking: bool) -> Tensor:
    check_device(index)
    launch(index, "to_device", tensor.nbytes)
    copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).copy_(tensor.detach())
    result = _new(_PLAIN_TO(copy, *rest, **others) if rest or others else copy, index)
    if non_blocking and is_pinned(tensor):
        used_in_copy(tensor, index)
        execute(index, current_stream(index).id, "in")
        source, before = alias(tensor), tensor.detach().clone()

        def compare() -> None:
            if not torch.equal(torch.nan_to_num(source), torch.nan_to_num(before)):
                clocks.problems.append("pinned memory changed while it was copied from")

        clocks.when_finished(current_stream(index), compare)
    else:
        clocks.finish_stream(index, "pageable memory" if non_blocking else "blocking copy")
    return result


def _to_host(host: Tensor, source: CudaTensor, non_blocking: bool) -> Tensor:
    source._memory.use()
    index, data = source._memory.index, source.as_subclass(Tensor).detach().clone()
    if not (non_blocking and is_pinned(host)):
        clocks.finish_stream(index, "copy to the host")
        return host.copy_(data)
    used_in_copy(host, index)
    execute(index, current_stream(index).id, "out")
    host.fill_(float("nan") if host.is_floating_point() else 0 if host.dtype == torch.bool else -(2**30))

    target = alias(host)

    def arrive() -> None:
        with torch.inference_mode():  # tensors that were created in it may be written to
            target.copy_(data)

    clocks.when_finished(current_stream(index), arrive)
    return host


def _factory(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(*args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.get("device")
        if kwargs.pop("pin_memory", False):
            return pin(plain(*args, **kwargs))
        if device is None or torch.device(device).type != "cuda":
            return plain(*args, **kwargs)
        with lock:
            if plain.__name__ == "tensor":  # copied from the host's memory
                clocks.finish_stream(index_of(device), "tensor")
            return _new(plain(*args, **kwargs | {"device": "cpu"}), index_of(device))

    make.__name__ = plain.__name__
    return make


def _module_to(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    named = [entry for entry in args if isinstance(entry, torch.device | str)] or [kwargs.get("device")]
    if named[0] is None or torch.device(named[0]).type != "cuda":
        return _PLAIN_MODULE_TO(module, *args, **kwargs)
    index = index_of(named[0])
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is not None and not isinstance(tensor, CudaTensor):
                    store[name] = _new(tensor.detach().clone(), index)
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
    clocks.finish_stream(index, "weights")
    return module


def _record_stream(tensor: Tensor, stream: clocks.Stream) -> None:
    if not isinstance(tensor, CudaTensor):
        raise NotImplementedError("Could not run 'aten::record_stream' with arguments from the 'CPU' backend.")
    tensor._memory.recorded.add(stream.id)


@contextmanager
def installed() -> Iterator[None]:
    """Replace the functions of torch that concern a GPU; restore them afterwards."""
    clocks.reset()
    _device._device_constructors()  # torch keeps the list, which must hold its own functions: `with torch.device(...)`
    with pytest.MonkeyPatch.context() as patch:
        for name in _FACTORIES:
            patch.setattr(torch, name, _factory(getattr(torch, name)))
        for name, function in {
            "to": _to, "is_pinned": is_pinned, "pin_memory": pin_memory, "record_stream": _record_stream,
        }.items():  # fmt: skip
            patch.setattr(Tensor, name, function)
        patch.setattr(pinned, "_MEMORY", pinned.PinnedMemory())
        patch.setattr(nn.Module, "to", _module_to)
        patch.setattr(nn.RNNBase, "flatten_parameters", lambda _: None)
        for name, value in {
            "is_available": lambda: True, "device_count": lambda: Limits.devices, "Stream": clocks.Stream,
            "Event": clocks.Event, "stream": clocks.StreamContext, "current_stream": current_stream,
            "synchronize": clocks.finish_all, "current_device": devices.current_device,
            "set_device": devices.set_device, "device": devices.DeviceContext, "manual_seed_all": lambda *_: None,
            "empty_cache": lambda: check_device(devices.current_device()), "mem_get_info": devices.mem_get_info,
            "memory_allocated": devices.memory_allocated, "max_memory_allocated": devices.max_memory_allocated,
            "reset_peak_memory_stats": devices.reset_peak_memory_stats, "get_device_properties": devices.properties,
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, value)
        try:
            yield
        finally:
            clocks.reset()
            reset_pinned()
