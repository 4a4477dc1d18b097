"""One short dispatcher: a head and its raw output → columns, and which rows are sound."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...schemas.bundle import Ensemble
from ...schemas.heads import AnyHead, GenerationHead, TaggingHead
from ..bundle.heads import head_width
from ..errors import BundleError
from ..options import ColumnOptions
from ..records import Lists
from ..records import Sequences as Steps
from . import binary, generation, multiclass, multilabel, regression, tagging
from .classes import HeadColumns

Decoder = Callable[[Any, Tensor, ColumnOptions, Ensemble | None], HeadColumns]
_DECODERS: dict[str, Decoder] = {
    "binary": binary.decode,
    "multiclass": multiclass.decode,
    "multilabel": multilabel.decode,
    "regression": regression.decode,
}


def decode_head(
    head: AnyHead, raw: Tensor | Steps, options: ColumnOptions, ensemble: Ensemble | None = None, members: int = 1
) -> HeadColumns:
    """Columns as `columns.output_fields` names them, and which rows came out finite and within bounds.

    Args:
        raw: `[rows, members × width]`, one member's outputs behind the other's; of heads that speak of steps a row for
            each.
    """
    if isinstance(raw, Steps):
        if isinstance(head, TaggingHead):
            return tagging.decode(head, raw, options, ensemble, members)
        assert isinstance(head, GenerationHead), "no other head speaks of steps"
        return generation.decode(head, raw)
    if ensemble is not None:
        raw = raw.reshape(raw.shape[0], members, raw.shape[1] // members)
    return _DECODERS[head.task](head, raw, options, ensemble)


def raw_arrays(heads: Sequence[AnyHead], raw: Mapping[str, Tensor | Steps]) -> dict[str, NDArray[np.float32] | Lists]:
    """Raw outputs as golden rows keep them: float32 `[rows, members × width]`; of each step, lists of such; of what is
    generated its score alone, `[rows, 1]`, since of two texts as good as each other either may come out."""
    found: dict[str, NDArray[np.float32] | Lists] = {}
    for head in heads:
        output = raw[head.name]
        if isinstance(output, Tensor):
            found[head.name] = output.float().cpu().numpy()
        elif isinstance(head, GenerationHead):
            found[head.name] = generation.scores(head, output).float().numpy()[:, None]
        else:
            found[head.name] = Lists(values=output.values.float().numpy(), offsets=output.offsets.numpy())
    return found


def raw_tensors(raw: NDArray[np.float32] | Lists) -> Tensor | Steps:
    """The way back, but for what is generated."""
    if isinstance(raw, Lists):
        return Steps(values=torch.from_numpy(np.array(raw.values)), offsets=torch.from_numpy(raw.offsets))
    return torch.from_numpy(raw.copy())


def check_shape(head: AnyHead, raw: Tensor, rows: int) -> None:
    """Refuse a raw output that cannot be this head's.

    Raises:
        BundleError: says the shape, and what the task and its labels ask for.
    """
    width, shape = head_width(head), tuple(raw.shape)
    fits: set[tuple[int, ...]] = {(rows, width)}
    if head.task == "binary" or width == 1:
        fits |= {(rows,), (rows, 1)}
    if shape not in fits:
        asked = " or ".join(str(("rows", *fit[1:])).replace("'", "") for fit in sorted(fits, key=len))
        raise BundleError(
            f"the model's output is {shape} for {rows} rows, and {head.task} with {width} labels takes"
            f" {asked}; give as many labels= (of a regression also quantiles= and spread=) as the model has outputs"
        )
