"""`save_bundle`: the last line of a training script. Joins features, model and tasks, as `scorer.py` does for
scoring, and ends by loading what it wrote through that same path.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ..schemas.bundle import (
    AnyHead,
    BinaryHead,
    BundleManifest,
    Feature,
    Golden,
    GraphMember,
    Input,
    MulticlassHead,
    RegressionHead,
)
from ..schemas.graph import Graph, NodeRef
from .errors import BundleError, ColumnError, one_line
from .features.scalers import FittedScaler, bind_scalers, saved_step
from .inputs.check import check_batch, check_columns
from .model.bundle import first_problem, sha256, write_bundle
from .model.forward import block_rows, select_output
from .model.golden import MOST_ROWS, GoldenRows, write_golden
from .model.graph import build
from .model.trace import trace
from .model.weights import write_weights
from .records import ColumnOptions
from .scorer import Scorer
from .tasks.columns import output_fields
from .tasks.decode import check_shape, decode_head

Outputs = Literal["logits", "probabilities", "log_probabilities"]
GRAPH, WEIGHTS, GOLDEN = "graph.json", "weights.safetensors", "golden.parquet"


def save_bundle(
    path: str | os.PathLike[str],
    model: nn.Module,
    *,
    features: Sequence[str],
    task: Literal["binary", "multiclass", "regression"],
    sample: Any,
    scaler: Any = None,
    labels: Sequence[Any] | None = None,
    outputs: Outputs = "logits",
    output: int | str = 0,
    expected: Any = None,
) -> str:
    """Save a trained model with all it needs to score.

    The model is left as it was: mode, device, buffers. Before this returns, the bundle has been rebuilt from
    its data and has reproduced, through the whole scoring path, what the model and scaler objects give.

    Args:
        path: the folder to write; an older bundle there is replaced.
        model: takes float32 `[rows, features]` (int64 where they go straight into an Embedding) and returns
            `[rows]`, `[rows, 1]` or `[rows, width]`, or a tuple or dict of such.
        features: the raw input columns, in the order the model takes them.
        task: binary (labels: two), multiclass, regression.
        sample: raw rows, before any scaling: a pandas or pyarrow table with the features by name, or an array
            `[rows, features]`. Up to 256 of them become the golden rows.
        scaler: None, a fitted scikit-learn scaler, or a list of `(scaler, [feature, ...])`. Standard-, MinMax-,
            MaxAbs- and RobustScaler.
        labels: in the order of the model's outputs. For a regression with several outputs: their names.
        outputs: what the model returns: logits, probabilities or log-probabilities.
        output: which output to take where the model returns a tuple (a place) or a dict (a key).
        expected: predictions for the sample rows, made elsewhere: probabilities `[rows]` or `[rows, labels]`,
            labels `[rows]`, regression values, or a table with the output columns. They catch a scaler that
            was forgotten, which the model alone cannot.

    Returns:
        The bundle's digest, `sha256:…`.

    Raises:
        BundleError: the model cannot be kept as data (names the line), a scaler is not supported, labels do
            not fit the outputs, or the sample cannot be scored.
        GoldenMismatchError: the outputs expected for the sample are not what this model and scaler give.
    """
    names = [str(name) for name in features]
    frozen = _frozen(model)
    scalers = bind_scalers(scaler, names)
    rows, chosen = _scorable(_sample_batch(sample, names), names)
    head = _head(task, labels, outputs, output)
    graph, tensors = trace(frozen)
    dtype = _input_dtype(graph)
    raw = _true_outputs(frozen, scalers, rows, names, dtype, head)
    _check_head(head, raw, rows.num_rows)
    columns = _columns(head, raw.reshape(rows.num_rows, -1))
    if expected is not None:
        columns = _handed_over(expected, head, chosen)
    golden = GoldenRows(features=rows, raw={head.name: raw.reshape(rows.num_rows, -1).numpy()}, columns=columns)
    files = {
        GRAPH: graph.model_dump_json(indent=1).encode() + b"\n",
        WEIGHTS: write_weights(tensors),
        GOLDEN: write_golden(golden),
    }
    manifest = _manifest(
        features=[Feature(name=name, dtype=_dtype(rows.schema.field(name).type)) for name in names],
        steps=[saved_step(fitted) for fitted in scalers],
        inputs=[Input(name="features", features=names, dtype=dtype)],
        members=[GraphMember(graph=GRAPH, weights=WEIGHTS)],
        heads=[head],
        golden=Golden(file=GOLDEN, rows=rows.num_rows, source="model" if expected is None else "expected"),
        files={name: sha256(data) for name, data in files.items()},
    )
    _rehearse(manifest, graph, tensors, golden)
    return write_bundle(path, manifest, files)


def _manifest(**fields: Any) -> BundleManifest:
    try:
        return BundleManifest(scoreline=version("scoreline"), **fields)
    except ValidationError as error:
        raise BundleError(f"the bundle cannot be described: {first_problem(error)}") from error


def _rehearse(manifest: BundleManifest, graph: Graph, tensors: Mapping[str, Tensor], golden: GoldenRows) -> None:
    """Rebuild the model from its data and replay the golden rows by the path that scoring takes."""
    model = build(graph, tensors)
    rows = block_rows(graph, len(manifest.features), "cpu")
    device = torch.device("cpu")
    scorer = Scorer(manifest, model, device=device, digest=sha256(b""), block_rows=rows)
    scorer.replay(golden)


def _frozen(model: nn.Module) -> nn.Module:
    """A copy in eval mode on the CPU: what tracing and scoring the sample may touch."""
    try:
        frozen = copy.deepcopy(model).cpu().eval()
    except Exception as error:
        raise BundleError(f"{type(model).__name__} cannot be copied: {one_line(error)}") from error
    kinds = {p.dtype for p in frozen.parameters() if p.is_floating_point()} - {torch.float32}
    if kinds:
        raise BundleError(f"the model's parameters are {kinds.pop()}; call model.float() before saving")
    return frozen


def _sample_batch(sample: Any, names: list[str]) -> pa.RecordBatch:
    """The feature columns of the sample, as they would be read from a file."""
    if isinstance(sample, pa.RecordBatch):
        sample = pa.Table.from_batches([sample])
    if not isinstance(sample, pa.Table) and hasattr(sample, "columns"):
        missing = [name for name in names if name not in sample.columns]
        if not missing:
            sample = pa.Table.from_pandas(sample[names], preserve_index=False)
        else:
            raise ColumnError(f"the sample has no column {missing[0]!r}, which is among the features")
    if not isinstance(sample, pa.Table):
        array = np.asarray(sample)
        if array.ndim != 2 or array.shape[1] != len(names):
            raise BundleError(
                f"the sample is an array of shape {array.shape}, and {len(names)} features are named; give"
                " raw rows as [rows, features], or a table with the features by name"
            )
        sample = pa.table({name: np.ascontiguousarray(array[:, at]) for at, name in enumerate(names)})
    missing = [name for name in names if name not in sample.schema.names]
    if missing:
        raise ColumnError(f"the sample has no column {missing[0]!r}, which is among the features")
    table = sample.select(names).replace_schema_metadata(None).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=table.schema)


def _scorable(batch: pa.RecordBatch, names: list[str]) -> tuple[pa.RecordBatch, np.ndarray]:
    """Up to 256 rows, spread over the sample, in which every feature has a value; and their places."""
    features = [Feature(name=name) for name in names]
    check_columns(batch.schema, features, text=(), source="the sample")
    checked = check_batch(batch, features)
    good = np.arange(batch.num_rows) if checked.kept is None else checked.kept
    if not len(good):
        raise BundleError(f"none of the {batch.num_rows} sample rows has a value in every feature")
    spread = np.unique(np.linspace(0, len(good) - 1, min(MOST_ROWS, len(good))).round().astype(int))
    chosen = good[spread]
    return batch.take(pa.array(chosen)), chosen


def _head(task: str, labels: Sequence[Any] | None, outputs: Outputs, output: int | str) -> AnyHead:
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels or []]
    try:
        match task:
            case "binary":
                return BinaryHead(outputs=outputs, output=output, labels=plain)
            case "multiclass":
                return MulticlassHead(outputs=outputs, output=output, labels=plain)
            case "regression":
                return RegressionHead(output=output, targets=[str(label) for label in plain])
    except ValidationError as error:
        raise BundleError(f"{task} cannot be saved: {first_problem(error)}") from error
    raise BundleError(f"task {task!r} is not known; say binary, multiclass or regression")


def _input_dtype(graph: Graph) -> Literal["float32", "int64"]:
    """int64 where the input goes straight into an Embedding, which takes indices; else float32."""
    first = {NodeRef(node=name) for name in graph.inputs}
    embeds = any(
        node.op == "layer" and graph.layers[node.target].type == "Embedding" and node.args[0] in first
        for node in graph.nodes
        if node.args
    )
    return "int64" if embeds else "float32"


def _true_outputs(
    model: nn.Module,
    scalers: Sequence[FittedScaler],
    rows: pa.RecordBatch,
    names: list[str],
    dtype: str,
    head: AnyHead,
) -> Tensor:
    """What the user's own scaler and model objects give for the rows."""
    columns = dict(check_batch(rows, [Feature(name=name) for name in names]).columns)
    for fitted in scalers:
        columns |= fitted.transform(columns)
    matrix = np.column_stack([columns[name] for name in names]).astype(dtype)
    try:
        with torch.inference_mode():
            raw = select_output(model(torch.from_numpy(matrix)), head.output)
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"the model fails on the sample, {dtype} of shape {matrix.shape}: {one_line(error)}"
        ) from error
    return raw.float()


def _check_head(head: AnyHead, raw: Tensor, rows: int) -> None:
    check_shape(head, raw, rows)
    if isinstance(head, RegressionHead):
        return
    values = raw.reshape(rows, -1)
    in_range = bool(((values >= -1e-4) & (values <= 1 + 1e-4)).all())
    sums_to_one = values.shape[1] > 1 and bool(((values.sum(dim=1) - 1).abs() < 1e-3).all())
    if head.outputs == "logits" and in_range and sums_to_one:
        raise BundleError(
            "the model's outputs are probabilities (every row sums to 1), and outputs='logits' would apply"
            " the softmax again; say outputs='probabilities'"
        )
    if head.outputs == "probabilities" and not (in_range and (sums_to_one or values.shape[1] == 1)):
        raise BundleError(
            f"outputs='probabilities', and the sample's outputs lie between {values.min():.4g} and"
            f" {values.max():.4g}{'' if values.shape[1] == 1 else ' or do not sum to 1'}; say outputs='logits'?"
        )
    if head.outputs == "log_probabilities" and bool((values > 1e-4).any()):
        raise BundleError(
            f"outputs='log_probabilities', and an output is {values.max():.4g}, above 0; say outputs='logits'?"
        )


def _columns(head: AnyHead, raw: Tensor) -> dict[str, pa.Array]:
    names = [field.name for field in output_fields(head, ColumnOptions())]
    columns, finite = decode_head(head, raw, ColumnOptions())
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise BundleError(f"the model's output for sample row {row} is not finite: {raw[row].tolist()}")
    return dict(zip(names, columns, strict=True))


def _handed_over(expected: Any, head: AnyHead, chosen: np.ndarray) -> dict[str, pa.Array]:
    """`expected=` as decoded columns, for the rows that were chosen."""
    fields = {field.name: field.type for field in output_fields(head, ColumnOptions())}
    if hasattr(expected, "columns") and not isinstance(expected, np.ndarray):
        table = expected if isinstance(expected, pa.Table) else pa.Table.from_pandas(expected)
        given = {name: table.column(name).combine_chunks() for name in fields if name in table.schema.names}
        if not given:
            raise BundleError(f"expected has none of the columns {', '.join(fields)}")
    else:
        given = _named(np.asarray(expected), head, list(fields))
    lengths = {len(values) for values in given.values()}
    if max(chosen) >= min(lengths):
        raise BundleError(f"expected has {min(lengths)} rows, fewer than the sample")
    return {
        name: pc.take(pa.array(values) if isinstance(values, np.ndarray) else values, pa.array(chosen)).cast(
            fields[name]
        )
        for name, values in given.items()
    }


def _named(values: np.ndarray, head: AnyHead, names: list[str]) -> dict[str, Any]:
    """An array of expected predictions → the columns it stands for, by its shape and kind."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if isinstance(head, RegressionHead):
        columns = values.reshape(len(values), -1).T
        if len(columns) != len(names):
            raise BundleError(f"expected has {len(columns)} columns, and the model {len(names)} outputs")
        return {name: column.astype(np.float64) for name, column in zip(names, columns, strict=True)}
    if values.ndim == 1:
        are_labels = values.dtype.kind != "f" or set(values.tolist()) <= set(head.labels)
        if are_labels:
            return {names[0]: values}
        if isinstance(head, BinaryHead):
            return {names[1]: values.astype(np.float32)}
    if values.ndim == 2 and values.shape[1] == len(head.labels):
        if isinstance(head, BinaryHead):
            return {names[1]: values[:, 1].astype(np.float32)}
        return {name: values[:, at].astype(np.float32) for at, name in enumerate(names[1:])}
    raise BundleError(
        f"expected is {values.dtype} of shape {values.shape}; give labels [rows], or probabilities"
        f" [rows, {len(head.labels)}]"
    )


def _dtype(kind: pa.DataType) -> Literal["float64", "float32", "int64", "bool"]:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "int64"
    return "float32" if kind in (pa.float32(), pa.float16()) else "float64"
