"""`save_bundle`: the last line of a training script. Joins features, model and tasks, as `scorer.py` does for
scoring, and ends by loading what it wrote through that same path.
"""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, TypeVar

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
from ..schemas.graph import Graph
from .errors import BundleError, ColumnError, ModelFailedError, one_line
from .features.scalers import FittedScaler, bind_scalers, saved_step
from .inputs.check import check_batch, check_columns
from .model.bundle import first_problem, sha256, write_bundle
from .model.forward import select_output
from .model.golden import ABSOLUTE, MOST_ROWS, RELATIVE, GoldenRows, write_golden
from .model.graph import build
from .model.graph_facts import find_indices, last_activation
from .model.trace import trace
from .model.weights import write_weights
from .records import ColumnOptions
from .scorer import Scorer
from .tasks.columns import output_fields
from .tasks.decode import check_shape, decode_head

Outputs = Literal["logits", "probabilities", "log_probabilities"]
Dtype = Literal["float32", "int64"]
FEWEST_SHOWN = 7
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
    names = _plain_names(features)
    frozen = _frozen(model)
    scalers = bind_scalers(scaler, names)
    rows, chosen = _scorable(_sample_batch(sample, names), names)
    head = _head(task, labels, outputs, output)
    graph, tensors = _traced(frozen)
    _refuse_double_activation(graph, head)
    dtype: Dtype = "int64" if find_indices(graph, len(names)).as_they_come else "float32"
    raw = _true_outputs(frozen, scalers, rows, names, dtype, head)
    _check_head(head, raw)
    columns = _columns(head, raw)
    if expected is not None:
        columns = _handed_over(expected, head, chosen, len(sample))
    golden = GoldenRows(features=rows, raw={head.name: raw.numpy()}, columns=columns)
    files = {
        GRAPH: graph.model_dump_json(indent=1).encode() + b"\n",
        WEIGHTS: write_weights(tensors),
        GOLDEN: write_golden(golden),
    }
    for contiguous in (False, True):
        manifest = _described(
            lambda: BundleManifest(
                scoreline=version("scoreline"),
                features=[Feature(name=name, dtype=_dtype(rows.schema.field(name).type)) for name in names],
                steps=[saved_step(fitted) for fitted in scalers],
                inputs=[Input(name="features", features=names, dtype=dtype, contiguous=contiguous)],  # noqa: B023
                members=[GraphMember(graph=GRAPH, weights=WEIGHTS)],
                heads=[head],
                golden=Golden(file=GOLDEN, rows=rows.num_rows, source="model" if expected is None else "expected"),
                files={name: sha256(data) for name, data in files.items()},
            )
        )
        try:
            _rehearse(manifest, graph, tensors, golden)
            break
        except BundleError as error:
            if contiguous or "view size" not in str(error):
                raise
    return write_bundle(path, manifest, files)


Described = TypeVar("Described")


def _described(make: Callable[[], Described]) -> Described:
    """What the user gave, as the schema has it; what it cannot hold is the user's to mend."""
    try:
        return make()
    except ValidationError as error:
        raise BundleError(f"the bundle cannot be described: {first_problem(error)}") from error
    except (ValueError, OverflowError) as error:
        raise BundleError(f"the bundle cannot be described: {one_line(error)}") from error


def _plain_names(features: Sequence[str]) -> list[str]:
    if isinstance(features, str):
        raise BundleError(f"features is the text {features!r}; give a list of column names")
    names = [str(name) for name in features]
    _described(lambda: [Feature(name=name) for name in names])
    if len(set(names)) < len(names):
        raise BundleError(f"a feature stands twice among {names}")
    return names


def _traced(frozen: nn.Module) -> tuple[Graph, dict[str, Tensor]]:
    before = torch.get_rng_state()
    try:
        traced = _described(lambda: trace(frozen))
        if not torch.equal(before, torch.get_rng_state()):
            raise BundleError("the model draws random numbers in eval mode; a row would not score the same twice")
    finally:
        torch.set_rng_state(before)
    return traced


def _refuse_double_activation(graph: Graph, head: AnyHead) -> None:
    """A model that ends in a sigmoid or softmax gives no logits; applied twice, they score plausibly and wrong."""
    last = last_activation(graph, head.output)
    gives = {"Sigmoid": "probabilities", "Softmax": "probabilities", "LogSigmoid": "log_probabilities"}.get(
        last or ""
    )
    if not isinstance(head, RegressionHead) and head.outputs == "logits" and gives is not None:
        raise BundleError(
            f"the model ends in {last}: its outputs are {gives}, and outputs='logits' would apply one more;"
            f" say outputs={gives!r}"
        )


def _rehearse(manifest: BundleManifest, graph: Graph, tensors: Mapping[str, Tensor], golden: GoldenRows) -> None:
    """Rebuild the model from its data and replay the golden rows by the path that scoring takes: all at once,
    then one alone and the rest in two unequal parts, since a row's score must not depend on its neighbours."""
    scorer = Scorer(manifest, graph, build(graph, tensors), device=torch.device("cpu"), digest=sha256(b""))
    scorer.replay(golden)
    num_rows = golden.features.num_rows
    for start, stop in ((0, 1), (1, 1 + num_rows // 3), (1 + num_rows // 3, num_rows)):
        part = golden.features.slice(start, stop - start)
        if not part.num_rows:
            continue
        try:
            raw, _ = scorer.raw_and_columns(part)
        except ModelFailedError as error:
            raise BundleError(
                f"the model takes {num_rows} rows at once, but not {part.num_rows}: {error}"
            ) from error
        for name, got in raw.items():
            if not np.allclose(got, golden.raw[name][start:stop], rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
                raise BundleError(
                    "the model mixes rows: a row's output depends on the rows beside it (a mean or softmax over"
                    " dim=0, a BatchNorm without running statistics); rows must not depend on each other"
                )


def _frozen(model: nn.Module) -> nn.Module:
    """A copy in eval mode on the CPU: what tracing and scoring the sample may touch."""
    inner = getattr(model, "_orig_mod", model)  # of torch.compile
    inner = inner.module if isinstance(inner, nn.DataParallel) else inner
    if not isinstance(inner, nn.Module):
        raise BundleError(f"the model is a {type(model).__name__}, no torch.nn.Module")
    try:
        frozen = copy.deepcopy(inner).cpu().eval()
    except Exception as error:
        raise BundleError(
            f"{type(inner).__name__} cannot be copied: {one_line(error).partition('. ')[0]}; if it keeps tensors"
            " of a training pass as attributes, delete them before saving"
        ) from error
    kinds = {p.dtype for p in frozen.parameters() if p.is_floating_point()} - {torch.float32}
    if kinds:
        raise BundleError(f"the model's parameters are {kinds.pop()}; call model.float() before saving")
    return frozen


def _sample_batch(sample: Any, names: list[str]) -> pa.RecordBatch:
    """The feature columns of the sample, as they would be read from a file."""
    try:
        table = _sample_table(sample, names)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError, RuntimeError) as error:
        raise ColumnError(f"the sample's features are no plain numbers: {one_line(error)}") from error
    doubled = [name for name in names if table.schema.names.count(name) > 1]
    missing = [name for name in names if name not in table.schema.names]
    if doubled or missing:
        problem = f"more than one column {doubled[0]!r}" if doubled else f"no column {missing[0]!r}"
        raise ColumnError(f"the sample has {problem}, which is among the features")
    table = table.select(names).replace_schema_metadata(None).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=table.schema)


def _sample_table(sample: Any, names: list[str]) -> pa.Table:
    if isinstance(sample, pa.RecordBatch):
        return pa.Table.from_batches([sample])
    if isinstance(sample, pa.Table):
        return sample
    if hasattr(sample, "columns"):
        return pa.Table.from_pandas(sample[[n for n in sample.columns if n in set(names)]], preserve_index=False)
    array = sample.detach().cpu().numpy() if isinstance(sample, Tensor) else np.asarray(sample)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise BundleError(
            f"the sample is an array of shape {array.shape}, and {len(names)} features are named; give raw rows"
            " as [rows, features], or a table with the features by name"
        )
    columns = {name: np.ascontiguousarray(array[:, place]) for place, name in enumerate(names)}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


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
    plain = _plain_labels(labels)
    match task:
        case "binary":
            return _described(lambda: BinaryHead(outputs=outputs, output=output, labels=plain))
        case "multiclass":
            return _described(lambda: MulticlassHead(outputs=outputs, output=output, labels=plain))
        case "regression":
            targets = [str(label) for label in plain]
            return _described(lambda: RegressionHead(output=output, targets=targets))
    raise BundleError(f"task {task!r} is not known; say binary, multiclass or regression")


def _plain_labels(labels: Any) -> list[Any]:
    if labels is None:
        return []
    if isinstance(labels, str | bytes | set | frozenset | dict):
        raise BundleError(f"labels is a {type(labels).__name__}; give a list, in the order of the model's outputs")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    for label in plain:
        if not isinstance(label, bool | int | float | str) or (isinstance(label, float) and label != label):
            raise BundleError(f"label {label!r} is a {type(label).__name__}; labels are text, numbers or booleans")
    return plain


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
    # A model is never shown fewer rows than this: with one or two, a wrong shape can look right.
    shown = np.resize(matrix, (max(len(matrix), FEWEST_SHOWN), matrix.shape[1]))
    try:
        with torch.inference_mode():
            raw = select_output(model(torch.from_numpy(shown)), head.output)
    except BundleError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise BundleError(
            f"the model fails on the sample, {dtype} {list(shown.shape)}: {one_line(error)}"
        ) from error
    check_shape(head, raw, len(shown))
    return raw.float().reshape(len(shown), -1)[: len(matrix)]


def _check_head(head: AnyHead, values: Tensor) -> None:
    """Whether the sample's outputs are what they are said to be."""
    if isinstance(head, RegressionHead):
        return
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


def _handed_over(expected: Any, head: AnyHead, chosen: np.ndarray, num_rows: int) -> dict[str, pa.Array]:
    """`expected=` as decoded columns, for the rows that were chosen."""
    try:
        return _expected_columns(expected, head, chosen, num_rows)
    except (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError) as error:
        raise BundleError(f"expected does not fit the task: {one_line(error)}") from error


def _expected_columns(expected: Any, head: AnyHead, chosen: np.ndarray, num_rows: int) -> dict[str, pa.Array]:
    fields = {field.name: field.type for field in output_fields(head, ColumnOptions())}
    if hasattr(expected, "columns") and not isinstance(expected, np.ndarray):
        table = expected if isinstance(expected, pa.Table) else pa.Table.from_pandas(expected)
        given = {name: table.column(name).combine_chunks() for name in fields if name in table.schema.names}
        if not given:
            raise BundleError(f"expected has none of the columns {', '.join(fields)}")
    else:
        given = _named(np.asarray(expected), head, list(fields))
    lengths = {len(values) for values in given.values()}
    if lengths != {num_rows}:
        raise BundleError(f"expected has {min(lengths)} rows, and the sample {num_rows}")
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
