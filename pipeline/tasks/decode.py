"""One short dispatcher: a head and its raw output → columns, and which rows are sound."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...schemas.bundle import AnyHead, Ensemble
from ..errors import BundleError
from ..records import ColumnOptions
from . import binary, multiclass, multilabel, regression
from .classes import HeadColumns
from .columns import head_width

Decoder = Callable[[Any, Tensor, ColumnOptions, Ensemble | None], HeadColumns]
_DECODERS: dict[str, Decoder] = {
    "binary": binary.decode,
    "multiclass": multiclass.decode,
    "multilabel": multilabel.decode,
    "regression": regression.decode,
}


def decode_head(
    head: AnyHead, raw: Tensor, options: ColumnOptions, ensemble: Ensemble | None = None, members: int = 1
) -> HeadColumns:
    """Columns as `columns.output_fields` names them, and which rows came out finite and within bounds.

    Args:
        raw: `[rows, members × width]`, one member's outputs behind the other's.
    """
    if ensemble is not None:
        raw = raw.reshape(raw.shape[0], members, raw.shape[1] // members)
    return _DECODERS[head.task](head, raw, options, ensemble)


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
