"""Attributions by captum, of the model as saved. Independent of columns and labels.

A row is compared with a baseline, and each raw feature gets its share of the difference in score. A feature that was
encoded into several columns remains one feature: its columns are summed (integrated gradients), or set to the baseline
together. With integrated gradients (Sundararajan, Taly and Yan 2017) and Shapley values (sampled as in Castro et al.
2009), the shares sum to the difference; the remaining error is the gap. LIME: Ribeiro, Singh and Guestrin 2016.
Occlusion: the score with each feature set to its baseline in turn.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import factorial
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from ...bundle.explain import COMPLETE
from ...errors import ScorelineError, UsageError, one_line
from ...model.forward import Call, call_model
from ...model.memory import free_memory, halving, is_out_of_memory, no_memory
from ...model.passes import Passes
from ...options import ExplainMethod

#: Points on the path of integrated gradients, feature permutations for Shapley values, and samples that LIME draws
#: around each row.
PATH_POINTS, ORDERS, DRAWN = 50, 25, 200
EXTRA = "--explain needs captum; install it with: pip install 'scoreline[explain]'"
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributions:
    """`values`: float32 `[rows, features]`. `gap`: float32 `[rows]`, their sum minus the difference in score; None for
    methods without this guarantee. `found`: bool `[rows]`, false where a perturbed row, between the explained one and
    the baseline, has no finite score or makes the model raise."""

    values: Tensor
    gap: Tensor | None
    found: Tensor


@dataclass(kw_only=True, slots=True)
class Totals:
    """Of all rows so far: the largest gap and difference in score, the number of rows that could not be explained, and
    the error messages of rows that failed as a batch but passed in smaller pieces."""

    largest_gap: float = 0.0
    largest_difference: float = 0.0
    lost: int = 0
    retried: dict[str, None] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)


class Explainer:
    """Explains the scores of models.

    Args:
        models: in eval mode, as saved: not folded, and without in-place writes that gradients would miss.
        score: outputs of the models, in order, and class indices `[rows]` → the scores to explain, `[rows]`.
        baseline: the inputs of the baseline row, `[1, columns]` each.
        groups: for each column of each input, the index of the raw feature that it comes from.
        num_features: the number of raw features.
        passes: cuts a block into forward passes.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        score: Callable[[Sequence[Any], Tensor], Tensor],
        *,
        method: ExplainMethod,
        call: Call,
        baseline: Tensors,
        groups: Mapping[str, Sequence[int]],
        num_features: int,
        passes: Passes,
    ) -> None:
        _require_captum(method)
        self.method = method
        self.totals = Totals()
        self._layout = torch.contiguous_format if passes.contiguous else torch.preserve_format
        self._models, self._score, self._call, self._passes = models, score, call, passes
        self._baseline, self._num_features = baseline, num_features
        used = sorted({group for features in groups.values() for group in features})
        self._used = torch.tensor(used)
        self._masks = {
            name: torch.tensor([[used.index(group) for group in features]]).to(baseline[name].device)
            for name, features in groups.items()
        }

    def probe(self, inputs: Tensors, classes: Tensor) -> None:
        """Explain two rows, to detect an unsupported model before the first row. Raises whatever the model raises."""
        self._explained(inputs, classes, [0] * len(classes))

    def rows_in_pass(self, rows: int) -> int:
        """How many perturbed rows the model gets at once while some rows are explained: with few rows, several
        perturbations of each."""
        match self.method:
            case "integrated-gradients":
                return rows * PATH_POINTS
            case "lime":
                return min(DRAWN, self._passes.pass_rows)
        return rows * max(1, min(len(self._used), self._passes.pass_rows // rows))

    def run(self, inputs: Tensors, classes: Tensor, seeds: Sequence[int]) -> Attributions:
        """Attributions of some rows.

        Args:
            inputs: `[rows, columns]` each, on the models' device.
            classes: indices of the classes to explain, int64 `[rows]`.
            seeds: random seed of each row.
        """
        rows, complete = len(classes), self.method in COMPLETE
        if not rows:
            none = torch.zeros(0)
            return Attributions(
                values=torch.zeros((0, self._num_features)), gap=none if complete else None, found=none.bool()
            )
        step = max(1, self._passes.pass_rows // (PATH_POINTS if self.method == "integrated-gradients" else 1))
        pieces, gaps = [], []
        for start in range(0, rows, step):
            part = {name: tensor[start : start + step] for name, tensor in inputs.items()}
            chosen = classes[start : start + step]
            values = self._isolating_failures(part, chosen, seeds[start : start + step])
            pieces.append(values.float().cpu())
            if complete:
                gaps.append(self._gap(part, chosen, values).float().cpu())
        attributions = torch.zeros((rows, self._num_features), dtype=torch.float32)
        attributions[:, self._used] = torch.cat(pieces)
        gap = torch.cat(gaps) if complete else None
        found = attributions.isfinite().all(dim=1) & (True if gap is None else gap.isfinite())
        with self.totals.lock:
            self.totals.lost += int((~found).sum())
        return Attributions(values=attributions, gap=gap, found=found)

    def _isolating_failures(self, inputs: Tensors, classes: Tensor, seeds: Sequence[int]) -> Tensor:
        """As `_explained`, with NaN for rows that fail on their own, which are found by halving."""
        try:
            return self._explained(inputs, classes, seeds)
        except (ScorelineError, MemoryError):
            raise
        except Exception as error:  # from the model, or from captum's own fits, on perturbed rows
            full = is_out_of_memory(error)
            if len(classes) == 1 and full:
                raise no_memory(error) from error
            if len(classes) == 1:
                return torch.full((1, len(self._used)), torch.nan, device=classes.device)
            reason = one_line(error)
        if full:
            free_memory(classes.device)
        half = len(classes) // 2
        halves = [
            self._isolating_failures({name: tensor[at] for name, tensor in inputs.items()}, classes[at], seeds[at])
            for at in (slice(0, half), slice(half, len(classes)))
        ]
        values = torch.cat([half.float() for half in halves])
        if not full and not bool(values.isnan().any()):
            self.totals.retried[reason] = None
        return values

    def _explained(self, inputs: Tensors, classes: Tensor, seeds: Sequence[int]) -> Tensor:
        """`[rows, features that the model uses]`."""
        from captum import attr

        tensors, baselines = tuple(inputs.values()), tuple(self._baseline.values())
        masks = tuple(self._masks.values())
        common: dict[str, Any] = {"baselines": baselines, "additional_forward_args": (classes,)}
        if self.method == "integrated-gradients":
            with torch.enable_grad():
                found = attr.IntegratedGradients(self._forward).attribute(tensors, n_steps=PATH_POINTS, **common)
            return self._by_feature(found, summed=True)
        common["feature_mask"] = masks
        together = self.rows_in_pass(len(classes)) // len(classes)
        with torch.no_grad():
            match self.method:
                case "shapley":
                    shapley = attr.ShapleyValueSampling(self._forward)
                    shapley.permutation_generator = self._orders
                    found = shapley.attribute(tensors, n_samples=ORDERS, perturbations_per_eval=together, **common)
                case "occlusion":
                    found = attr.FeatureAblation(self._forward).attribute(
                        tensors, perturbations_per_eval=together, **common
                    )
                case "lime":
                    each = [
                        self._lime(tuple(t[at : at + 1] for t in tensors), classes[at : at + 1], seed)
                        for at, seed in enumerate(seeds)
                    ]
                    return torch.cat(each).to(classes.device)  # captum's linear model is fitted on the CPU
        return self._by_feature(found, summed=False)

    def _lime(self, row: tuple[Tensor, ...], target: Tensor, seed: int) -> Tensor:
        """One row, `[1, features]`: a linear model of its scores with some features set to the baseline."""
        from captum import attr
        from captum._utils.models.linear_model import SkLearnRidge

        draw = torch.Generator().manual_seed(seed & (2**63 - 1))

        def drawn(_given: Any, **described: Any) -> Tensor:
            kept = torch.rand((1, described["num_interp_features"]), generator=draw) < 0.5
            return kept.long().to(row[0].device)

        # Ridge, as in the paper: captum's default, Lasso, shrinks scores of a small unit to 0.
        lime = attr.Lime(self._forward, interpretable_model=SkLearnRidge(alpha=1.0), perturb_func=drawn)
        found = lime.attribute(
            row,
            baselines=tuple(self._baseline.values()),
            additional_forward_args=(target,),
            feature_mask=tuple(self._masks.values()),
            n_samples=DRAWN,
            perturbations_per_eval=min(DRAWN, self._passes.pass_rows),
            return_input_shape=False,
        )
        weights: Tensor = found.reshape(1, -1)
        return weights

    def _orders(self, number: int, orders: int) -> Any:
        """The same permutations for every row, so that results do not depend on which rows share a batch: all of them,
        if there are no more than `orders`, for exact values."""
        if factorial(min(number, ORDERS)) <= orders:
            yield from map(list, permutations(range(number)))
            return
        draw = torch.Generator().manual_seed(0)
        for _ in range(orders):
            yield torch.randperm(number, generator=draw).tolist()

    def _forward(self, *given: Tensor) -> Tensor:
        """The forward function for captum: inputs, then the classes to explain → scores `[rows]`."""
        self._passes.check_stopped()
        *tensors, classes = given
        named = zip(self._baseline, tensors, strict=True)
        inputs = {name: tensor.clone(memory_format=self._layout) for name, tensor in named}  # some overwrite it
        rows = len(classes)
        if rows == 1:  # models that squeeze would drop the batch dimension of a single row
            inputs = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
            classes = torch.cat([classes, classes])
        scores: Tensor = self._score([call_model(model, inputs, self._call) for model in self._models], classes)
        # The gradient of an unused input must be 0, not missing.
        unused = [tensor.flatten(1).sum(dim=1) * 0 for tensor in tensors if tensor.requires_grad]
        return scores[:rows] + sum(unused) if unused else scores[:rows]

    def _gap(self, inputs: Tensors, classes: Tensor, values: Tensor) -> Tensor:
        def differences(rows: int) -> Tensor:
            parts = (slice(start, start + rows) for start in range(0, len(classes), rows))
            return torch.cat([self._difference([one[at] for one in inputs.values()], classes[at]) for at in parts])

        difference = halving(differences, len(classes), device=classes.device)
        gap = values.double().sum(dim=1) - difference
        with self.totals.lock:
            sound = gap.isfinite()
            if bool(sound.any()):
                totals = self.totals
                totals.largest_gap = max(totals.largest_gap, float(gap[sound].abs().max()))
                totals.largest_difference = max(totals.largest_difference, float(difference[sound].abs().max()))
        return gap

    @torch.no_grad()
    def _difference(self, inputs: Sequence[Tensor], classes: Tensor) -> Tensor:
        """How much the scores of some rows differ from that of the baseline, float64."""
        alone = (tensor.expand(len(classes), -1) for tensor in self._baseline.values())
        return self._forward(*inputs, classes).double() - self._forward(*alone, classes).double()

    def _by_feature(self, found: Sequence[Tensor], *, summed: bool) -> Tensor:
        """`[rows, columns]` of each input → `[rows, features]`: the sum over a feature's columns, or the value that
        captum assigns to each of them."""
        total = torch.zeros((len(found[0]), len(self._used)), dtype=found[0].dtype, device=found[0].device)
        for values, mask in zip(found, self._masks.values(), strict=True):
            if summed:
                total.index_add_(1, mask[0], values.to(total.dtype))
            else:
                total[:, mask[0]] = values.to(total.dtype)
        return total


def _require_captum(method: ExplainMethod) -> None:
    try:
        import captum  # noqa: F401 - optional: only --explain needs it

        warnings.filterwarnings("ignore", module=r"captum\.")  # advice for direct callers of captum
        if method == "lime":
            import sklearn.linear_model  # noqa: F401 - captum fits its linear model with it
    except ImportError as error:
        raise UsageError(EXTRA) from error
