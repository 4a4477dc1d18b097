"""Scored rows → the columns of `--explain`. Does not access files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
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
from ...inputs.check import check_batch
from ...model.forward import head_output
from ...model.memory import is_out_of_memory
from ...model.passes import Passes
from ...model.tf32 import float32_products
from ...options import ColumnOptions, Explain
from ...records import dense
from ...tasks.labelled import label_array
from ...tasks.tasks import task_of
from ..block import Block
from ..line import compose, execute
from .captum import Explainer
from .rows import baseline_row, chosen, draws
from .score import explained_score

if TYPE_CHECKING:
    from ..loaded import LoadedBundle

Tensors = Mapping[str, Tensor]


def categories(manifest: BundleManifest, limits: Collection[str]) -> set[str]:
    """The categorical features: text, booleans, encoded columns, and indices into an embedding."""
    sources = origins(manifest.model_features, manifest.steps)
    named = {feature.name for feature in manifest.model_features if feature.dtype in ("text", "integer", "bool")}
    return named | encoded(manifest.steps) | {sources[column] for column in limits}


class Attribution:
    """Attributes a bundle's scores to its raw features.

    Args:
        models: the members as saved, on their device.
        baseline: the inputs of the baseline row, `[1, columns]` each.
        limits: the columns that index an embedding.
        passes: cuts a block into forward passes.

    Raises:
        UsageError: captum is not installed, or the method does not support this model.
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
        sources = origins(manifest.model_features, manifest.steps)
        if explain.method == "integrated-gradients" and limits:
            raise no_gradient(sources[min(limits)])
        self.explain, self._manifest, self._head, self._index = explain, manifest, found.head, found.index
        self._baseline = baseline
        names = [feature.name for feature in manifest.model_features]
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
            self.probe()
        except Exception as error:  # from the model's gradients, or from captum
            if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
                raise  # of the device, not of the model
            raise UsageError(f"--explain {explain.method} does not support this model: {one_line(error)}") from error

    def probe(self) -> None:
        """Explain the baseline row, twice. Raises whatever the model or captum raises."""
        rows = {name: torch.cat([row, row]) for name, row in self._baseline.items()}
        device = next(iter(rows.values())).device
        with float32_products(device, tf32=False):
            self._explainer.probe(rows, torch.zeros(2, dtype=torch.int64, device=device))

    @property
    def rows_in_probe(self) -> int:
        """How many perturbed rows the model gets at once in a probe."""
        return self._explainer.rows_in_pass(2)

    @property
    def lost(self) -> int:
        """The number of rows that could not be explained."""
        return self._explainer.totals.lost

    @property
    def retried(self) -> tuple[str, ...]:
        """Error messages of rows that failed as a batch but passed in smaller pieces."""
        return tuple(self._explainer.totals.retried)

    @property
    def largest_gap(self) -> tuple[float, float]:
        """The largest absolute gap so far, and the largest absolute difference in score."""
        return self._explainer.totals.largest_gap, self._explainer.totals.largest_difference

    def count_with(self, other: Attribution) -> None:
        """Share the totals of another attribution: that of the same models on another device."""
        self._explainer.totals = other._explainer.totals

    def columns(
        self, inputs: Tensors, predicted: Sequence[pa.Array], options: ColumnOptions, source: str, numbers: np.ndarray
    ) -> tuple[list[pa.Array], int]:
        """The columns of `explain_fields`, and the number of explained rows.

        Args:
            inputs: `[rows, columns]` each, of the scored rows.
            predicted: the columns of their predictions.
            numbers: their row numbers in the source, int64 `[rows]`.
        """
        drawn = draws(source, numbers)
        taken = chosen(drawn, self.explain)
        device = next(iter(inputs.values())).device
        index = torch.from_numpy(taken)
        rows = {name: tensor[index.to(device)] for name, tensor in inputs.items()}
        classes = torch.from_numpy(self._classes(predicted, options, taken)).to(device)
        with float32_products(device, tf32=False):
            found = self._explainer.run(rows, classes, drawn[taken].tolist())
        valid = np.zeros(len(numbers), dtype=np.bool_)
        valid[taken] = found.found.numpy()
        values = [*found.values.T, *([] if found.gap is None else [found.gap])]
        return [_spread(column, taken, valid) for column in values], int(valid.sum())

    def _classes(self, predicted: Sequence[pa.Array], options: ColumnOptions, taken: np.ndarray) -> np.ndarray:
        """The index of the class or output to explain, of each row."""
        if self._index is not None:
            return np.full(len(taken), self._index, dtype=np.int64)
        before = self._manifest.heads[: self._manifest.heads.index(self._head)]
        first = sum(len(head_fields(self._manifest, head, options)) for head in before)
        labels = predicted[first].take(to_arrow(taken))
        classes = pc.index_in(labels, value_set=label_array(task_of(self._head).labels))
        return to_numpy(classes).astype(np.int64)

    def _score(self, raw: Sequence[Any], classes: Tensor) -> Tensor:
        return explained_score(self._head, [head_output(one, self._head, len(classes)).float() for one in raw], classes)


def load_attribution(
    loaded: LoadedBundle, models: Sequence[nn.Module], explain: Explain, golden: pa.RecordBatch
) -> Attribution:
    """The attribution of a loaded bundle, with a baseline made from its golden rows.

    Args:
        models: the members as saved, on their device.
        golden: the features of the golden rows.
    """
    named, line = categories(loaded.manifest, loaded.limits), compose(loaded)
    if loaded.manifest.expressions:  # the baseline is one of the features that they compute
        before = [stage.name for stage in line.load_stages].index("expressions") + 1
        block = execute(line.load_stages[:before], Block(batch=golden))
        row = baseline_row(_features_of(block), named)
        columns = check_batch(row, loaded.manifest.model_features).columns
        checked = replace(block.need_checked(), batch=row, columns=columns, kept=None)
        inputs = execute(line.load_stages[before:], replace(block, checked=checked)).need_features().inputs
    else:
        inputs = line.load(Block(batch=baseline_row(golden, named))).need_features().inputs
    return Attribution(
        loaded.manifest,
        models,
        explain,
        baseline={name: tensor.to(loaded.device.torch) for name, tensor in dense(inputs).items()},
        limits=loaded.limits,
        passes=loaded.members.passes,
    )


def _features_of(block: Block) -> pa.RecordBatch:
    """The checked columns of tables, as they would be read."""
    columns = block.need_checked().columns
    arrays = [to_arrow(values) if isinstance(values, np.ndarray) else values for values in columns.values()]
    return pa.record_batch(arrays, names=list(columns))


def _spread(values: Tensor, taken: np.ndarray, valid: np.ndarray) -> pa.Array:
    """Values of some rows → a column of all rows, null elsewhere."""
    whole = np.zeros(len(valid), dtype=np.float32)
    whole[taken] = values.numpy()
    return to_arrow(whole, valid)
