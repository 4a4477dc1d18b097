"""`save_bundle`: the last line of a training script. Joins features, model and tasks, as `scoring/scorer.py` does for
scoring, and ends by replaying what it will write through that same path.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...schemas.bundle import (
    AnyHead,
    AnyMember,
    BundleManifest,
    ClassHead,
    Ensemble,
    Feature,
    Golden,
    GraphMember,
    LabelledHead,
    LayerRecord,
    Pruning,
    RegressionHead,
    SequenceInput,
    TableInput,
    TaggingHead,
    arguments_of,
    refuse_arguments,
)
from ..bundle.bundle import sha256, write_bundle
from ..bundle.golden import ABSOLUTE, RELATIVE, GoldenRows, write_golden
from ..bundle.heads import head_fields, head_width, output_fields
from ..errors import BundleError, GoldenMismatchError, ModelFailedError
from ..graph.interpreter import EXAMPLE_ROWS, GraphModel, example_inputs, shapes
from ..model.modes import pinned
from ..ordered import refuse_unordered
from ..records import ColumnOptions, Lists
from ..records import Sequences as Steps
from ..scoring.scorer import Scorer
from ..tasks.decode import decode_head, raw_arrays
from .draft import Draft, draft
from .fitted import fitted_in_float32
from .heads import NamedHead, Outputs, Task, make_heads, refuse_double_activation
from .inputs import described, take_apart
from .pruning import zeros
from .reference import Raw, choices_of, has_sequences, true_outputs
from .sample import Sample, expected_columns

Call = Literal["arguments", "dict"]
GOLDEN = "golden.parquet"
#: By how many steps lists are padded further, to see whether a model looks at what its mask says is not there.
EXTRA_STEPS = 3
PADDING = (
    "the model's output for a list changes with the padding behind it; let it use its mask wherever steps meet, or"
    " leave mask out, so that only lists of one length go through together"
)


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
        pruning = _pruning(prune, drafts, described_heads, ensemble, raw, whole)
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
    rows, raw = _within_bounds(manifest, rows, raw)
    columns = _columns(manifest, named, raw)
    if expected is not None:
        columns = expected_columns(expected, manifest, rows)
    manifest = manifest.model_copy(update={"golden": manifest.golden.model_copy(update={"rows": rows.batch.num_rows})})
    members = [_with_layers(each, manifest) for each in drafts]
    manifest = manifest.model_copy(update={"members": members})
    golden = GoldenRows(features=rows.batch, raw=raw_arrays(described_heads, raw), columns=columns)
    files[GOLDEN] = write_golden(golden)
    manifest = _rehearsed(manifest, drafts, golden)
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


def _pruning(
    share: float,
    drafts: Sequence[Draft],
    heads: Sequence[AnyHead],
    ensemble: Ensemble | None,
    raw: Raw,
    whole: Raw,
) -> Pruning:
    """What pruning has changed, over the golden rows."""
    counts = [zeros(each.truth) for each in drafts]
    changed = 0
    for head in heads:
        if isinstance(head, ClassHead):
            both = [decode_head(head, each[head.name], ColumnOptions(), ensemble, len(drafts)) for each in (raw, whole)]
            for at in range(len(head.labels) if head.task == "multilabel" else 1):
                changed += pc.sum(pc.not_equal(*(decoded.columns[at] for decoded in both))).as_py()
    return Pruning(
        share=share,
        zeros=sum(zero for zero, _ in counts),
        weights=sum(weights for _, weights in counts),
        largest_difference=max(_apart(raw[name], whole[name]) for name in raw),
        labels_changed=changed,
    )


def _apart(one: Tensor | Steps, other: Tensor | Steps) -> float:
    """The largest difference of raw outputs; infinite where they are not of as many steps."""
    if isinstance(one, Steps) and isinstance(other, Steps):
        if not torch.equal(one.offsets, other.offsets):
            return float("inf")
        one, other = one.values, other.values
    assert isinstance(one, Tensor), "both are of rows, or both of steps"
    assert isinstance(other, Tensor), "both are of rows, or both of steps"
    return float((one - other).abs().max())


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
    if std and any(isinstance(head, TaggingHead) for head in heads):
        raise BundleError("std= is not written of tagging; leave it out")
    classes = [head.task for head in heads if isinstance(head, LabelledHead)]
    combine = combine or ("probability" if classes else "mean")
    if (combine == "mean") == bool(classes):
        raise BundleError(f"combine={combine!r} does not go with {classes[0] if classes else 'regression'}")
    return described(lambda: Ensemble(combine=combine, std=std))


def _within_bounds(manifest: BundleManifest, rows: Sample, raw: Raw) -> tuple[Sample, Raw]:
    """The sample rows that the bundle would not reject itself.

    Raises:
        BundleError: there are none.
    """
    keep = torch.ones(rows.batch.num_rows, dtype=torch.bool)
    for head in manifest.heads:
        if head.bounds is not None and head.bounds.reject:
            found = decode_head(head, raw[head.name], ColumnOptions(), manifest.ensemble, len(manifest.members))
            if found.beyond is not None:
                keep &= ~found.beyond
    if not bool(keep.any()):
        raise BundleError("every prediction of the sample is out of bounds, and would be rejected; widen bounds=")
    kept = keep.nonzero()[:, 0]
    return rows.only(kept.numpy()), {name: values[kept] for name, values in raw.items()}


def _columns(manifest: BundleManifest, named: Sequence[NamedHead], raw: Raw) -> dict[str, pa.Array]:
    """The decoded columns of the golden rows; a regression's by the user's own inverse of the target's scaler."""
    columns: dict[str, pa.Array] = {}
    members = len(manifest.members)
    for one in named:
        head, values = one.head, raw[one.head.name]
        names = [field.name for field in head_fields(manifest, head, ColumnOptions())]
        decoded = decode_head(head, values, ColumnOptions(), manifest.ensemble, members)
        if decoded.finite is not None:
            row = int((~decoded.finite).nonzero()[0])
            what = ", or its variance or deviation negative" if getattr(head, "spread", None) else ""
            found = values[row : row + 1]
            said = (found.values if isinstance(found, Steps) else found[0]).tolist()
            raise BundleError(f"the model's output for sample row {row} is not finite{what}: {said}")
        made = list(decoded.columns)
        if isinstance(head, RegressionHead) and head.rescale:
            assert isinstance(values, Tensor), "a regression speaks of rows"
            targets = max(1, len(head.targets))
            kinds = 1 if head.spread is not None else max(1, len(head.quantiles))
            width = head_width(head)
            taken = values.double().numpy().reshape(len(values) * members, width)[:, : kinds * targets]
            unit = np.asarray(one.to_unit(taken.reshape(-1, targets))).reshape(len(values), members, kinds * targets)
            unit = unit.mean(axis=1)
            made[: kinds * targets] = [pa.array(np.ascontiguousarray(column)) for column in unit.T]
        columns |= dict(zip(names, made, strict=True))
    return columns


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


def _rehearsed(manifest: BundleManifest, drafts: Sequence[Draft], golden: GoldenRows) -> BundleManifest:
    """The manifest with which the golden rows come out; tables contiguous where the model needs it."""
    if not _rehearse(manifest, drafts, golden):
        return manifest
    inputs = [
        entry.model_copy(update={"contiguous": True}) if isinstance(entry, TableInput) else entry
        for entry in manifest.inputs
    ]
    return manifest.model_copy(update={"inputs": inputs})


def _rehearse(manifest: BundleManifest, drafts: Sequence[Draft], golden: GoldenRows) -> bool:
    """Replay the golden rows by the path that scoring takes, with the model rebuilt from its data: all at once,
    then one alone and the rest in two unequal parts, since a row's score must not depend on its neighbours.

    Returns:
        Whether the model needs the rows of tables one behind the other.
    """
    members = [each.loaded for each in drafts]
    scorer = Scorer(manifest, members, device=torch.device("cpu"), digest=sha256(b""))
    try:
        scorer.settle(golden)
    except GoldenMismatchError as error:
        if manifest.golden.source == "model" and any(
            isinstance(e, SequenceInput) and e.mask is not None for e in manifest.inputs
        ):
            raise BundleError(f"{PADDING} ({error})") from error
        raise
    if any(isinstance(entry, SequenceInput) and entry.mask is not None for entry in manifest.inputs):
        scorer.members.passes.extra = EXTRA_STEPS
        raw, _ = scorer.raw_and_columns(golden.features)
        if not all(_alike(got, golden.raw[name], 0, golden.features.num_rows) for name, got in raw.items()):
            raise BundleError(PADDING)
        scorer.members.passes.extra = 0
    num_rows = golden.features.num_rows
    for start, stop in ((0, 1), (1, 1 + num_rows // 3), (1 + num_rows // 3, num_rows)):
        part = golden.features.slice(start, stop - start)
        if not part.num_rows:
            continue
        try:
            raw, _ = scorer.raw_and_columns(part)
        except ModelFailedError as error:
            raise BundleError(f"the model takes {num_rows} rows at once, but not {part.num_rows}: {error}") from error
        for name, got in raw.items():
            if not _alike(got, golden.raw[name], start, stop):
                raise BundleError(
                    "the model mixes rows: a row's output depends on the rows beside it (a mean or softmax over"
                    " dim=0, a BatchNorm without running statistics); rows must not depend on each other"
                )
    return scorer.members.passes.contiguous


def _alike(got: NDArray[np.float32] | Lists, whole: NDArray[np.float32] | Lists, start: int, stop: int) -> bool:
    """Whether some rows came out as they had among all."""
    if isinstance(got, Lists) and isinstance(whole, Lists):
        wanted = whole.only(np.arange(start, stop))
        same = got.offsets.tolist() == wanted.offsets.tolist()
        return same and np.allclose(got.values, wanted.values, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    assert isinstance(got, np.ndarray), "both are of rows, or both of steps"
    assert isinstance(whole, np.ndarray), "both are of rows, or both of steps"
    return np.allclose(got, whole[start:stop], rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
