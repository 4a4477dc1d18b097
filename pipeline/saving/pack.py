"""Makes a bundle from the files named in pack.toml, by `save_bundle`. Executes no code from files, except a factory and
model files that contain code, which a flag must allow; pickles are read by the child process that passes `read_pickle`.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...schemas.pack import AnyInputTable, AnyTaskTable, ModelFile, PackSpec, RegressionOfFiles, ScalerFile
from ...schemas.specs.expressions import Expressions
from ...schemas.specs.inputs import AnyInputSpec, Image, Table, Tokens, TokenSequence
from ...schemas.specs.models import Ensemble, Model
from ...schemas.specs.tasks import AnyTask, Regression
from ..bundle.write import resolve_target
from ..errors import BundleError
from .model_files import read_model
from .nets import unwrap
from .pickle_files import ReadPickle
from .sample_files import read_rows, with_paths_from
from .save import save_bundle
from .scaler_files import read_scaler, read_scalers, word_columns
from .specs import columns_of

_LINES = {
    "features": 'features = ["age", "income"]   # or [inputs] with a kind such as "image"',
    "task": 'task = {kind = "multiclass", labels = ["a", "b", "c"]}   # or [task.NAME] for several',
    "sample": 'sample = "sample.csv"   # some raw rows, .csv or .parquet',
    "model": '[model]\nfile = "model.onnx"   # or: weights = "weights.pt" with layers = [...]',
}


def pack(spec: PackSpec, folder: Path, out: str, *, allow_import: bool, read_pickle: ReadPickle | None = None) -> str:
    """Make a bundle.

    Args:
        spec: its paths are relative to `folder`.
        allow_import: whether a factory may be imported, and a model file with code may be loaded.
        read_pickle: reads a pickled object; if None, pickles are refused.

    Returns:
        The bundle's digest.

    Raises:
        NeedsPickleError: a file is a pickle, and there is no `read_pickle`.
        BundleError: a field is missing (with the line to add), or a file cannot be read; and as `save_bundle` raises.
    """
    for name, line in _LINES.items():
        if getattr(spec, name) is None and not (name == "features" and spec.inputs is not None):
            raise BundleError(f"the spec lacks {name!r}; add: {line}")
    resolve_target(out)  # fails before the work is done
    assert spec.task is not None, "checked above"
    assert spec.sample is not None, "checked above"
    model = _model(spec, folder, allow_import=allow_import, read_pickle=read_pickle)
    scaler = read_scalers(spec.scaler, folder, read_pickle)
    if isinstance(model, Model):
        (module,), scaler = unwrap([model.model], scaler)
        model = replace(model, model=module)
    inputs = _inputs(spec)
    images = [each.column for each in inputs if isinstance(each, Image)]
    vocabularies = [name for each in inputs if isinstance(each, Table) for name in each.vocabularies]
    vocabularies += [each.column for each in inputs if isinstance(each, TokenSequence) and each.vocabulary]
    text = {
        *vocabularies,
        *images,
        *(name for each in inputs if isinstance(each, Tokens) for name in each.columns),
        *word_columns(scaler, spec.features or [name for each in inputs for name in columns_of(each)]),
    }

    def rows_of(path: Path) -> pa.Table:
        return with_paths_from(read_rows(path, text), images, path.parent)

    def with_scaler(task: AnyTaskTable) -> AnyTask:
        return _with_scaler(task, folder, read_pickle)

    return save_bundle(
        out,
        model,
        features=spec.features,
        inputs={name: _with_tokenizer(each, folder) for name, each in spec.inputs.items()}
        if isinstance(spec.inputs, Mapping)
        else spec.inputs and _with_tokenizer(spec.inputs, folder),
        task={name: with_scaler(task) for name, task in spec.task.items()}
        if isinstance(spec.task, Mapping)
        else with_scaler(spec.task),
        scaler=scaler if spec.expressions is None else None,
        preprocessing=None if spec.expressions is None else _preprocessing(spec.expressions, scaler),
        sample=rows_of(folder / spec.sample),
        expected=None if spec.expected is None else read_rows(folder / spec.expected),
        reference=None if spec.reference is None else rows_of(folder / spec.reference),
    )


def _preprocessing(sql: Mapping[str, str], scaler: Any) -> list[Any]:
    """The expressions, then the transformers."""
    rest = scaler if isinstance(scaler, list) else [] if scaler is None else [scaler]
    return [Expressions(sql), *rest]


def _inputs(spec: PackSpec) -> list[AnyInputTable]:
    if spec.inputs is None:
        return []
    return list(spec.inputs.values()) if isinstance(spec.inputs, Mapping) else [spec.inputs]


def _with_tokenizer(one: AnyInputTable, folder: Path) -> AnyInputSpec:
    """The input; for text with the path of its tokenizer."""
    return replace(one, tokenizer=folder / one.tokenizer) if isinstance(one, Tokens) else one


def _model(spec: PackSpec, folder: Path, *, allow_import: bool, read_pickle: ReadPickle | None) -> Model | Ensemble:
    def read(one: ModelFile) -> Any:
        return read_model(one, folder, allow_import=allow_import, read_pickle=read_pickle)

    assert spec.model is not None, "checked before"
    given = spec.model
    if isinstance(given, ModelFile):
        return Model(read(given), call=given.call, prune=given.prune)
    members = [read(one) for one in given.members]
    return Ensemble(members, combine=given.combine, std=given.std, call=given.call, prune=given.prune)


def _with_scaler(task: AnyTaskTable, folder: Path, read_pickle: ReadPickle | None) -> AnyTask:
    """The task; for a regression with the scaler from its file."""
    if not isinstance(task, RegressionOfFiles):
        return task
    values = {field.name: getattr(task, field.name) for field in fields(task)}
    if isinstance(task.scaler, ScalerFile):
        values["scaler"] = read_scaler(task.scaler, folder, read_pickle)
    return Regression(**values)
