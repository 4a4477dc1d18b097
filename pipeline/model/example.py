"""Example inputs of a bundle, and the shapes of the results of its graph."""

from collections.abc import Sequence
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


def example_inputs(manifest: BundleManifest, device: str | torch.device = "cpu") -> tuple[Any, ...]:
    """A few rows of zeros in the form of the model's inputs; sequences have five steps."""
    rows: dict[str, Tensor] = {}
    for entry in manifest.inputs:
        rows |= kind_of(entry).example(EXAMPLE_ROWS, EXAMPLE_STEPS, device)
    if manifest.arguments[-1] == GENERATED:
        rows[GENERATED] = torch.zeros((EXAMPLE_ROWS, 1), dtype=torch.int64, device=device)
    return (rows,) if manifest.call == "dict" else tuple(rows.values())
