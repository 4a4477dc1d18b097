"""Example inputs of a bundle, and the shapes of the results of its graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...schemas.bundle import BundleManifest
from ...schemas.heads import GENERATED
from ...schemas.inputs import AnyInput
from ..errors import BundleError, one_line
from ..features.kinds import kind_of
from ..graph.example import ROWS, Example
from ..graph.interpreter import EXAMPLE_ROWS, EXAMPLE_STEPS, GraphModel, shapes


def flat_nodes(model: GraphModel, manifest: BundleManifest) -> frozenset[str]:
    """The nodes whose results are `[rows, width]`; none where the model does not run on rows of zeros.

    Raises:
        BundleError: a few rows already exceed the memory limit of a pass.
    """
    try:
        with torch.inference_mode():
            found = shapes(model, *example_inputs(manifest))
    except torch.OutOfMemoryError as error:
        raise BundleError(f"graph.json: {one_line(error)}") from error
    except Exception:  # zeros may be invalid inputs, which says nothing about the model
        return frozenset()
    return frozenset(name for name, _, shape in found if len(shape) == 2)


def example_of(entries: Sequence[AnyInput], takes: Sequence[str], *, as_dict: bool) -> Example:
    """A few rows of zeros in the form of these inputs, with the dimensions whose sizes vary.

    Args:
        takes: the model's arguments, in order.
    """
    rows: dict[str, Tensor] = {}
    dynamic: dict[str, dict[int, str]] = {}
    most: dict[str, int] = {}
    for at, entry in enumerate(entries):
        made = kind_of(entry).example(EXAMPLE_ROWS, EXAMPLE_STEPS + 2 * at, "cpu")
        rows |= made
        steps = f"steps_{at}"
        for name, tensor in made.items():
            dynamic[name] = {0: ROWS, 1: steps} if kind_of(entry).has_steps and tensor.ndim > 1 else {0: ROWS}
        if entry.max_steps is not None:
            most[steps] = entry.max_steps
    if takes[-1] == GENERATED:
        rows[GENERATED] = torch.zeros((EXAMPLE_ROWS, 2), dtype=torch.int64)
        dynamic[GENERATED] = {0: ROWS, 1: f"steps_{GENERATED}"}
    return Example(arguments=rows, dynamic=dynamic, most=most, as_dict=as_dict)


def example_inputs(
    manifest: BundleManifest,
    device: str | torch.device = "cpu",
    *,
    rows: int = EXAMPLE_ROWS,
    steps: int = EXAMPLE_STEPS,
) -> tuple[Any, ...]:
    """A few rows of zeros in the form of the model's inputs. `steps`: those of sequences that may be as long."""
    made: dict[str, Tensor] = {}
    for entry in manifest.inputs:
        made |= kind_of(entry).example(rows, steps, device)
    if manifest.arguments[-1] == GENERATED:
        made[GENERATED] = torch.zeros((rows, 1), dtype=torch.int64, device=device)
    return (made,) if manifest.call == "dict" else tuple(made.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultShape:
    """The shape of a node's result. `calls`: what the node calls. `sizes`: numbers, and for sizes that vary with the
    input `rows`, `steps`, a multiple of these, or `varies`."""

    name: str
    calls: str
    sizes: tuple[int | str, ...]


def result_shapes(model: GraphModel, manifest: BundleManifest, device: str | torch.device = "cpu") -> list[ResultShape]:
    """Every node that computes a tensor, in order, with the shape of its result. Runs the model twice on zeros: a size
    that differs follows the rows or the steps.

    Raises:
        Exception: whatever the model raises on zeros.
    """
    rows, steps = EXAMPLE_ROWS - 1, EXAMPLE_STEPS - 1
    with torch.inference_mode():
        first = shapes(model, *example_inputs(manifest, device))
        second = shapes(model, *example_inputs(manifest, device, rows=rows, steps=steps))
    found = []
    for (name, calls, shape), (_, _, other) in zip(first, second, strict=True):
        sizes = map(_size, shape, other) if len(shape) == len(other) else ["varies"] * len(shape)
        found.append(ResultShape(name=name, calls=calls, sizes=tuple(sizes)))
    return found


def _size(first: int, second: int) -> int | str:
    """A size in the first and in the second pass of `result_shapes`, as a number or as what it follows."""
    if first == second:
        return first
    followed = {
        ROWS: (EXAMPLE_ROWS, EXAMPLE_ROWS - 1),
        "steps": (EXAMPLE_STEPS, EXAMPLE_STEPS - 1),
        "rows × steps": (EXAMPLE_ROWS * EXAMPLE_STEPS, (EXAMPLE_ROWS - 1) * (EXAMPLE_STEPS - 1)),
    }
    for name, (more, fewer) in followed.items():
        factor, rest = divmod(first, more)
        if not rest and factor * fewer == second:
            return name if factor == 1 else f"{name} × {factor}"
    return "varies"
