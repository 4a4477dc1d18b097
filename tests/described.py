"""Saves bundles from one flat set of arguments, for tests that are parametrized over some of them: `save_described`
creates the specs that `save_bundle` takes.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from scoreline import (
    Binary,
    Ensemble,
    FloatSequence,
    Generation,
    Image,
    Model,
    Multiclass,
    Multilabel,
    Regression,
    Table,
    Tagging,
    TokenSequence,
    save_bundle,
)

TASKS: dict[str, Any] = {
    "binary": Binary,
    "multiclass": Multiclass,
    "multilabel": Multilabel,
    "regression": Regression,
    "tagging": Tagging,
    "generation": Generation,
}


def task_of(
    *, task: str, labels: Any = None, target_scaler: Any = None, generate: Mapping[str, Any] | None = None, **more: Any
) -> Any:
    """A task spec by name. `labels`: for a regression its targets, for generation its vocabulary."""
    given = {**more, "scaler": target_scaler} | (
        dict(generate or {}) if task == "generation" else {"generate": generate}
    )
    given = {name: value for name, value in given.items() if value is not None}
    if task not in TASKS:
        return task
    return TASKS[task](*([] if labels is None else [labels]), **given)


def _sequence(name: str, columns: Sequence[str], words: Any, sample: Any, given: Mapping[str, Any]) -> Any:
    """A float sequence for lists of floats, otherwise a token sequence; `dtype` overrides that."""
    more = dict(given)
    dtype = more.pop("dtype", None)
    arrow_type = sample.schema.field(columns[0]).type if isinstance(sample, pa.Table) else None
    floats = arrow_type is not None and pa.types.is_list(arrow_type) and pa.types.is_floating(arrow_type.value_type)
    if dtype == "float32" or (dtype is None and (floats or len(columns) > 1)):
        return FloatSequence(columns, **more)
    return TokenSequence(columns[0], **({} if words is None else {"vocabulary": words}), **more)


def inputs_of(
    features: Sequence[str],
    sample: Any,
    *,
    inputs: Mapping[str, Sequence[str]] | None = None,
    images: Mapping[str, Mapping[str, Any]] | None = None,
    sequences: Mapping[str, Mapping[str, Any]] | None = None,
    vocabularies: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The inputs: one per image and list, and a table with all other features at the position of the first of them."""
    images, sequences, words = images or {}, sequences or {}, vocabularies or {}
    groups: dict[str, Any] = dict(inputs or {})
    if inputs is None:
        for name in features:
            groups.setdefault(name if name in images or name in sequences else "features", []).append(name)
    found: dict[str, Any] = {}
    for name, columns in groups.items():
        if name in images:
            found[name] = Image(columns[0], **images[name])
        elif name in sequences:
            found[name] = _sequence(name, columns, words.get(columns[0]), sample, sequences[name])
        else:
            own = {column: words[column] for column in columns if column in words}
            found[name] = Table(columns, vocabularies=own)
    return found


def save_described(
    path: str | os.PathLike[str],
    model: Any,
    *,
    features: Any,
    sample: Any,
    heads: Mapping[str, Mapping[str, Any]] | None = None,
    combine: Any = None,
    std: bool = False,
    scaler: Any = None,
    expected: Any = None,
    call: Any = "arguments",
    prune: float | None = None,
    **described: Any,
) -> str:
    """Save a bundle. `heads`: the arguments of each of several tasks; a list of models becomes an ensemble."""
    names = ("inputs", "images", "sequences", "vocabularies")
    inputs = {name: described.pop(name) for name in names if name in described}
    plain = all(value is None for value in inputs.values())
    task = (
        task_of(**described)
        if heads is None
        else {name: task_of(**head) if isinstance(head, Mapping) else head for name, head in heads.items()}
    )
    return save_bundle(
        path,
        Ensemble(model, combine=combine, std=std, call=call, prune=prune)
        if isinstance(model, list)
        else Model(model, call=call, prune=prune),
        features=features if plain else None,
        inputs=None if plain else inputs_of(features, sample, **inputs),
        task=task,
        scaler=scaler,
        sample=sample,
        expected=expected,
    )
