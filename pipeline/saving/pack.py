"""A bundle from files saved at training time: a spec names them, `save_bundle` gets the objects. Nothing here can
execute what is in a file, but for a factory and model files that are code, which a flag has to allow; pickles are read
by the child process that hands in `read_pickle`.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError
from torch import nn

from ...schemas.pack import ModelSpec, PackSpec, ScalerSpec
from ..bundle.bundle import find_place, first_problem
from ..errors import BundleError, PartitionError, one_line
from ..graph import operations
from ..inputs.csv_rows import read_text
from ..parquet.file import ParquetSource
from ..storage.plain_files import read_plain, require_plain
from ..storage.toml import read_toml
from .archives import refuse_bomb
from .checkpoint import fill
from .parameters import Parameters, read_parameters
from .save import save_bundle

PICKLES = (".joblib", ".pkl", ".pickle")
ReadPickle = Callable[[Path], Any]
_LINES = {
    "features": 'features = ["age", "income"]',
    "task": 'task = "multiclass"   # or "binary", "multilabel", "regression"; or [heads.NAME] for several',
    "sample": 'sample = "sample.csv"   # some raw rows, .csv or .parquet',
    "model": '[model]\nfile = "model.onnx"   # or: weights = "weights.pt" with layers = [...]',
    "labels": 'labels = ["no", "yes"]   # in the order of the outputs',
}


class NeedsPickleError(BundleError):
    """A file can only be read by unpickling it."""


def read_spec(path: Path) -> PackSpec:
    """Parse a spec. Raises BundleError for what is no TOML, or a line that means nothing."""
    try:
        return PackSpec.model_validate(read_toml(path))
    except OSError as error:
        raise BundleError(f"spec {str(path)!r} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BundleError(f"spec {str(path)!r}: {first_problem(error)}") from error
    except ValueError as error:
        raise BundleError(f"spec {str(path)!r} is not TOML: {one_line(error)}") from error


def pack(spec: PackSpec, folder: Path, out: str, *, allow_import: bool, read_pickle: ReadPickle | None = None) -> str:
    """Make a bundle.

    Args:
        spec: what there is; its paths are relative to `folder`.
        allow_import: whether a factory may be imported, and a model file that is code loaded.
        read_pickle: reads a pickled object; without one, pickles are refused.

    Returns:
        The bundle's digest.

    Raises:
        NeedsPickleError: a pickle, and no `read_pickle`.
        BundleError: something is missing (says which line to add), or cannot be read; and as `save_bundle` does.
    """
    for name in ("features", "task", "sample", "model"):
        if getattr(spec, name) is None and not (name == "task" and spec.heads):
            raise BundleError(f"the spec lacks {name!r}; add: {_LINES[name]}")
    if spec.task not in ("regression", None) and not spec.labels:
        raise BundleError(f"the spec lacks 'labels'; add: {_LINES['labels']}")
    find_place(out)  # before the work, not behind it
    assert spec.features is not None, "checked above"
    assert spec.model is not None, "checked above"

    def head(said: dict[str, Any]) -> dict[str, Any]:
        given = said.get("target_scaler")
        try:
            described = ScalerSpec.model_validate(given) if isinstance(given, dict) else given
        except ValidationError as error:
            raise BundleError(f"the spec's target_scaler: {first_problem(error)}") from error
        return {**said, "target_scaler": _target_scaler(described, folder, read_pickle)}

    scaler = _scalers(spec.scaler, folder, read_pickle)
    text = {*spec.vocabularies, *_path_features(spec), *_wordy(scaler, spec.features)}
    several = isinstance(spec.model, list)
    models = [
        _model(one, folder, allow_import=allow_import, read_pickle=read_pickle)
        for one in (spec.model if isinstance(spec.model, list) else [spec.model])
    ]
    return save_bundle(
        out,
        models if several else models[0],
        features=spec.features,
        task=spec.task,
        labels=spec.labels,
        outputs=spec.outputs,
        output=spec.output,
        threshold=spec.threshold,
        quantiles=spec.quantiles,
        spread=spec.spread,
        bounds=spec.bounds,
        out_of_bounds=spec.out_of_bounds,
        heads=None if spec.heads is None else {name: head(said) for name, said in spec.heads.items()},
        sample=_from_spec(_rows(folder / str(spec.sample), text), spec, (folder / str(spec.sample)).parent),
        expected=None if spec.expected is None else _rows(folder / spec.expected),
        scaler=scaler,
        target_scaler=_target_scaler(spec.target_scaler, folder, read_pickle),
        vocabularies=spec.vocabularies,
        inputs=spec.inputs,
        images=spec.images,
        sequences=spec.sequences,
        generate=spec.generate,
        call=spec.call,
        combine=spec.combine,
        std=spec.std,
        prune=spec.prune,
    )


def _from_spec(table: pa.Table, spec: PackSpec, folder: Path) -> pa.Table:
    """The sample with paths of images that begin where it lies, as those of a file that is scored do."""
    for feature in _path_features(spec):
        at = table.schema.get_field_index(feature)
        if at < 0 or not pa.types.is_string(table.schema.field(at).type):
            continue
        paths = [None if path is None else str(folder / path) for path in table.column(at).to_pylist()]
        table = table.set_column(at, feature, pa.array(paths, pa.string()))
    return table


def _path_features(spec: PackSpec) -> list[str]:
    """The features that are images, which a file may hold by their paths."""
    return [feature for name in spec.images or {} for feature in (spec.inputs or {}).get(name, [name])]


def _wordy(fitted: Any, names: Sequence[Any]) -> set[str]:
    """The features that a transformer has learned words of, also where every word is made of digits."""
    if isinstance(fitted, list):
        return {name for one, columns in fitted for name in _wordy(one, columns)}
    names = list(getattr(fitted, "feature_names_in_", names))
    if hasattr(fitted, "transformers_"):
        parts = [(one, columns) for _, one, columns in fitted.transformers_ if isinstance(columns, list)]
        chosen = [(one, [names[c] if isinstance(c, int) else c for c in columns]) for one, columns in parts]
        return {name for one, columns in chosen for name in _wordy(one, columns)}
    if hasattr(fitted, "steps"):  # of a pipeline: those before an encoder keep their columns apart
        return {name for _, one in fitted.steps for name in _wordy(one, names)}
    categories = getattr(fitted, "categories_", [])
    return {n for n, known in zip(names, categories, strict=False) if any(isinstance(word, str) for word in known)}


def _target_scaler(spec: ScalerSpec | float | None, folder: Path, read_pickle: ReadPickle | None) -> Any:
    return _scaler(spec, folder, read_pickle) if isinstance(spec, ScalerSpec) else spec


def _rows(path: Path, text: Collection[str] = ()) -> pa.Table:
    """Sample or expected rows: Parquet as it is; of a CSV, what reads as numbers is numbers, but for the columns that
    are text, and only an empty cell is missing, as when it is scored."""
    try:
        require_plain(path)
        if path.suffix.lower() in (".parquet", ".pq", ".parq"):
            with ParquetSource(path, name=str(path)) as source:
                return source.read()
        table = read_text(str(path))
        columns = [_typed(table.column(name).combine_chunks(), text=name in text) for name in table.schema.names]
        return pa.table(dict(zip(table.schema.names, columns, strict=True)))
    except PartitionError as error:
        raise BundleError(one_line(error)) from error
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{path} cannot be read: {one_line(error)}") from error


def _typed(cells: pa.Array, *, text: bool) -> pa.Array:
    """Cells of a CSV as integers, numbers or truth values, where all of them are."""
    cells = pc.if_else(pc.equal(cells, ""), None, cells)
    if text:
        return cells
    known = cells.drop_null()
    if not len(known):
        return pa.nulls(len(cells))
    if pc.all(pc.is_in(pc.utf8_lower(known), pa.array(["true", "false"]))).as_py():
        return cells.cast(pa.bool_())
    for kind in (pa.int64(), pa.float64()):
        try:
            return cells.cast(kind)
        except pa.ArrowInvalid:
            continue
    return cells


def _read(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {one_line(error)}") from error


def _model(spec: ModelSpec, folder: Path, *, allow_import: bool, read_pickle: ReadPickle | None) -> Any:
    if spec.file is not None:
        path = folder / spec.file
        if path.suffix.lower() in PICKLES or path.name == "model.pth":
            found = _unpickled(path, read_pickle)
            if not isinstance(found, nn.Module):
                raise BundleError(f"{path} holds a {type(found).__name__}, no torch.nn.Module")
            return found
        if path.suffix.lower() != ".onnx" and not allow_import:
            raise BundleError(
                f"{path} is code, which loading executes; if you trust it, add --allow-import (or keep the model as"
                " weights with layers, or as ONNX)"
            )
        return path
    if spec.weights is None:
        raise BundleError(
            'the spec\'s [model] names no file; add: weights = "weights.safetensors", with layers = [...]'
        )
    model = _architecture(spec, folder, allow_import=allow_import)
    fill(model, _read(folder / spec.weights), folder / spec.weights, spec)
    return model


def _architecture(spec: ModelSpec, folder: Path, *, allow_import: bool) -> nn.Module:
    if spec.layers is not None:
        return nn.Sequential(*(_layer(fields, at) for at, fields in enumerate(spec.layers)))
    if spec.factory is None:
        raise BundleError(
            "weights need their architecture; add under [model]: layers ="
            ' [{type = "Linear", in_features = 4, out_features = 8}, {type = "ReLU"}], or: factory = "train:make_model"'
        )
    if not allow_import:
        raise BundleError(f"factory {spec.factory!r} is code to be imported; if you trust it, add --allow-import")
    name, _, attribute = spec.factory.partition(":")
    sys.path.insert(0, str(folder))
    try:
        model = getattr(import_module(name), attribute)(**spec.factory_args)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise BundleError(f"factory {spec.factory!r} fails: {one_line(error)}") from error
    finally:
        sys.path.remove(str(folder))
    if not isinstance(model, nn.Module):
        raise BundleError(f"factory {spec.factory!r} makes a {type(model).__name__}, no torch.nn.Module")
    return model


def _layer(fields: dict[str, Any], at: int) -> nn.Module:
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in operations.LAYERS:
        raise BundleError(f"layer {at} of the spec is {kind!r}; known are {', '.join(operations.LAYERS)}")
    try:
        return operations.LAYERS[kind](**{name: value for name, value in fields.items() if name != "type"})
    except Exception as error:  # whatever a constructor makes of the arguments
        raise BundleError(f"layer {at} of the spec, {kind}: {one_line(error)}") from error


def _scalers(spec: ScalerSpec | list[ScalerSpec] | None, folder: Path, read_pickle: ReadPickle | None) -> Any:
    if spec is None:
        return None
    listed = spec if isinstance(spec, list) else [spec]
    found = [_scaler(one, folder, read_pickle) for one in listed]
    columns = [_columns_of(one, scaler) for one, scaler in zip(listed, found, strict=True)]
    if len(listed) == 1 and columns[0] is None:
        return found[0]
    bare = [one.file for one, names in zip(listed, columns, strict=True) if names is None]
    if bare:
        raise BundleError(f'scaler {bare[0]!r} is one of several; add: features = ["age", "income"]')
    return list(zip(found, columns, strict=True))


def _columns_of(spec: ScalerSpec, scaler: Any) -> list[str] | None:
    """The columns that a scaler is for: those that the spec names, or the file of its numbers does."""
    named = scaler.columns if isinstance(scaler, Parameters) else None
    if spec.features is not None and named is not None and list(named) != spec.features:
        raise BundleError(
            f"scaler {spec.file!r} was fitted on {', '.join(named)}, in this order, and the spec says"
            f" {', '.join(spec.features)}; leave features out of [scaler], or name them as the file does"
        )
    return spec.features if named is None else list(named)


def _scaler(spec: ScalerSpec, folder: Path, read_pickle: ReadPickle | None) -> Any:
    path = folder / spec.file
    suffix = path.suffix.lower()
    if suffix in (*PICKLES, ".skops"):
        found = _skops(path) if suffix == ".skops" else _unpickled(path, read_pickle)
        if not hasattr(found, "transform"):
            raise BundleError(f"{path} holds a {type(found).__name__}, no fitted transformer")
        return found
    if suffix in (".npz", ".json"):
        return read_parameters(_read(path), path.name, spec.kind)
    raise BundleError(f"scaler {spec.file!r} is none of .skops, .npz, .json, {', '.join(PICKLES)}")


def _unpickled(path: Path, read_pickle: ReadPickle | None) -> Any:
    if read_pickle is None:
        raise NeedsPickleError(
            f"{path} is a pickle, which can execute anything when it is read; if you trust it, add --allow-pickle"
            " (a scaler can be saved with skops instead)"
        )
    try:
        require_plain(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    return read_pickle(path)


def _skops(path: Path) -> Any:
    try:
        import skops.io  # an extra: only packing needs it
    except ImportError as error:
        raise BundleError("a .skops file needs skops; install it with: pip install 'scoreline[pack]'") from error
    data = _read(path)
    refuse_bomb(data, path.name)
    try:
        untrusted = skops.io.get_untrusted_types(data=data)
        if not untrusted:
            return skops.io.loads(data)
    except Exception as error:  # whatever the file makes skops raise
        raise BundleError(f"{path} is no skops file: {one_line(error)}") from error
    raise BundleError(f"{path} holds types that skops does not trust: {', '.join(untrusted)}")
