"""Turns a trained module into a graph: traced with torch.fx where that is possible, otherwise exported with
torch.export.

Tracing takes milliseconds and keeps the layers and functions of the code. Exporting takes seconds and runs the module
on example tensors; it follows Python code that depends on shapes, tensors that are made from sizes, in-place changes,
and objects of other libraries. Independent of files.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ...schemas.graph import Graph
from ..errors import BundleError, counted
from .effects import audit_shortened_tables
from .example import ROWS, Example
from .interpreter import build
from .nodes import NeverDataError, NotExportedError
from .packing import NEVER_EXPORTED
from .result_sizes import tensors_of
from .trace import trace

#: Numbers of rows and of steps, and the largest value, for which a graph is compared with its module. A run passes two
#: rows or more.
TRIALS = ((2, 1, 1), (2, 2, 1), (4, 9, 1), (7, 4, 1), (7, 4, 10))
#: Those of a traced graph, which does not depend on sizes.
FEW_TRIALS = TRIALS[-2:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """A graph and every tensor it names. `example`: the index of the example that it was exported with; None where it
    was traced, and so holds for any dtypes that the module accepts."""

    graph: Graph
    tensors: Mapping[str, Tensor]
    example: int | None = None


def capture(model: nn.Module, examples: Sequence[Example]) -> Captured:
    """Capture a module.

    Args:
        model: in eval mode, on the CPU.
        examples: inputs in the forms that the bundle may pass, the most likely first.

    Raises:
        BundleError: the module does something that a graph cannot express; names the line.
    """
    accepted = next((at for at, one in enumerate(examples) if _accepts(model, one)), None)
    problem: BundleError | None = None
    try:
        given = None if accepted is None else _arguments(_given(examples[accepted], *TRIALS[-1]), examples[accepted])
        num_inputs = 1 if examples[0].as_dict else len(examples[0].arguments)
        graph, tensors = trace(_skeleton(model), num_inputs, given)
        _audit_tables(model, graph)
        traced = Captured(graph=graph, tensors=tensors)
        if accepted is None or _difference(model, build(graph, tensors), examples[accepted], FEW_TRIALS) is None:
            return traced
    except NeverDataError:
        raise
    except BundleError as error:
        problem = error
    try:
        if accepted is None:
            raise NotExportedError("it accepts none of the examples")
        return replace(_exported(model, examples[accepted]), example=accepted)
    except (BundleError, NotExportedError) as error:
        if isinstance(error, BundleError):
            raise
        if problem is not None and (not error.line or any(name in str(error) for name in NEVER_EXPORTED)):
            raise problem from error
        # torch.fx traces something else, or stops at the first line that it cannot trace, which torch.export may take
        raise BundleError(
            f"{type(model).__name__} cannot be kept as data: torch.export stops{error.line} ({error}); write it with"
            " the usual torch operations"
        ) from error


def _audit_tables(model: nn.Module, graph: Graph) -> None:
    """Refuse tables that an embedding shortens and others read. Raises NeverDataError."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    try:
        audit_shortened_tables(graph, dict(named))
    except BundleError as error:
        raise NeverDataError(str(error)) from error


def _skeleton(model: nn.Module) -> nn.Module:
    """A copy that shares the tensors, since tracing leaves its own objects in modules that set attributes."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _exported(model: nn.Module, example: Example) -> Captured:
    """Export the module with an example that it accepts."""
    from .export import export  # imports torch's compiler, which takes two seconds

    graph, tensors = export(model, example)
    _audit_tables(model, graph)
    sizes = _difference(model, build(graph, tensors), example, TRIALS)
    if sizes is not None:
        raise BundleError(
            f"{type(model).__name__} cannot be kept as data: what torch.export records is not what it does for"
            f" {sizes}; decide by values (torch.where), not by sizes"
        )
    return Captured(graph=graph, tensors=tensors)


def _difference(
    model: nn.Module, captured: nn.Module, example: Example, trials: Sequence[tuple[int, int, int]]
) -> str | None:
    """Run both on inputs of other sizes: the first sizes for which they differ, as text. A model is traced without
    sizes, and exported on the assumption that none is 1."""
    for rows, steps, largest in trials:
        given = _given(example, rows, steps, largest)
        try:
            wanted = _run(model, given, example)
        except Exception:  # a model may accept some sizes only
            continue
        try:
            made = _run(captured, given, example)
            same = len(made) == len(wanted) and all(
                one.shape == other.shape and torch.allclose(one.double(), other.double(), 1e-3, 1e-4, equal_nan=True)
                for one, other in zip(made, wanted, strict=True)
            )
        except (RuntimeError, ValueError, IndexError):
            same = False
        if not same:
            lists = any(set(dims.values()) - {ROWS} for dims in example.dynamic.values())
            return counted(rows, "row") + (f" of {counted(steps, 'step')}" if lists else "")
    return None


def _given(example: Example, rows: int, steps: int, largest: int) -> dict[str, Tensor]:
    """Numbers in place of the zeros of an example, with other sizes, by argument."""
    return {
        name: _resized(tensor, rows, steps, example.dynamic[name], largest)
        for name, tensor in example.arguments.items()
    }


def _resized(tensor: Tensor, rows: int, steps: int, dims: Mapping[int, str], largest: int) -> Tensor:
    """Floats between `largest` and its negative. Integers are 0 and 1, as embeddings are small; masks stay zeros, as no
    batch has padding at the end of every row."""
    shape = list(tensor.shape)
    for dim, name in dims.items():
        shape[dim] = rows if name == ROWS else steps
    if tensor.dtype == torch.bool:
        return tensor.new_zeros(shape)
    if not tensor.is_floating_point():
        return (torch.arange(prod(shape)) % 2).to(tensor.dtype).reshape(shape)
    return torch.linspace(-largest, largest, prod(shape), dtype=tensor.dtype).reshape(shape)


def _run(model: nn.Module, given: Mapping[str, Tensor], example: Example) -> list[Tensor]:
    """The tensors that a model returns."""
    own = {name: tensor.clone() for name, tensor in given.items()}
    with torch.inference_mode():
        return list(tensors_of(model(*_arguments(own, example))))


def _arguments(given: Mapping[str, Tensor], example: Example) -> list[Any]:
    """The arguments of forward."""
    return [given] if example.as_dict else list(given.values())


def _accepts(model: nn.Module, example: Example) -> bool:
    try:
        _run(model, example.arguments, example)
    except Exception:  # a model may raise anything on inputs of another type
        return False
    return True
