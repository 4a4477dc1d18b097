"""Why a row got its score: attributions by captum, of the model as it was saved. Knows nothing of columns or labels.

A row is compared with a baseline, and each raw feature is given its part of the difference in score. A feature that
became several columns is one feature still: its columns are summed (integrated gradients), or set to the baseline
together. Integrated gradients (Sundararajan, Taly and Yan 2017) and Shapley values (sampled as in Castro et al. 2009)
promise that the parts sum to the difference; what they miss it by is the gap. LIME: Ribeiro, Singh and Guestrin 2016.
Occlusion: the score with each feature set to its baseline in turn.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from ...bundle.explain import COMPLETE
from ...errors import ScorelineError, UsageError, one_line
from ...model.forward import Call, call_model
from ...model.passes import Passes
from ...options import ExplainMethod

#: Points of the path of integrated gradients, orders in which Shapley values add features, and rows that LIME draws
#: around each.
PATH_POINTS, ORDERS, DRAWN = 50, 25, 200
EXTRA = "--explain needs captum; install it with: pip install 'scoreline[explain]'"
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attributions:
    """`values`: float32 `[rows, features]`. `gap`: float32 `[rows]`, their sum less the difference in score; None for
    methods that promise nothing of it. `found`: bool `[rows]`, false where a row beside the one that is explained, of
    its values and the baseline's, has no finite score, or makes the model raise."""

    values: Tensor
    gap: Tensor | None
    found: Tensor


class Explainer:
    """Models whose scores are explained.

    Args:
        models: in eval mode, as they were saved: not folded, not writing over what gradients need.
        score: what the models return, in order, and `places` of classes `[rows]` → the score to explain, `[rows]`.
        baseline: the inputs of the row that others are compared with, `[1, columns]` each.
        groups: of each input the place of the raw feature that a column comes from.
        num_features: how many raw features there are.
        passes: how the rows of a block go through the models.
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
        #: The largest gap so far, beside the largest difference in score, and how many rows could not be explained.
        self.largest_gap = self.largest_difference = 0.0
        self.lost = 0
        #: What a model said of rows that it failed on together, and not alone.
        self.retried: dict[str, None] = {}
        self._counting = Lock()
        self._layout = torch.contiguous_format if passes.contiguous else torch.preserve_format
        self._models, self._score, self._call, self._passes = models, score, call, passes
        self._baseline, self._num_features = baseline, num_features
        used = sorted({group for places in groups.values() for group in places})
        self._places = torch.tensor(used)
        self._masks = {
            name: torch.tensor([[used.index(group) for group in places]]).to(baseline[name].device)
            for name, places in groups.items()
        }

    def probe(self, inputs: Tensors, places: Tensor) -> None:
        """Explain two rows, so that a model that cannot be explained is known before the first. Raises what it does."""
        self._explained(inputs, places, [0] * len(places))

    def run(self, inputs: Tensors, places: Tensor, seeds: Sequence[int]) -> Attributions:
        """Attributions of some rows.

        Args:
            inputs: `[rows, columns]` each, on the models' device.
            places: the class to explain, int64 `[rows]`.
            seeds: of what is drawn for each row.
        """
        rows, complete = len(places), self.method in COMPLETE
        if not rows:
            none = torch.zeros(0)
            return Attributions(
                values=torch.zeros((0, self._num_features)), gap=none if complete else None, found=none.bool()
            )
        step = max(1, self._passes.pass_rows // (PATH_POINTS if self.method == "integrated-gradients" else 1))
        pieces, gaps = [], []
        for start in range(0, rows, step):
            part = {name: tensor[start : start + step] for name, tensor in inputs.items()}
            chosen = places[start : start + step]
            values = self._but_failing(part, chosen, seeds[start : start + step])
            pieces.append(values.float().cpu())
            if complete:
                gaps.append(self._gap(part, chosen, values).float().cpu())
        attributions = torch.zeros((rows, self._num_features), dtype=torch.float32)
        attributions[:, self._places] = torch.cat(pieces)
        gap = torch.cat(gaps) if complete else None
        found = attributions.isfinite().all(dim=1) & (True if gap is None else gap.isfinite())
        with self._counting:
            self.lost += int((~found).sum())
        return Attributions(values=attributions, gap=gap, found=found)

    def _but_failing(self, inputs: Tensors, places: Tensor, seeds: Sequence[int]) -> Tensor:
        """The same as `_explained`, NaN for rows that fail alone, which are found by halving."""
        try:
            return self._explained(inputs, places, seeds)
        except (ScorelineError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a model, or what captum fits, makes of rows that are none
            if len(places) == 1:
                return torch.full((1, len(self._places)), torch.nan, device=places.device)
            reason = one_line(error)
        half = len(places) // 2
        halves = [
            self._but_failing({name: tensor[part] for name, tensor in inputs.items()}, places[part], seeds[part])
            for part in (slice(0, half), slice(half, len(places)))
        ]
        values = torch.cat([half.float() for half in halves])
        if not bool(values.isnan().any()):
            self.retried[reason] = None
        return values

    def _explained(self, inputs: Tensors, places: Tensor, seeds: Sequence[int]) -> Tensor:
        """`[rows, features that the model takes]`."""
        from captum import attr

        tensors, baselines = tuple(inputs.values()), tuple(self._baseline.values())
        masks = tuple(self._masks.values())
        common: dict[str, Any] = {"baselines": baselines, "additional_forward_args": (places,)}
        if self.method == "integrated-gradients":
            with torch.enable_grad():
                found = attr.IntegratedGradients(self._forward).attribute(tensors, n_steps=PATH_POINTS, **common)
            return self._by_feature(found, summed=True)
        common["feature_mask"] = masks
        together = max(
            1, min(len(self._places), self._passes.pass_rows // len(places))
        )  # of few rows several passes at once
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
                    return torch.cat(
                        [
                            self._lime(tuple(t[at : at + 1] for t in tensors), places[at : at + 1], seed)
                            for at, seed in enumerate(seeds)
                        ]
                    )
        return self._by_feature(found, summed=False)

    def _lime(self, row: tuple[Tensor, ...], place: Tensor, seed: int) -> Tensor:
        """One row, `[1, features]`: a linear model of what it scores when some features are at the baseline."""
        from captum import attr
        from captum._utils.models.linear_model import SkLearnRidge

        draw = torch.Generator().manual_seed(seed & (2**63 - 1))

        def drawn(_given: Any, **described: Any) -> Tensor:
            kept = torch.rand((1, described["num_interp_features"]), generator=draw) < 0.5
            return kept.long().to(row[0].device)

        # Ridge, as LIME's authors have it: captum's own Lasso takes scores of a small unit for none.
        lime = attr.Lime(self._forward, interpretable_model=SkLearnRidge(alpha=1.0), perturb_func=drawn)
        found = lime.attribute(
            row,
            baselines=tuple(self._baseline.values()),
            additional_forward_args=(place,),
            feature_mask=tuple(self._masks.values()),
            n_samples=DRAWN,
            perturbations_per_eval=min(DRAWN, self._passes.pass_rows),
            return_input_shape=False,
        )
        weights: Tensor = found.reshape(1, -1)
        return weights

    def _orders(self, number: int, orders: int) -> Any:
        """The same for every row, so that which rows are explained together changes nothing."""
        draw = torch.Generator().manual_seed(0)
        for _ in range(orders):
            yield torch.randperm(number, generator=draw).tolist()

    def _forward(self, *given: Tensor) -> Tensor:
        """captum's view of the models: inputs, then the classes to explain → scores `[rows]`."""
        self._passes.check_stopped()
        *tensors, places = given
        named = zip(self._baseline, tensors, strict=True)
        inputs = {name: tensor.clone(memory_format=self._layout) for name, tensor in named}  # some overwrite
        rows = len(places)
        if rows == 1:  # models that squeeze take a single row for none at all
            inputs = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
            places = torch.cat([places, places])
        scores: Tensor = self._score([call_model(model, inputs, self._call) for model in self._models], places)
        # A model may not use an input: its gradient is 0, and not missing.
        unused = [tensor.flatten(1).sum(dim=1) * 0 for tensor in tensors if tensor.requires_grad]
        return scores[:rows] + sum(unused) if unused else scores[:rows]

    def _gap(self, inputs: Tensors, places: Tensor, values: Tensor) -> Tensor:
        with torch.no_grad():
            alone = tuple(tensor.expand(len(places), -1) for tensor in self._baseline.values())
            difference = self._forward(*inputs.values(), places).double() - self._forward(*alone, places).double()
        gap = values.double().sum(dim=1) - difference
        with self._counting:
            sound = gap.isfinite()
            if bool(sound.any()):
                self.largest_gap = max(self.largest_gap, float(gap[sound].abs().max()))
                self.largest_difference = max(self.largest_difference, float(difference[sound].abs().max()))
        return gap

    def _by_feature(self, found: Sequence[Tensor], *, summed: bool) -> Tensor:
        """`[rows, columns]` of each input → `[rows, features]`: sums of a feature's columns, or the value that captum
        has given to each of them."""
        total = torch.zeros((len(found[0]), len(self._places)), dtype=found[0].dtype, device=found[0].device)
        for values, mask in zip(found, self._masks.values(), strict=True):
            if summed:
                total.index_add_(1, mask[0], values.to(total.dtype))
            else:
                total[:, mask[0]] = values.to(total.dtype)
        return total


def _require_captum(method: ExplainMethod) -> None:
    try:
        import captum  # noqa: F401 - an extra: only --explain needs it

        warnings.filterwarnings("ignore", module=r"captum\.")  # advice to those who call it by hand
        if method == "lime":
            import sklearn.linear_model  # noqa: F401 - captum fits its linear model with it
    except ImportError as error:
        raise UsageError(EXTRA) from error
