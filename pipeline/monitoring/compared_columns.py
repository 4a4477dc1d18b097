"""Which columns of two outputs are compared: labels, and numbers such as probabilities. Independent of rows."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ...schemas.run import HeadRecord
from ..arrays import text_array, to_arrow
from ..arrow_types import is_list
from ..errors import DataError

#: The end of the name of a column of `--top-k`, which follows from the probabilities.
_TOP = r"top_[0-9]+(_probability)?"
#: Tasks that predict one label for each row, in their first column.
_ONE_LABEL = ("binary", "multiclass")


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """The head of an output that is compared: its record, the `--prefix` of its columns, and the columns of a part."""

    head: HeadRecord
    prefix: str
    schema: pa.Schema

    def columns(self) -> dict[str, str]:
        """The head's columns, by their names without the prefix."""
        return {name.removeprefix(self.prefix): name for name in self.head.columns if name in self.schema.names}


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelColumn:
    """A column of labels in both outputs. `first`, `second`: positions in the columns that are read. `labels`: those of
    both; None where a row has a list of labels, which is compared as a whole."""

    name: str
    first: int
    second: int
    labels: pa.Array | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberColumn:
    """A column of numbers in both outputs, or the numbers of one label in columns of lists: `in_first`, `in_second`
    are then its positions in the lists."""

    name: str
    first: int
    second: int
    in_first: int | None = None
    in_second: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedColumns:
    """What is compared. `read_first`, `read_second`: the columns to read from each output."""

    labels: tuple[LabelColumn, ...]
    numbers: tuple[NumberColumn, ...]
    read_first: tuple[str, ...]
    read_second: tuple[str, ...]


def compared_columns(first: Predictions, second: Predictions) -> ComparedColumns:
    """The columns that two heads have in common, whatever their prefixes.

    Raises:
        DataError: the heads have different tasks, types of labels, or no column in common.
    """
    if first.head.task != second.head.task:
        raise DataError(
            f"a {first.head.task} cannot be compared with a {second.head.task}; pass --head if they have several"
        )
    task = first.head.task
    if task == "binary" and first.head.labels != second.head.labels:
        raise DataError(f"the labels {first.head.labels} cannot be compared with {second.head.labels}")
    ours, theirs = first.columns(), second.columns()
    base = re.escape(first.head.columns[0].removeprefix(first.prefix).removesuffix("prediction"))
    top = re.compile(base + _TOP)
    names = [name for name in ours if name in theirs and not (task == "multiclass" and top.fullmatch(name))]
    labels: list[LabelColumn] = []
    numbers: list[NumberColumn] = []
    for at, name in enumerate(names):
        kinds = (first.schema.field(ours[name]).type, second.schema.field(theirs[name]).type)
        if task in _ONE_LABEL and ours[name] == first.head.columns[0]:
            labels.append(LabelColumn(name=name, first=at, second=at, labels=_labels(first, second, kinds)))
        elif all(map(pa.types.is_boolean, kinds)):
            labels.append(LabelColumn(name=name, first=at, second=at, labels=_array([False, True], pa.bool_())))
        elif all(map(pa.types.is_floating, kinds)):
            numbers.append(NumberColumn(name=name, first=at, second=at))
        elif all(map(is_list, kinds)) and name.endswith("probabilities") and first.head.labels and task != "tagging":
            numbers += _by_label(name, at, first.head, second.head)
        elif all(map(is_list, kinds)) and ours[name] == first.head.columns[0]:
            labels.append(LabelColumn(name=name, first=at, second=at, labels=None))
    if not labels and not numbers:
        raise DataError("the outputs have no predictions in common; pass --head if they have several heads")
    return ComparedColumns(
        labels=tuple(labels),
        numbers=tuple(numbers),
        read_first=tuple(ours[name] for name in names),
        read_second=tuple(theirs[name] for name in names),
    )


def _labels(first: Predictions, second: Predictions, kinds: tuple[pa.DataType, pa.DataType]) -> pa.Array:
    """The labels of both heads, those of the first in their order."""
    if kinds[0] != kinds[1]:
        raise DataError(f"labels of type {kinds[0]} cannot be compared with {kinds[1]}")
    return _array(list(dict.fromkeys([*first.head.labels, *second.head.labels])), kinds[0])


def _by_label(name: str, at: int, first: HeadRecord, second: HeadRecord) -> list[NumberColumn]:
    """A column for each label that both have."""
    places = {label: index for index, label in enumerate(second.labels)}
    base = name.removesuffix("probabilities")
    return [
        NumberColumn(name=f"{base}probability_{label}", first=at, second=at, in_first=index, in_second=places[label])
        for index, label in enumerate(first.labels)
        if label in places
    ]


def _array(values: Sequence[object], arrow_type: pa.DataType) -> pa.Array:
    """Labels of one type as an array. `pa.array` would import pandas."""
    if isinstance(values[0], str):
        return text_array([str(value) for value in values]).cast(arrow_type)
    return to_arrow(np.array(values)).cast(arrow_type)
