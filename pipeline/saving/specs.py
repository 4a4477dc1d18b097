"""Validates specs from Python and from pack.toml, with one-line errors that name the field, the rule and the value.
Independent of models and files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from ...schemas.specs.inputs import INPUTS, AnyInputSpec, FloatSequence, Table, Tokens
from ...schemas.specs.models import Ensemble, Model
from ...schemas.specs.tasks import TASKS, AnyTask
from ...schemas.specs.values import Call, shown
from ..errors import BundleError, one_line
from ..ordered import refuse_unordered

S = TypeVar("S")
#: The names of a bundle's only task and of its only table.
ONLY_TASK, ONLY_TABLE = "output", "features"
#: Example lines of pack.toml for missing fields.
LINES = {
    "kind": 'kind = "multiclass"',
    "labels": 'labels = ["no", "yes"]   # in the order of the outputs',
    "vocabulary": 'vocabulary = ["<s>", "</s>", "yes", "no"]',
    "end": 'end = "</s>"',
    "steps": "steps = 20",
    "columns": 'columns = ["age", "income"]',
    "column": 'column = "photo"',
    "size": "size = [224, 224]   # height and width",
    "longest": "longest = 128",
    "tokenizer": 'tokenizer = "tokenizer.json"',
    "file": 'file = "scaler.skops"',
}
#: pydantic's names for the alternatives of a union, which are not fields.
_UNION_TAGS = ("bool", "int", "float", "str")
#: pydantic's error types for unknown fields.
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def validated(kind: type[S], given: Any, where: str) -> S:
    """A valid spec, from an instance or a mapping of its fields.

    Raises:
        BundleError: an invalid field.
        UsageError: a set instead of a list.
    """
    values = given if isinstance(given, Mapping) else vars(given)
    refuse_unordered(**{f"{where}: {name}": value for name, value in values.items()})
    try:
        found: S = _adapter(kind).validate_python(given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise BundleError(f"{where}{problem(error, field_names(kind))}") from error
    return found


def field_names(kind: type) -> list[str]:
    """The fields of a spec."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind)]
    return list(kind.model_fields) if issubclass(kind, BaseModel) else []


def problem(error: ValidationError, known: Sequence[str]) -> str:
    """The first error in a spec, as text to append to the name of the spec.

    Args:
        known: the fields of the spec.
    """
    errors = error.errors(include_url=False)
    first = next((one for one in errors if one["type"] in _UNKNOWN), errors[0])
    where, value = _path(first["loc"]), shown(first["input"])
    match first["type"]:
        case kind if kind in _UNKNOWN:
            return f": {where!r} is not a field; {nearest(where, [name for name in known if name != where])}"
        case "missing":
            return f" lacks {where!r}" + (f"; add: {LINES[where]}" if where in LINES else "")
        case "value_error":
            message = one_line(first["ctx"]["error"])
        case "literal_error":
            message = f"{value} is not {first['ctx']['expected']}"
        case "string_type":
            message = f"{value} is not text"
        case "int_type" | "int_from_float" | "int_parsing" | "int_parsing_size":
            message = f"{value} is not an integer"
        case "float_type" | "float_parsing" | "finite_number":
            message = f"{value} is not a number"
        case "bool_type" | "bool_parsing":
            message = f"{value} is neither true nor false"
        case "list_type" | "tuple_type":
            message = f"{value} is not a list"
        case "dict_type" | "dict_attributes_type" | "model_type" | "mapping_type" | "dataclass_type":
            message = f"{value} is not a table of fields"
        case "greater_than" | "greater_than_equal":
            message = f"{value} is too small; the limit is {_limit(first)}"
        case "less_than" | "less_than_equal":
            message = f"{value} is too large; the limit is {_limit(first)}"
        case "string_too_short":
            message = f"{value} is empty"
        case "string_too_long":
            message = f"{value} is too long"
        case _:
            message = f"{value} is not valid here"
    if message.startswith("is "):
        return f": {where} {message}" if where else f" {message}"
    return f": {where}: {message}" if where else f": {message}"


def _limit(first: Any) -> Any:
    context = first["ctx"]
    return next(context[name] for name in ("ge", "gt", "le", "lt") if name in context)


def _path(parts: Sequence[str | int]) -> str:
    """`("labels", 0)` → `labels[0]`."""
    text = ""
    for part in parts:
        if text and part in _UNION_TAGS:
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(name: str, known: Sequence[str]) -> str:
    """A suggestion: the most similar field, or else all fields."""
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(known)}"


def named_tasks(given: Any) -> dict[str, AnyTask]:
    """The tasks by name; a single task is called `output`.

    Raises:
        BundleError: an object that is not a task, or a task with an invalid field.
    """
    if not isinstance(given, Mapping):
        return {ONLY_TASK: _one_of(TASKS, given, "task", 'task=Multiclass(labels=["a", "b"])')}
    if not given:
        raise BundleError('task is an empty mapping; pass one spec for each name: {"fraud": Binary(["no", "yes"])}')
    example = 'task={"fraud": Binary(labels=["no", "yes"])}'
    return {_spec_name("task", name): _one_of(TASKS, each, task_label(name), example) for name, each in given.items()}


def _spec_name(argument: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise BundleError(f"{argument}: {name!r} is not a name; the keys of the mapping are names, as text")
    return name


def task_label(name: Any) -> str:
    """The name of one of several tasks, for messages."""
    return f"task {name!r}"


def named_inputs(features: Any, inputs: Any) -> dict[str, AnyInputSpec]:
    """The model's inputs by name, in its order. `features`: the columns of a single table.

    Raises:
        BundleError: both or neither are given, an object is not an input, or an input has an invalid field.
        UsageError: a set instead of a list.
    """
    refuse_unordered(features=features, inputs=inputs)
    if (features is None) == (inputs is None):
        raise BundleError(
            "both features and inputs are given; keep features for a model that takes one table, otherwise inputs"
            if features is not None
            else 'features and inputs are missing; pass features=["age", "income"], the columns of one table, or'
            ' inputs, such as inputs={"table": Table(["age", "income"]), "photo": Image("photo", size=(224, 224))}'
        )
    if features is not None:
        table = Table(_feature_names(features))
        _refuse_repeated(table, "features")
        return {ONLY_TABLE: table}
    example = 'inputs=Image("photo", size=(224, 224))'
    if not isinstance(inputs, Mapping):
        only: AnyInputSpec = _one_of(INPUTS, inputs, "inputs", example)
        _refuse_repeated(only, "inputs")
        return {_own_name(only): only}
    if not inputs:
        raise BundleError(f"inputs is an empty mapping; pass one spec for each argument of forward, or {example}")
    example = 'inputs={"photo": Image("photo", size=(224, 224))}'
    found = {
        _spec_name("inputs", name): _one_of(INPUTS, each, f"input {name!r}", example) for name, each in inputs.items()
    }
    for name, each in found.items():
        _refuse_repeated(each, f"input {name!r}")
    return found


def _refuse_repeated(spec: AnyInputSpec, where: str) -> None:
    """Raise BundleError for an input without columns, or with a column that appears twice."""
    columns = columns_of(spec)
    if not columns:
        raise BundleError(f"{where}: the list of columns is empty")
    twice = [column for at, column in enumerate(columns) if column in columns[:at]]
    if twice:
        raise BundleError(f"{where}: column {twice[0]!r} appears twice")


def _feature_names(features: Any) -> Sequence[str]:
    try:
        return validated(Table, {"columns": features}, "features").columns
    except BundleError as error:
        raise BundleError(str(error).replace("features: columns", "features", 1)) from error


def _own_name(only: AnyInputSpec) -> str:
    columns = columns_of(only)
    return ONLY_TABLE if isinstance(only, Table) or len(columns) != 1 else columns[0]


def columns_of(spec: AnyInputSpec) -> list[str]:
    """The columns of an input."""
    return list(spec.columns) if isinstance(spec, Table | FloatSequence | Tokens) else [spec.column]


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """The members of a bundle, how forward is called, and what is pruned. `ensemble`: how they are combined, None for a
    single model."""

    members: list[Any]
    call: Call
    prune: float | None
    ensemble: Ensemble | None


def models_of(model: Any) -> Models:
    """A model, a `Model`, or the members of an `Ensemble`.

    Raises:
        BundleError: a list instead of an ensemble, a spec with an invalid field, or one within another.
    """
    if isinstance(model, list):
        raise BundleError("the model is a list; pass Ensemble([model_1, model_2])")
    if not isinstance(model, Ensemble):
        one = validated(Model, model, "Model") if isinstance(model, Model) else Model(model)
        if isinstance(one.model, list):
            raise BundleError("Model: model: it is a list; pass Ensemble([model_1, model_2])")
        if isinstance(one.model, Model | Ensemble):
            raise BundleError(f"Model: model: {type(one.model).__name__} has the same fields; pass that alone")
        return Models(members=[one.model], call=one.call, prune=one.prune, ensemble=None)
    ensemble = validated(Ensemble, model, "Ensemble")
    for at, member in enumerate(ensemble.members):
        if isinstance(member, Model | Ensemble):
            raise BundleError(
                f"Ensemble: members[{at}]: {type(member).__name__} has the same fields; pass the models themselves, and"
                " call and prune to the Ensemble"
            )
    return Models(members=list(ensemble.members), call=ensemble.call, prune=ensemble.prune, ensemble=ensemble)


def _one_of(kinds: Sequence[type[Any]], given: Any, where: str, example: str) -> Any:
    if type(given) not in kinds:
        what = shown(given)
        if isinstance(given, type):
            what = f"the class {given.__name__}, not an instance"
        names = ", ".join(kind.__name__ for kind in kinds)
        raise BundleError(f"{where} is {what}; pass one of {names}, such as {example}")
    return validated(type(given), given, where)
