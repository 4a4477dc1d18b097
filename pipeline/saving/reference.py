"""Runs the user's own models on a sample, for the raw outputs of golden rows. Independent of files."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ...schemas.bundle import BundleManifest
from ...schemas.heads import AnyHead
from ...schemas.inputs import AnyInput, Feature, TextInput
from ...schemas.specs.values import shown
from ...schemas.steps import AnyStep
from ..bundle.heads import head_fields
from ..errors import BundleError, counted, one_line, shape_text
from ..features.kinds import kind_of
from ..graph.facts import indices_of
from ..model.forward import Call, call_model, head_output, select_output
from ..model.loading import OnnxModel
from ..model.members import Members
from ..model.passes import in_row_order, num_rows
from ..options import ColumnOptions
from ..records import Inputs, Sequences
from ..records import Sequences as Steps
from ..storage.objects import read_objects
from ..tasks.decode import check_shape, decode_head
from ..tasks.named_errors import named_errors
from ..tasks.tasks import task_of
from .binding import Binding, compare_precisions
from .draft import Draft
from .heads import NamedHead
from .output_checks import check_values
from .sample import Sample, warn_if_few_left
from .texts import BoundTexts

#: Raw outputs by head: `[rows, members × width]`; for sequences of each step.
Raw = dict[str, Tensor | Steps]
#: The smallest batch for a model: with one or two rows, a wrong shape can look right.
MIN_ROWS = 7


def possible_inputs(
    entries: Sequence[AnyInput], steps: Sequence[AnyStep], features: Sequence[Feature]
) -> list[list[AnyInput]]:
    """The inputs in every form that a model may take: tables of which all columns are codes as float32 or int64."""
    codes = {output for step in steps if step.kind == "ordinal" for output in step.outputs}
    codes |= {feature.name for feature in features if feature.dtype == "int64"}
    choices: list[list[AnyInput]] = []
    for entry in entries:
        if not kind_of(entry).tabular:
            choices.append([entry])
            continue
        dtypes = ["float32", "int64"] if set(entry.columns) <= codes else ["float32"]
        choices.append([entry.model_copy(update={"dtype": dtype}) for dtype in dtypes])
    return [list(chosen) for chosen in product(*choices)]


def choices_of(
    drafts: Sequence[Draft], possible: Sequence[list[AnyInput]], takes: Sequence[str], call: Call
) -> list[list[AnyInput]]:
    """The possible inputs, the most likely first. The dtypes of exported graphs and ONNX models are known; those of
    traced graphs are likely."""
    first = drafts[0]
    if first.example is not None:
        return [possible[first.example]]
    types = _onnx_types(first.loaded.module, takes) if isinstance(first.loaded.module, OnnxModel) else []
    likely: list[AnyInput] = []
    for entry in possible[0]:
        at = takes.index(entry.name)
        if kind_of(entry).tabular and first.loaded.graph is not None:
            uncast = indices_of(first.loaded.graph, call, at, entry.name, len(entry.columns)).uncast
            likely.append(entry.model_copy(update={"dtype": "int64" if uncast else "float32"}))
        else:
            likely.append(entry.model_copy(update={"dtype": types[at]}) if kind_of(entry).tabular and types else entry)
    return [likely] if types else [likely, *(chosen for chosen in possible if chosen != likely)]


def _onnx_types(model: OnnxModel, takes: Sequence[str]) -> list[str]:
    """The dtypes of the inputs of an ONNX model."""
    known = {
        "tensor(float)": "float32",
        "tensor(double)": "float32",
        "tensor(int64)": "int64",
        "tensor(bool)": "bool",
    }
    types = [known.get(kind, kind) for kind in model.input_types]
    if set(types) - set(known.values()) or len(types) != len(takes):
        raise BundleError(
            f"the ONNX model takes {', '.join(model.input_types)}, but the bundle passes"
            f" {counted(len(takes), 'input')}, each tensor(float), tensor(double) or tensor(int64)"
        )
    return types


def reference_outputs(
    drafts: Sequence[Draft],
    reference: Callable[[Sequence[AnyInput]], Inputs],
    choices: Sequence[list[AnyInput]],
    call: Call,
    heads: Sequence[AnyHead],
) -> tuple[Raw, list[AnyInput]]:
    """The outputs of the user's own transformers and models, `[rows, members × width]` of each head, and the inputs
    that worked. Sequences are run one by one, without padding."""
    problem: Exception | None = None
    for entries in choices:
        inputs = reference(entries)
        try:
            raw = (
                _run_rows(drafts, entries, inputs, call, heads)
                if has_sequences(entries) or any(task_of(head).generates for head in heads)
                else _run_batch(drafts, inputs, call, heads)
            )
        except BundleError:
            raise
        except Exception as error:
            problem = error
            continue
        for head in heads:
            raws = raw[head.name]
            values = raws.values if isinstance(raws, Steps) else raws
            width = values.shape[1] // len(drafts)
            for index, one in enumerate(drafts):
                own = values[:, index * width : (index + 1) * width]
                with named_errors(head):
                    check_values(head, own, opaque=one.loaded.graph is None)
        return raw, entries
    given = [f"{getattr(e, 'dtype', 'float32')} {_shape(inputs[e.name])}" for e in choices[-1]]
    assert problem is not None, "there is at least one choice of types"
    raise BundleError(f"the model fails on the sample, {', '.join(given)}: {one_line(problem)}") from problem


def _shape(given: Tensor | Steps) -> str:
    if isinstance(given, Steps):
        return shape_text(["rows", "steps", *given.values.shape[1:]])
    return shape_text([max(len(given), MIN_ROWS), *given.shape[1:]])


def has_sequences(entries: Sequence[AnyInput]) -> bool:
    """Whether any of the inputs has lists of different lengths."""
    return any(kind_of(entry).has_steps for entry in entries)


def _run_batch(drafts: Sequence[Draft], inputs: Inputs, call: Call, heads: Sequence[AnyHead]) -> Raw:
    rows = num_rows(inputs)
    several = resized(inputs, max(rows, MIN_ROWS))
    tensors = {name: given for name, given in several.items() if isinstance(given, Tensor)}
    each = [
        _run_model(one, {name: tensor.clone() for name, tensor in tensors.items()}, call, heads, max(rows, MIN_ROWS))
        for one in drafts
    ]
    for head in heads:
        widths = [raw[head.name].shape[1] for raw in each]
        with named_errors(head):
            if len(set(widths)) > 1:
                numbers = " and ".join(map(str, widths))
                raise BundleError(f"the members return different numbers of outputs: {numbers}; they must be equal")
    return {head.name: torch.cat([raw[head.name] for raw in each], dim=1)[:rows] for head in heads}


def _run_rows(
    drafts: Sequence[Draft], entries: Sequence[AnyInput], inputs: Inputs, call: Call, heads: Sequence[AnyHead]
) -> Raw:
    """Run each row by itself."""
    device = torch.device("cpu")
    models = [one.reference for one in drafts]
    members = Members(models, entries, heads, call=call, device=device, pass_rows=1 << 20, padded=False)
    members.keep_inputs = True
    rows = num_rows(inputs)
    made = [members.run({name: given[row : row + 1] for name, given in inputs.items()}) for row in range(rows)]
    found: Raw = {head.name: in_row_order([one[head.name] for one in made], []) for head in heads}
    for head in heads:
        values = found[head.name]
        if isinstance(values, Tensor):
            check_shape(head, values[:, : values.shape[1] // len(drafts)], rows)
    return {name: values if isinstance(values, Steps) else values.float() for name, values in found.items()}


def _run_model(
    one: Draft, tensors: dict[str, Tensor], call: Call, heads: Sequence[AnyHead], rows: int
) -> dict[str, Tensor]:
    with torch.inference_mode():
        raw = call_model(one.reference, tensors, call)
        found = {}
        for head in heads:
            with named_errors(head):
                task = task_of(head)
                if not isinstance(head.output, list):
                    task.check_shape(select_output(raw, head.output), rows)
                values = head_output(raw, head, rows)
                task.check_shape(values, rows)
            found[head.name] = values.float()
    return found


def rows_within_bounds(manifest: BundleManifest, rows: Sample, raw: Raw) -> tuple[Sample, Raw]:
    """The sample rows that the bundle would not reject as out of bounds.

    Raises:
        BundleError: there are none.
    """
    keep = torch.ones(rows.batch.num_rows, dtype=torch.bool)
    for head in manifest.heads:
        if head.bounds is not None and head.bounds.reject:
            found = decode_head(head, raw[head.name], ColumnOptions(), manifest.ensemble, len(manifest.members))
            if found.out_of_bounds is not None:
                keep &= ~found.out_of_bounds
    if not bool(keep.any()):
        raise BundleError("every prediction of the sample is out of bounds and would be rejected; widen bounds")
    kept = keep.nonzero()[:, 0]
    out = (~keep).nonzero()[:, 0]
    if len(out):
        first = f"row {rows.indices[int(out[0])]}: its prediction is out of bounds"
        warn_if_few_left(len(kept), len(keep), first)
    return rows.only(kept.numpy()), {name: values[kept] for name, values in raw.items()}


def golden_columns(manifest: BundleManifest, named: Sequence[NamedHead], raw: Raw) -> dict[str, pa.Array]:
    """The decoded columns of the golden rows; for a regression by the user's own inverse of the target scaler."""
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
            numbers = (found.values if isinstance(found, Steps) else found[0]).tolist()
            with named_errors(head):
                raise BundleError(f"the model's output for sample row {row} is not finite{what}: {shown(numbers)}")
        made = list(decoded.columns)
        unit = task_of(head).in_own_unit(values, members, one.to_unit)
        made[: len(unit)] = [pa.array(column) for column in unit]
        columns |= dict(zip(names, made, strict=True))
    return columns


def reference_inputs(
    sample: Sample,
    entries: Sequence[AnyInput],
    binding: Binding | None,
    tokens: Mapping[str, str],
    vocabularies: Mapping[str, Sequence[str]],
    unknown: Mapping[str, Any],
    texts: BoundTexts,
) -> dict[str, Tensor | Sequences]:
    """The model's input tensors for the rows of a sample: tables by the user's own transformers, words looked up in
    their vocabularies, text by the user's own tokenizers."""
    matrix = None
    if binding is not None:
        matrix = binding.reference(sample.frame)
        if matrix.shape[1] != len(binding.columns):
            raise BundleError(
                f"the transformers return {matrix.shape[1]} columns, not the {len(binding.columns)} saved"
            )
        narrow = [field.name for field in sample.batch.schema if field.type == pa.float32()]
        compare_precisions(binding, sample.frame, matrix, [name for name in narrow if name in sample.frame])
    found: dict[str, Tensor | Sequences] = {}
    for entry in entries:
        kind = kind_of(entry)
        if kind.tabular:
            assert binding is not None, "tables have features, which are bound"
            assert matrix is not None, "tables have features, which are bound"
            places = {column: place for place, column in enumerate(binding.columns)}
            indices = [places[column] for column in entry.columns]
            found[entry.name] = torch.from_numpy(np.ascontiguousarray(matrix[:, indices]).astype(kind.entry.dtype))
        elif isinstance(entry, TextInput):
            found[entry.name] = texts.reference(entry, sample.batch)
        elif kind.opens_files:
            pixels, _ = kind.open(sample.batch.column(entry.columns[0]), folder="", fetch=read_objects)
            found[entry.name] = torch.from_numpy(pixels)
        else:
            found[entry.name] = _reference_sequence(sample.batch, entry, tokens, vocabularies, unknown)
    return found


def _reference_sequence(
    batch: pa.RecordBatch,
    entry: AnyInput,
    tokens: Mapping[str, str],
    vocabularies: Mapping[str, Sequence[str]],
    unknown: Mapping[str, Any],
) -> Sequences:
    names = {column: name for name, column in tokens.items()}
    columns = []
    for column in entry.columns:
        name = names.get(column, column)
        rows = batch.column(name).to_pylist()
        if column in names:
            codes: dict[Any, float] = {word: float(token) for token, word in enumerate(vocabularies[name])}
            other = codes.get(unknown.get(name))
            rows = [[codes.get(word, other) for word in row] for row in rows]
        columns.append([float(value) for row in rows for value in row])
        lengths = [len(row) for row in rows]
    values = torch.tensor(columns, dtype=torch.float64).T
    return Sequences(
        values=values[:, 0].long() if entry.takes_integers else values.float(),
        offsets=torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int64),
    )


def resized(inputs: Inputs, rows: int) -> Inputs:
    """Tables and images with another number of rows, repeated from the first."""
    found: dict[str, Tensor | Sequences] = {}
    for name, given in inputs.items():
        found[name] = given[torch.arange(rows) % given.shape[0]]
    return found
