"""`save_bundle`: the last line of a training script. Joins features, model and tasks, as `scoring/scorer.py` does for
scoring, and ends by replaying what it will write through that same path.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import torch

from ...schemas.bundle import BundleManifest, Ensemble, Golden, arguments_of, refuse_arguments
from ...schemas.heads import AnyHead
from ...schemas.inputs import Feature
from ...schemas.members import AnyMember, GraphMember, LayerRecord
from ..bundle.bundle import sha256, write_bundle
from ..bundle.columns import output_fields
from ..bundle.golden import GoldenRows, write_golden
from ..errors import BundleError
from ..graph.interpreter import EXAMPLE_ROWS, GraphModel, shapes
from ..model.example import example_inputs
from ..model.modes import pinned
from ..options import ColumnOptions
from ..ordered import refuse_unordered
from ..tasks.decode import raw_arrays
from ..tasks.tasks import task_of
from .draft import Draft, draft
from .fitted import fitted_in_float32
from .heads import Outputs, Task, make_heads
from .inputs import described, take_apart
from .output_checks import refuse_double_activation
from .reference import choices_of, golden_columns, has_sequences, rows_within_bounds, true_outputs
from .rehearsal import pruning_changes, rehearse_bundle
from .sample import expected_columns

Call = Literal["arguments", "dict"]
GOLDEN = "golden.parquet"


@pinned()
def save_bundle(
    path: str | os.PathLike[str],
    model: Any,
    *,
    features: Sequence[str],
    sample: Any,
    task: Task | None = None,
    scaler: Any = None,
    labels: Sequence[Any] | None = None,
    outputs: Outputs | None = None,
    output: int | str | list[int | str] | None = None,
    threshold: float | Sequence[float] | Mapping[Any, float] | None = None,
    quantiles: Sequence[float] | None = None,
    spread: Literal["variance", "log_variance", "std"] | None = None,
    bounds: Any = None,
    out_of_bounds: Literal["count", "reject"] | None = None,
    heads: Mapping[str, Mapping[str, Any]] | None = None,
    expected: Any = None,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
    inputs: Mapping[str, Sequence[str]] | None = None,
    images: Mapping[str, Mapping[str, Any]] | None = None,
    sequences: Mapping[str, Mapping[str, Any]] | None = None,
    generate: Mapping[str, Any] | None = None,
    call: Call = "arguments",
    target_scaler: Any = None,
    combine: Literal["probability", "logit", "vote", "mean"] | None = None,
    std: bool = False,
    prune: float | None = None,
) -> str:
    """Save a trained model with all it needs to score.

    The model is left as it was: mode, device, buffers. Before this returns, the bundle has been rebuilt from
    its data and has reproduced, through the whole scoring path, what the model and scaler objects give.

    Args:
        path: the folder to write; an older bundle there is replaced.
        model: a module that takes float32 `[rows, columns]` (int64 where they go straight into an Embedding) and
            returns `[rows]`, `[rows, 1]` or `[rows, width]`, or a tuple or dict of such. Or the path of an `.onnx`,
            `.pt2` or TorchScript file, or `("module:factory", state_dict)`. A list of any of these is an ensemble.
        features: the raw input columns, in the order the model takes them.
        sample: raw rows, before any preparation: a table with the features by name (of pandas, pyarrow, polars,
            DuckDB: whatever has `__arrow_c_stream__`), or an array `[rows, features]`. Names are compared as text:
            column 0 of `pd.DataFrame(array)` is feature "0". Up to 256 of them become the golden rows.
        task: binary (labels: two), multiclass, multilabel (any number of labels may be right), regression; of lists
            also tagging (a label for each step) and generation (labels: the vocabulary).
        scaler: None, a fitted scikit-learn transformer (also a Pipeline or ColumnTransformer), or a list of
            `(transformer, [feature, ...])`. `pipeline/saving/fitted.py` lists what is supported.
        labels: in the order of the model's outputs. For a regression with several outputs: their names.
        outputs: what the model returns: logits (the default), probabilities or log-probabilities.
        output: which output to take where the model returns a tuple (a place) or a dict (a key); a list of several
            puts them side by side.
        threshold: the second label of a binary task is predicted above this probability, 0.5 where nothing is said; of
            a multilabel task each label, one number for all, one each, or by label.
        quantiles: of a regression: what the outputs are, as in `[0.1, 0.5, 0.9]`.
        spread: of a regression: the second half of the outputs is the `variance`, `log_variance` or `std` of the first.
        bounds: what predictions are to lie within: `(low, high)` in the target's unit, or a pair for each target; True
            for probabilities, which lie in [0, 1] and sum to 1.
        out_of_bounds: `count` rows beyond (the default), or `reject` them.
        heads: of a model with several outputs: for each head's name its own task, labels, outputs, output, threshold,
            target_scaler, quantiles, spread, bounds, out_of_bounds.
        expected: predictions for the sample rows, made elsewhere: probabilities `[rows]` or `[rows, labels]`,
            labels `[rows]`, regression values, or a table with the output columns. They catch a scaler that
            was forgotten, which the model alone cannot.
        vocabularies: for text features, their words; each stands for its place in the list.
        inputs: several tensors: for each argument's name the features whose columns make it, in forward's order.
        images: for each image feature (or input) how it is prepared: `size` (height, width), which is needed, `resize`
            (of the shorter side, before the middle is cut out), `channels` (3 or 1), `mean` and `std` by channel,
            `interpolation`, `exif`. Columns hold paths or the bytes of JPEG and PNG; forward takes float32
            `[rows, channels, height, width]`.
        sequences: for each feature (or input) of lists: `longest`, which is needed; `mask`, where forward takes one
            behind the lists (`real`, `padding` or `lengths`); `pad`, the token lists are padded with; `unknown`, the
            word of the vocabulary that unknown ones are taken for; `dtype`. Forward takes int64 tokens
            `[rows, steps]`, or float32 `[rows, steps, columns]`.
        generate: of the task generation: `start` and `end` as the words they stand for, `steps`, `beams`,
            `length_penalty`.
        call: `dict` where forward takes one dict of the inputs instead of arguments.
        target_scaler: the fitted scaler of a regression's target, or the number that it was divided by; predictions
            come back in the target's own unit.
        combine: of an ensemble: the mean `probability` (the default for classes), the mean `logit`, the share of
            `vote`s; for regression the `mean`.
        std: of an ensemble: also write `prediction_std`, the members' standard deviation.
        prune: set this share of each layer's weights to zero, the smallest. The bundle says how far that moved the
            outputs. Dense kernels do not get faster from it.

    Returns:
        The bundle's digest, `sha256:…`.

    Raises:
        BundleError: the model cannot be kept as data (names the line), a transformer is not supported, labels do
            not fit the outputs, or the sample cannot be scored.
        GoldenMismatchError: the outputs expected for the sample are not what this model and scaler give.
        UsageError: a set where the order has a meaning.
    """
    refuse_unordered(
        features=features, labels=labels, output=output, threshold=threshold, quantiles=quantiles, bounds=bounds,
        heads=heads, vocabularies=vocabularies, inputs=inputs, images=images, sequences=sequences, generate=generate,
        scaler=scaler,
    )  # fmt: skip
    names = _plain_names(features)
    taken = take_apart(
        names, sample, scaler=scaler, vocabularies=vocabularies or {}, inputs=inputs, images=images, sequences=sequences
    )
    entries, rows = taken.inputs, taken.rows
    named = make_heads(
        heads,
        {
            "task": task, "labels": labels, "outputs": outputs, "output": output, "threshold": threshold,
            "target_scaler": target_scaler, "quantiles": quantiles, "spread": spread, "bounds": bounds,
            "out_of_bounds": out_of_bounds, "generate": generate,
        },
    )  # fmt: skip
    described_heads = [one.head for one in named]
    if isinstance(model, list) and not model:
        raise BundleError("the list of models is empty")
    models = model if isinstance(model, list) else [model]
    described(lambda: refuse_arguments(entries, described_heads, taken.steps, len(models)))
    takes = arguments_of(entries, described_heads)
    drafts = _drafts(models, takes, call, prune)
    for each in drafts:
        for head in described_heads:
            refuse_double_activation(each.loaded.graph, head)
    choices = choices_of(drafts, entries, takes, call, taken.steps, taken.features)

    ensemble = _ensemble(len(drafts), described_heads, combine, std)
    raw, entries = true_outputs(drafts, taken.shown, choices, call, described_heads)
    pruning = None
    if prune is not None:
        whole, _ = true_outputs(_drafts(models, takes, call, None), taken.shown, [entries], call, described_heads)
        pruning = pruning_changes(prune, drafts, described_heads, ensemble, raw, whole)
    files = {name: data for each in drafts for name, data in each.files.items()}
    manifest = described(
        lambda: BundleManifest(
            scoreline=version("scoreline"),
            features=taken.features,
            steps=taken.steps,
            inputs=entries,
            call=call,
            members=[each.member for each in drafts],
            ensemble=ensemble,
            pruning=pruning,
            heads=described_heads,
            golden=Golden(
                file=GOLDEN,
                rows=rows.batch.num_rows,
                source="model" if expected is None else "expected",
                fitted_in="float32" if fitted_in_float32(scaler) else "float64",
            ),
            files={name: sha256(data) for name, data in files.items()} | {GOLDEN: sha256(b"")},
        )
    )
    written = [field.name for field in output_fields(manifest, ColumnOptions())]
    if len(set(written)) < len(written):
        raise BundleError(f"two outputs would be written under the same name, among {written}")
    rows, raw = rows_within_bounds(manifest, rows, raw)
    columns = golden_columns(manifest, named, raw)
    if expected is not None:
        columns = expected_columns(expected, manifest, rows)
    manifest = manifest.model_copy(update={"golden": manifest.golden.model_copy(update={"rows": rows.batch.num_rows})})
    members = [_with_layers(each, manifest) for each in drafts]
    manifest = manifest.model_copy(update={"members": members})
    golden = GoldenRows(features=rows.batch, raw=raw_arrays(described_heads, raw), columns=columns)
    files[GOLDEN] = write_golden(golden)
    manifest = rehearse_bundle(manifest, drafts, golden)
    digests = {name: sha256(data) for name, data in files.items()}
    return write_bundle(path, manifest.model_copy(update={"files": digests}), files)


def _plain_names(features: Sequence[str]) -> list[str]:
    if isinstance(features, str):
        raise BundleError(f"features is the text {features!r}; give a list of column names")
    names = [str(name) for name in features]
    described(lambda: [Feature(name=name) for name in names])
    if len(set(names)) < len(names):
        raise BundleError(f"a feature stands twice among {names}")
    return names


def _drafts(models: Sequence[Any], takes: Sequence[str], call: Call, pruned: float | None) -> list[Draft]:
    arguments = 1 if call == "dict" else len(takes)
    drafts = []
    for place, model in enumerate(models):
        number = "" if len(models) == 1 else f"-{place}"
        made = partial(draft, model, number, inputs=list(takes), num_arguments=arguments, pruned=pruned)
        drafts.append(described(made))
    return drafts


def _ensemble(members: int, heads: Sequence[AnyHead], combine: Any, std: bool) -> Ensemble | None:
    if members == 1:
        if combine is not None or std:
            raise BundleError("combine and std are for an ensemble; give a list of models")
        return None
    if std and any(not task_of(head).has_std for head in heads):
        raise BundleError("std= is not written of tagging; leave it out")
    classes = [head.task for head in heads if task_of(head).labels]
    combine = combine or ("probability" if classes else "mean")
    if (combine == "mean") == bool(classes):
        raise BundleError(f"combine={combine!r} does not go with {classes[0] if classes else 'regression'}")
    return described(lambda: Ensemble(combine=combine, std=std))


def _with_layers(one: Draft, manifest: BundleManifest) -> AnyMember:
    """The member with what every step of its graph makes of a row; without, where it does not run on zeros, or where
    that depends on how long a sequence is."""
    model = one.loaded.module
    if has_sequences(manifest.inputs) or not (isinstance(one.member, GraphMember) and isinstance(model, GraphModel)):
        return one.member
    try:
        with torch.inference_mode():
            found = shapes(model, *example_inputs(manifest))
    except Exception:  # whatever a model makes of zeros: its layers cannot be named, and it scores all the same
        return one.member
    layers = [
        LayerRecord(name=name, calls=calls, shape=list(shape[1:]))
        for name, calls, shape in found
        if shape and shape[0] == EXAMPLE_ROWS
    ]
    return one.member.model_copy(update={"layers": layers})
