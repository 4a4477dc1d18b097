"""pack.toml → a valid spec. Its tables are the specs of `save_bundle`, with the same error messages. Does not import
torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...schemas.pack import (
    INPUT_TABLES,
    TASK_TABLES,
    EnsembleOfFiles,
    ModelFile,
    PackSpec,
    RegressionOfFiles,
    ScalerFile,
    SingleModelFile,
)
from ...schemas.specs.values import shown
from ..errors import BundleError, one_line
from ..storage.toml import read_toml
from .specs import LINES, field_names, nearest, validated

T = TypeVar("T")


def read_spec(path: Path) -> PackSpec:
    """The spec in a file.

    Raises:
        BundleError: the file cannot be read, is not TOML, or has an unknown or invalid field.
    """
    try:
        table = read_toml(path)
    except OSError as error:
        raise BundleError(f"spec {str(path)!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"spec {str(path)!r} is not TOML: {one_line(error)}") from error
    try:
        return spec_of(table)
    except BundleError as error:
        raise BundleError(f"spec {str(path)!r}: {error}") from error


def spec_of(table: Mapping[str, Any]) -> PackSpec:
    """The spec of these tables.

    Raises:
        BundleError: an unknown or invalid field.
    """
    known = field_names(PackSpec)
    for name in table:
        if name not in known:
            raise BundleError(f"{name!r} is not a top-level field; {_home(name) or nearest(name, known)}")
    values = dict(table)
    if "task" in values:
        values["task"] = _one_or_named(TASK_TABLES, values["task"], "task")
    if "inputs" in values:
        values["inputs"] = _one_or_named(INPUT_TABLES, values["inputs"], "inputs")
    if "scaler" in values:
        values["scaler"] = _scalers(values["scaler"])
    if "model" in values:
        values["model"] = _model(values["model"])
    try:
        return validated(PackSpec, values, "spec")
    except BundleError as error:
        raise BundleError(str(error).removeprefix("spec: ")) from error


def _home(name: str) -> str | None:
    """The table that a field belongs to."""
    homes: list[tuple[str, Sequence[type]]] = [
        ("[task]", TASK_TABLES),
        ("[inputs]", INPUT_TABLES),
        ("[model]", (SingleModelFile, EnsembleOfFiles)),
    ]
    found = [home for home, kinds in homes if any(name in field_names(kind) for kind in kinds)]
    return f"move it under {' or '.join(found)}" if found else None


def _one_or_named(kinds: Sequence[type[Any]], given: Any, where: str) -> Any:
    """A table with a `kind`, or several of them by name."""
    if isinstance(given, Mapping) and given and all(isinstance(each, Mapping) for each in given.values()):
        label = "task" if where == "task" else "input"
        return {name: _one(kinds, each, f"{label} {name!r}", f"[{where}.{name}]") for name, each in given.items()}
    return _one(kinds, given, where, f"[{where}]")


def _one(kinds: Sequence[type[Any]], given: Any, where: str, header: str) -> Any:
    by_kind = {kind.kind: kind for kind in kinds}
    example = next(iter(by_kind))
    if not isinstance(given, Mapping):
        line = f'{header} with kind = "{example}" or another kind'
        raise BundleError(f"{where}: {shown(given)} is not a table; write {line}")
    if "kind" not in given:
        raise BundleError(f"{where} lacks 'kind'; add: kind = \"{example}\"   # or {', '.join(list(by_kind)[1:])}")
    if given["kind"] not in by_kind:
        raise BundleError(f"{where}: kind: {shown(given['kind'])} is not one of {', '.join(map(repr, by_kind))}")
    values = dict(given)
    kind = by_kind[values["kind"]]
    if kind is RegressionOfFiles and isinstance(values.get("scaler"), Mapping):
        values["scaler"] = validated(ScalerFile, values["scaler"], f"{where}: scaler")
    return validated(kind, values, where)


def _scalers(given: Any) -> ScalerFile | list[ScalerFile]:
    if isinstance(given, list):
        return [validated(ScalerFile, _table(one, f"scaler[{at}]"), f"scaler[{at}]") for at, one in enumerate(given)]
    return validated(ScalerFile, _table(given, "scaler"), "scaler")


def _model(given: Any) -> SingleModelFile | EnsembleOfFiles:
    given = _table(given, "model")
    if "members" not in given:
        return validated(SingleModelFile, given, "model")
    members = given["members"]
    if isinstance(members, list):
        where = "model: members"
        members = [
            validated(ModelFile, _table(one, f"{where}[{at}]"), f"{where}[{at}]") for at, one in enumerate(members)
        ]
    return validated(EnsembleOfFiles, {**given, "members": members}, "model")


def _table(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        header = {"model: members": "[[model.members]]"}.get(where.partition("[")[0], f"[{where.partition('[')[0]}]")
        line = LINES["file"] if where.startswith("scaler") else 'file = "model.onnx"'
        raise BundleError(f"{where}: {shown(given)} is not a table; write {header} with {line}")
    return given
