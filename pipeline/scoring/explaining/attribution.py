"""Rows that were scored → the columns of `--explain`. Joins `features`, `model` and `tasks`; knows nothing of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from ....schemas.bundle import BundleManifest
from ...arrays import to_arrow, to_numpy
from ...bundle.explain import find_explain_target, no_gradient
from ...bundle.heads import head_fields
from ...errors import UsageError, one_line
from ...features.program import encoded, origins
from ...model.forward import head_output
from ...model.passes import Passes
from ...options import ColumnOptions, Explain
from ...records import dense
from ...tasks.labelled import label_array
from ...tasks.tasks import task_of
from ..block import Block
from ..line import compose
from .captum import Explainer
from .rows import baseline_row, chosen, draws
from .score import explained_score

if TYPE_CHECKING:
    from ..loaded import LoadedBundle

Tensors = Mapping[str, Tensor]


def categories(manifest: BundleManifest, limits: Collection[str]) -> set[str]:
    """The features that have values, not sizes: text, booleans, what is encoded, what indexes an embedding."""
    sources = origins(manifest.features, manifest.steps)
    named = {feature.name for feature in manifest.features if feature.dtype in ("text", "bool")}
    return named | encoded(manifest.steps) | {sources[column] for column in limits}


class Attribution:
    """Attributions of a bundle's scores, to its raw features.

    Args:
        models: the members as they were saved, on their device.
        baseline: the inputs of the row to compare with, `[1, columns]` each.
        limits: the columns that index an embedding.
        passes: how the rows of a block go through the models.

    Raises:
        UsageError: captum is not installed, or the model cannot be explained this way.
    """

    def __init__(
        self,
        manifest: BundleManifest,
        models: Sequence[nn.Module],
        explain: Explain,
        *,
        baseline: Tensors,
        limits: Collection[str],
        passes: Passes,
    ) -> None:
        found = find_explain_target(manifest, explain)
        sources = origins(manifest.features, manifest.steps)
        if explain.method == "integrated-gradients" and limits:
            raise no_gradient(sources[min(limits)])
        self.explain, self._manifest, self._head, self._place = explain, manifest, found.head, found.index
        names = [feature.name for feature in manifest.features]
        self._explainer = Explainer(
            models,
            self._score,
            method=explain.method,
            call=manifest.call,
            baseline=baseline,
            groups={entry.name: [names.index(sources[c]) for c in entry.columns] for entry in manifest.inputs},
            num_features=len(names),
            passes=passes,
        )
        try:
            first = torch.zeros(2, dtype=torch.int64, device=next(iter(baseline.values())).device)
            self._explainer.probe({name: torch.cat([row, row]) for name, row in baseline.items()}, first)
        except Exception as error:  # whatever a model makes of gradients, or captum of the model
            raise UsageError(f"--explain {explain.method} does not go with this model: {one_line(error)}") from error

    @property
    def lost(self) -> int:
        """How many rows could not be explained."""
        return self._explainer.lost

    @property
    def retried(self) -> tuple[str, ...]:
        """What the model said of rows that it failed on together, and not alone."""
        return tuple(self._explainer.retried)

    @property
    def largest_gap(self) -> tuple[float, float]:
        """What attributions missed the difference in score by, at most, and the largest difference."""
        return self._explainer.largest_gap, self._explainer.largest_difference

    def columns(
        self, inputs: Tensors, predicted: Sequence[pa.Array], options: ColumnOptions, source: str, numbers: np.ndarray
    ) -> tuple[list[pa.Array], int]:
        """The columns as `explaining.explain_fields` names them, and how many rows were explained.

        Args:
            inputs: `[rows, columns]` each, of the rows that were scored.
            predicted: the columns of their predictions.
            numbers: their places in the source, int64 `[rows]`.
        """
        drawn = draws(source, numbers)
        taken = chosen(drawn, self.explain)
        device = next(iter(inputs.values())).device
        index = torch.from_numpy(taken)
        rows = {name: tensor[index.to(device)] for name, tensor in inputs.items()}
        places = torch.from_numpy(self._places(predicted, options, taken)).to(device)
        found = self._explainer.run(rows, places, drawn[taken].tolist())
        valid = np.zeros(len(numbers), dtype=np.bool_)
        valid[taken] = found.found.numpy()
        values = [*found.values.T, *([] if found.gap is None else [found.gap])]
        return [_spread(column, taken, valid) for column in values], int(valid.sum())

    def _places(self, predicted: Sequence[pa.Array], options: ColumnOptions, taken: np.ndarray) -> np.ndarray:
        """The class or output to explain of each row."""
        if self._place is not None:
            return np.full(len(taken), self._place, dtype=np.int64)
        before = self._manifest.heads[: self._manifest.heads.index(self._head)]
        first = sum(len(head_fields(self._manifest, head, options)) for head in before)
        labels = predicted[first].take(to_arrow(taken))
        places = pc.index_in(labels, value_set=label_array(task_of(self._head).labels))
        return to_numpy(places).astype(np.int64)

    def _score(self, raw: Sequence[Any], places: Tensor) -> Tensor:
        return explained_score(
            self._head, [head_output(one, self._head.output, len(places)).float() for one in raw], places
        )


def load_attribution(
    loaded: LoadedBundle, models: Sequence[nn.Module], explain: Explain, golden: pa.RecordBatch
) -> Attribution:
    """How attributions of a loaded bundle are made, compared with the baseline of its golden rows.

    Args:
        models: the members as they were saved, on their device.
        golden: the features of the golden rows.
    """
    row = baseline_row(golden, categories(loaded.manifest, loaded.limits))
    inputs = compose(loaded).load(Block(batch=row)).need_features().inputs
    return Attribution(
        loaded.manifest,
        models,
        explain,
        baseline={name: tensor.to(loaded.device.torch) for name, tensor in dense(inputs).items()},
        limits=loaded.limits,
        passes=loaded.members.passes,
    )


def _spread(values: Tensor, taken: np.ndarray, valid: np.ndarray) -> pa.Array:
    """Values of some rows as a column of all, null elsewhere."""
    whole = np.zeros(len(valid), dtype=np.float32)
    whole[taken] = values.numpy()
    return to_arrow(whole, valid)
