"""`save_bundle`: saves a trained model and its preprocessing as a bundle, and tests it through the scoring path."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

from ...schemas.bundle import BundleManifest, Ensemble, Golden, Pruning, ReferenceFile, arguments_of, refuse_arguments
from ...schemas.heads import AnyHead
from ...schemas.inputs import AnyInput
from ...schemas.members import AnyMember, GraphMember, LayerRecord
from ...schemas.specs.inputs import AnyInputSpec
from ...schemas.specs.models import Ensemble as EnsembleSpec
from ...schemas.specs.tasks import AnyTask
from ..bundle.columns import output_fields
from ..bundle.golden import GOLDEN, GoldenRows, write_golden
from ..bundle.write import write_bundle
from ..digests import sha256
from ..errors import BundleError
from ..graph.example import ROWS, Example
from ..graph.interpreter import GraphModel
from ..model.devices import Cpu
from ..model.example import example_of, result_shapes
from ..model.forward import Call
from ..model.modes import pinned
from ..monitoring.layout import encode_reference
from ..options import ColumnOptions
from ..ordered import refuse_unordered
from ..scoring.loaded import on_device
from ..tasks.decode import raw_arrays
from ..tasks.named_errors import named_errors
from ..tasks.tasks import task_of
from .arguments import refuse_missing, refuse_order
from .draft import Draft, draft
from .expressions import split_preprocessing
from .fitted import fitted_in_float32
from .frozen import unwrapped
from .heads import NamedHead, make_heads
from .inputs import BoundInputs, bind_inputs, described
from .nets import unwrap
from .onnx_outputs import find_outputs
from .output_checks import refuse_double_activation
from .reference import (
    Raw,
    choices_of,
    golden_columns,
    has_sequences,
    possible_inputs,
    reference_outputs,
    rows_within_bounds,
)
from .rehearsal import pruning_changes, rehearse_bundle
from .sample import expected_columns
from .specs import Models, models_of, named_inputs, named_tasks
from .texts import BoundTexts
from .training_rows import golden_reference, training_reference

REFERENCE = "reference.json"


@pinned()
def save_bundle(
    path: str | os.PathLike[str],
    model: Any,
    *,
    features: Sequence[Any] | None = None,
    inputs: AnyInputSpec | Mapping[str, AnyInputSpec] | None = None,
    task: AnyTask | Mapping[str, AnyTask],
    scaler: Any = None,
    preprocessing: Any = None,
    sample: Any,
    expected: Any = None,
    reference: Any = None,
) -> str:
    """Save a trained model with everything that scoring needs. The model itself is not changed.

        save_bundle("bundles/wine", model, features=["ash", "hue"], task=Binary(["no", "yes"]), sample=raw_rows)

    Before this returns, the bundle is loaded from its data, and must reproduce the outputs of the original model and
    scaler through the whole scoring path. Other threads may score, but neither save nor draw random numbers of torch.

    Args:
        path: the folder to write. A bundle there is replaced in one step; any other folder or file is refused.
        model: a module that returns float32 `[rows]`, `[rows, 1]` or `[rows, width]`, or a tuple or dict of these; the
            path of an `.onnx`, `.pt2` or TorchScript file; `("module:factory", state_dict)`; a `Model` or an `Ensemble`
            of these. Of a fitted skorch net its module, of a Pipeline also the transformers before it, as scaler.
        features: the raw columns of a model that takes one table, in the model's order.
        inputs: for other models: `Table`, `Image`, `Tokens`, `TokenSequence` or `FloatSequence`; for several
            arguments of forward, a mapping by argument name, in forward's order.
        task: `Binary`, `Multiclass`, `Multilabel`, `Regression`, `Tagging` or `Generation`; for several outputs, a
            mapping by name, which prefixes the output columns.
        scaler: a fitted scikit-learn transformer, or a list of `(transformer, [column, ...])`;
            docs/reference/transformers.md lists those that are supported, and which keep the order of the features.
        preprocessing: in place of `scaler`, a list of `Expressions` and of what `scaler` takes.
        sample: raw rows: a table with the columns by name (pandas, pyarrow, polars, DuckDB, or any object with
            `__arrow_c_stream__`, or a dict of columns; column 0 of `pd.DataFrame(array)` is feature "0"), or an array
            `[rows, columns]`. Up to 256 of them become the golden rows.
        expected: predictions for the sample, computed elsewhere: probabilities `[rows]` or `[rows, labels]`, labels
            `[rows]`, values, or a table with the output columns. They detect a forgotten scaler.
        reference: the rows that the model was trained on, in any form that the sample may have, for detecting drift
            (docs/explanation/drift.md). The bundle keeps counts, not rows: of at most 65,536 of them, with the model's
            predictions. Without them, the golden rows serve, less precisely.

    Returns:
        The bundle's digest, `sha256:…`.

    Raises:
        BundleError: a wrong spec, or a model, transformer or sample that does not match it or cannot be saved as data.
        GoldenMismatchError: the model and scaler do not reproduce the expected outputs for the sample.
        UsageError: an argument is a set, but its order matters.
    """
    specs, tasks, models = named_inputs(features, inputs), named_tasks(task), models_of(model)
    refuse_unordered(scaler=scaler, preprocessing=preprocessing)
    expressions, scaler = split_preprocessing(preprocessing, scaler)
    members, scaler = unwrap(models.members, scaler)
    bound, heads = bind_inputs(specs, sample, scaler, expressions), make_heads(tasks)
    sample_run = _run_sample(replace(models, members=members), bound, [each.head for each in heads])
    heads = [replace(each, head=head) for each, head in zip(heads, sample_run.heads, strict=True)]
    manifest = _describe(bound, sample_run, [each.head for each in heads], models.call)
    manifest, golden = _make_golden(manifest, bound, sample_run, heads, expected, scaler)
    return _write(path, manifest, sample_run.drafts, golden, bound.texts, reference)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SampleRun:
    """The result of running the models on the sample: their drafts, the heads with the outputs that they mean, the
    inputs with the dtypes that the models take, and the raw outputs by head."""

    drafts: list[Draft]
    heads: list[AnyHead]
    inputs: list[AnyInput]
    raw: Raw
    ensemble: Ensemble | None
    pruning: Pruning | None


def _run_sample(models: Models, bound: BoundInputs, heads: Sequence[AnyHead]) -> _SampleRun:
    """Convert the models to drafts, and run them on the sample."""
    members, call, prune = models.members, models.call, models.prune
    described(lambda: refuse_arguments(bound.inputs, heads, bound.steps, len(members)))
    takes = arguments_of(bound.inputs, heads)
    for model in members:
        refuse_order(model, bound.inputs, takes)
        if call == "arguments":
            refuse_missing(unwrapped(model), bound.inputs, takes)
    possible = possible_inputs(bound.inputs, bound.steps, bound.features)
    examples = [example_of(entries, takes, as_dict=call == "dict") for entries in possible]
    drafts = _drafts(members, takes, examples, prune)
    for each in drafts:
        if call == "arguments":
            refuse_missing(each.reference, bound.inputs, takes)
        for head in heads:
            with named_errors(head):
                refuse_double_activation(each.loaded.graph, head)
    choices = choices_of(drafts, possible, takes, call)
    heads = find_outputs(drafts, lambda: bound.reference(choices[0]), heads, call)
    combined = None if models.ensemble is None else _combination(len(drafts), heads, models.ensemble)
    raw, entries = reference_outputs(drafts, bound.reference, choices, call, heads)
    pruning = None
    if prune is not None:
        whole = _drafts(members, takes, examples, None)
        before, _ = reference_outputs(whole, bound.reference, [entries], call, heads)
        pruning = pruning_changes(prune, drafts, heads, combined, raw, before)
    return _SampleRun(drafts=drafts, heads=heads, inputs=entries, raw=raw, ensemble=combined, pruning=pruning)


def _drafts(
    models: Sequence[Any], takes: Sequence[str], examples: Sequence[Example], pruned: float | None
) -> list[Draft]:
    drafts = []
    for index, model in enumerate(models):
        number = "" if len(models) == 1 else f"-{index}"
        make = partial(draft, model, number, inputs=list(takes), examples=examples, pruned=pruned)
        drafts.append(described(make))
    return drafts


def _combination(members: int, heads: Sequence[AnyHead], spec: EnsembleSpec) -> Ensemble | None:
    """How the members' predictions are combined; None for a single model."""
    if members == 1:
        if spec.combine is not None or spec.std:
            raise BundleError("Ensemble: combine and std need several models, and there is only one")
        return None
    if spec.std and any(not task_of(head).has_std for head in heads):
        raise BundleError("Ensemble: std is not supported for tagging; leave it out")
    spreads = [head.name for head in heads if getattr(head, "spread", None) is not None]
    if spec.std and spreads:
        raise BundleError(
            "Ensemble: std and the spread of a regression would both write prediction_std; leave std out: the spread"
            " then includes the difference between the members"
        )
    classes = [head.task for head in heads if task_of(head).labels]
    combine = spec.combine or ("probability" if classes else "mean")
    if (combine == "mean") == bool(classes):
        raise BundleError(f"Ensemble: combine {combine!r} does not support {classes[0] if classes else 'regression'}")
    return described(lambda: Ensemble(combine=combine, std=spec.std))


def _describe(bound: BoundInputs, sample_run: _SampleRun, heads: Sequence[AnyHead], call: Call) -> BundleManifest:
    """The manifest, with placeholders for the golden rows."""
    files = {name: sha256(data) for each in sample_run.drafts for name, data in each.files.items()}
    files |= {name: sha256(data) for name, data in bound.texts.files.items()}
    manifest = described(
        lambda: BundleManifest(
            scoreline=version("scoreline"),
            features=bound.columns,
            expressions=bound.expressions,
            steps=bound.steps,
            inputs=sample_run.inputs,
            call=call,
            members=[each.member for each in sample_run.drafts],
            ensemble=sample_run.ensemble,
            pruning=sample_run.pruning,
            heads=list(heads),
            golden=Golden(file=GOLDEN, rows=bound.rows.batch.num_rows, source="model"),
            files=files | {GOLDEN: sha256(b"")},
        )
    )
    written = [field.name for field in output_fields(manifest, ColumnOptions())]
    if len(set(written)) < len(written):
        twice = next(name for at, name in enumerate(written) if name in written[:at])
        raise BundleError(f"two output columns would have the name {twice!r}; rename the task, label or target")
    return manifest


def _make_golden(
    manifest: BundleManifest,
    bound: BoundInputs,
    sample_run: _SampleRun,
    heads: Sequence[NamedHead],
    expected: Any,
    scaler: Any,
) -> tuple[BundleManifest, GoldenRows]:
    """The golden rows, and the manifest that describes them."""
    rows, raw = rows_within_bounds(manifest, bound.rows, sample_run.raw)
    columns = golden_columns(manifest, heads, raw)
    if expected is not None:
        columns = expected_columns(expected, manifest, rows)
    golden = Golden(
        file=GOLDEN,
        rows=rows.batch.num_rows,
        source="model" if expected is None else "expected",
        fitted_in="float32" if fitted_in_float32(scaler) else "float64",
    )
    manifest = manifest.model_copy(update={"golden": golden})
    members = [_with_layers(each, manifest) for each in sample_run.drafts]
    manifest = manifest.model_copy(update={"members": members})
    return manifest, GoldenRows(features=rows.file_batch, raw=raw_arrays(manifest.heads, raw), columns=columns)


def _write(
    path: str | os.PathLike[str],
    manifest: BundleManifest,
    drafts: Sequence[Draft],
    golden: GoldenRows,
    texts: BoundTexts,
    given: Any,
) -> str:
    """Rehearse the bundle, make its reference from the given rows, and write it."""
    files = {name: data for each in drafts for name, data in each.files.items()} | {GOLDEN: write_golden(golden)}
    files |= texts.files
    manifest = rehearse_bundle(manifest, drafts, golden, texts.encoders)
    loaded = on_device(manifest, [each.loaded for each in drafts], Cpu(), encoders=texts.encoders)
    reference = golden_reference(loaded, golden) if given is None else training_reference(loaded, given)
    files[REFERENCE] = encode_reference(reference)
    record = ReferenceFile(file=REFERENCE, source=reference.source, rows=reference.rows)
    digests = {name: sha256(data) for name, data in files.items()}
    return write_bundle(path, manifest.model_copy(update={"reference": record, "files": digests}), files)


def _with_layers(one: Draft, manifest: BundleManifest) -> AnyMember:
    """The member with the layers of its graph and their result shapes; without them if the graph fails on zeros, or if
    the shapes depend on the length of a sequence."""
    model = one.loaded.module
    if has_sequences(manifest.inputs) or not (isinstance(one.member, GraphMember) and isinstance(model, GraphModel)):
        return one.member
    try:
        found = result_shapes(model, manifest)
    except Exception:  # whatever a model raises on zeros: it is saved without named layers
        return one.member
    layers = []
    for each in found:
        numbers = [size for size in each.sizes[1:] if isinstance(size, int)]
        if each.sizes[:1] == (ROWS,) and len(numbers) == len(each.sizes) - 1:
            layers.append(LayerRecord(name=each.name, calls=each.calls, shape=numbers))
    return one.member.model_copy(update={"layers": layers})
