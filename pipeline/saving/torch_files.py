"""Files of `torch.save`, read without unpickling: the opcodes of the pickle are followed, but only dicts, lists,
tuples, text, numbers and tensors are built. No name is looked up or called; any other object becomes an `Unbuilt` with
the name of its class. Time and memory grow with the size of the file.
"""

import io
import math
import pickletools
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import BundleError, one_line
from .archives import refuse_bomb

#: The first bytes of files that torch before 1.6 wrote: a pickle of its magic number. Three pickles precede the object.
_OLD_MAGIC, _OLD_HEADERS = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", 3
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_DICTS = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_WITH_TYPE = ("torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type")
_MARK = object()


class Unbuilt:
    """An object, class or function that is not built. `name`: that of its class or function, with the module."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: Any = None

    @property
    def is_module(self) -> bool:
        """Whether it is a torch.nn.Module, by its attributes."""
        return isinstance(self.state, dict) and {"_modules", "_parameters"} <= set(self.state)


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    key: str


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor whose numbers are still in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class TorchFile:
    """A file of `torch.save`. `content`: the saved object."""

    def __init__(self, content: Any, read: Callable[[str], bytes] | None) -> None:
        self.content = content
        self._read = read
        self._storages: dict[_Storage, Tensor] = {}

    def tensor(self, stored: StoredTensor) -> Tensor:
        """The tensor, a view of its storage.

        Raises:
            BundleError: its numbers cannot be read.
            ValueError: its shape contradicts its numbers, or its dtype is not supported.
        """
        if self._read is None or stored.storage.dtype not in _DTYPES:
            raise ValueError(f"a {stored.storage.dtype} of this file cannot be read without unpickling")
        dtype = _DTYPES[stored.storage.dtype]
        if math.prod(stored.shape) == 0:
            return torch.empty(stored.shape, dtype=dtype)
        if stored.storage not in self._storages:
            numbers = bytearray(self._read(stored.storage.key))
            if not numbers or len(numbers) % dtype.itemsize:
                raise ValueError(f"its storage has {len(numbers)} bytes, which are not numbers of {dtype}")
            self._storages[stored.storage] = torch.frombuffer(numbers, dtype=dtype)
        storage = self._storages[stored.storage]
        last = stored.offset + sum((n - 1) * step for n, step in zip(stored.shape, stored.stride, strict=True))
        if last >= len(storage) or math.prod(stored.shape) > len(storage):
            raise ValueError(f"its shape {list(stored.shape)} needs more numbers than the {len(storage)} in the file")
        return storage.as_strided(stored.shape, stored.stride, stored.offset)


def read_torch_file(data: bytes, name: str) -> TorchFile | None:
    """The object in a file of `torch.save`, or in a plain pickle; None for another format, such as TorchScript.

    Raises:
        BundleError: the file is damaged, or its pickle has unsupported opcodes.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        if not _PICKLE.match(data):
            return None
        stream = io.BytesIO(data)
        for _ in range(_OLD_HEADERS if data.startswith(_OLD_MAGIC) else 0):
            _run(stream, name)
        return TorchFile(_run(stream, name), None)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # wrong sizes, offsets and names in the directory have no common base class
        raise BundleError(f"{name} is a broken zip archive: {one_line(error)}") from error
    entries = set(archive.namelist())
    roots = [entry.removesuffix("/data.pkl") for entry in entries if re.fullmatch(r"[^/]+/data\.pkl", entry)]
    if len(roots) != 1 or f"{roots[0]}/constants.pkl" in entries:
        return None
    refuse_bomb(data, name)

    def read(entry: str) -> bytes:
        try:
            return archive.read(f"{roots[0]}/{entry}")
        except Exception as error:  # a missing entry, a wrong checksum and broken data have no common base class
            raise BundleError(f"{name}: its entry {entry!r} cannot be read: {one_line(error)}") from error

    order = read("byteorder").decode("latin1") if f"{roots[0]}/byteorder" in entries else sys.byteorder
    if order != sys.byteorder:
        raise BundleError(f"{name} was saved on a {order}-endian machine; load it with torch and save it again")
    return TorchFile(_run(io.BytesIO(read("data.pkl")), name), lambda key: read(f"data/{key}"))


def _run(stream: io.BytesIO, name: str) -> Any:
    """Follow the opcodes of one pickle."""
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.follow(opcode.name, argument)
        return machine.stack[-1]
    except Exception as error:  # opcodes, arguments and stacks of a damaged file fail in many ways
        raise BundleError(f"{name} is not a file of torch.save, or is damaged: {one_line(error)}") from error


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def follow(self, name: str, argument: Any) -> None:
        """Follow one opcode. Raises LookupError, TypeError or ValueError for a damaged pickle."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case _ if name in _COLLECTIONS:
                self._collect(name)
            case _ if name in _OBJECTS:
                self._object(name, argument)
            case _ if argument is not None:  # numbers, text and bytes
                stack.append(argument)
            case _:
                raise ValueError(f"opcode {name}")

    def _since_mark(self) -> list[Any]:
        found = []
        while (top := self.stack.pop()) is not _MARK:
            found.append(top)
        return found[::-1]

    def _collect(self, name: str) -> None:
        """Lists, tuples, dicts and sets. Sets and the contents of other objects are left out."""
        stack = self.stack
        match name:
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_DICT":
                stack.append({})
            case "LIST" | "FROZENSET":
                stack.append(self._since_mark())
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                number = int(name[-1])
                stack[-number:] = [tuple(stack[-number:])]
            case "DICT":
                stack.append(_dict(self._since_mark()))
            case "APPEND" | "APPENDS" | "ADDITEMS":
                items = [stack.pop()] if name == "APPEND" else self._since_mark()
                if isinstance(stack[-1], list):
                    stack[-1].extend(items)
            case _:  # SETITEM, SETITEMS
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._since_mark()
                if isinstance(stack[-1], dict):
                    stack[-1].update(_dict(items))

    def _object(self, name: str, argument: Any) -> None:
        """Classes, functions, what they make, and storages. Nothing is called."""
        stack = self.stack
        match name:
            case "GLOBAL":
                stack.append(Unbuilt(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(Unbuilt(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, made_by = stack.pop(), stack.pop()
                stack.append(_made(made_by, arguments))
            case "NEWOBJ_EX":
                _, arguments, made_by = stack.pop(), stack.pop(), stack.pop()
                stack.append(_made(made_by, arguments))
            case "INST":
                self._since_mark()
                stack.append(Unbuilt(argument.replace(" ", ".", 1)))
            case "OBJ":
                made_by, *arguments = self._since_mark()
                stack.append(_made(made_by, tuple(arguments)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Unbuilt):
                    stack[-1].state = state
            case _:  # BINPERSID
                stack.append(_storage(stack.pop()))


_COLLECTIONS = (
    "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE", "EMPTY_DICT", "LIST", "FROZENSET", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "DICT", "APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS",
)  # fmt: skip
_OBJECTS = ("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "BUILD", "BINPERSID")


def _dict(items: list[Any]) -> dict[str, Any]:
    """The entries whose keys are text; state dicts have no others."""
    return {key: value for key, value in zip(items[::2], items[1::2], strict=True) if isinstance(key, str)}


def _made(made_by: Any, arguments: Any) -> Any:
    """What a function or class makes of these arguments: a dict, a tensor of the file, or an `Unbuilt`."""
    if not isinstance(made_by, Unbuilt) or not isinstance(arguments, tuple):
        raise TypeError("an object without a class")
    name = made_by.name
    if name in _WITH_TYPE and len(arguments) >= 3 and isinstance(arguments[0], Unbuilt):
        made_by, _, arguments = arguments[:3]
        name = made_by.name
    if name in _DICTS:
        return dict(_pairs(arguments))
    if name == "torch.Size" and arguments:
        return arguments[0]
    if name in _PARAMETERS and arguments and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    if name in _TENSORS and isinstance(arguments, tuple) and len(arguments) >= 4:
        storage, offset, size, stride = arguments[:4]
        counts = (offset, *size, *stride)
        if isinstance(storage, _Storage) and len(size) == len(stride) and all(_is_count(one) for one in counts):
            return StoredTensor(storage, offset, tuple(size), tuple(stride))
    return Unbuilt(name)


def _pairs(arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    for pair in arguments[0] if arguments and isinstance(arguments[0], list) else ():
        if isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str):
            yield pair[0], pair[1]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _storage(persistent: Any) -> Any:
    """What a persistent id names: `("storage", class, key, device, number)`, or in old files `("module", class, …)`."""
    if isinstance(persistent, tuple) and len(persistent) >= 3 and isinstance(persistent[1], Unbuilt):
        if persistent[0] == "module":
            return persistent[1]
        return _Storage(persistent[1].name.rpartition(".")[2], str(persistent[2]))
    return Unbuilt("a persistent id")
