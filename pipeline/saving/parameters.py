"""A scaler from the numbers of a file: `.npz` (without pickles) or JSON. Used like a fitted transformer. Independent of
tensors.

Each accepted set of names has one meaning. Names may end in `_`, as scikit-learn's attributes do, except where the
underscore changes the meaning: `min_` is an attribute of a fitted MinMaxScaler, `min` is the minimum of the data. In
JSON, numbers may also be given by the name of their column.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError, counted, one_line, shape_text
from .archives import refuse_bomb

Kind = Literal["standard", "minmax", "maxabs", "robust"]
Numbers = dict[str, NDArray[np.float64]]
#: A smaller spread counts as 0, and is replaced by 1, as in scikit-learn.
_MIN_SPREAD = 10 * np.finfo(np.float64).eps


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values < _MIN_SPREAD, 1.0, values)


def _of_range(low: NDArray[np.float64], high: NDArray[np.float64], to: tuple[float, float]) -> Numbers:
    """The parameters of a MinMaxScaler from the minimum and maximum of the data."""
    scale = (to[1] - to[0]) / _spread(high - low)
    return {"scale": scale, "min": to[0] - low * scale}


#: The accepted sets of names by kind, in order of precedence, with the function that computes the scaler's parameters
#: from the values. `to` is the `feature_range`.
_SETS: dict[Kind, dict[tuple[str, ...], Callable[..., Numbers]]] = {
    "standard": {
        ("mean", "scale"): lambda mean, scale, to: {"mean": mean, "scale": scale},  # noqa: ARG005 - one signature
        ("mean", "std"): lambda mean, std, to: {"mean": mean, "scale": _spread(std)},  # noqa: ARG005
        ("mean", "var"): lambda mean, var, to: {"mean": mean, "scale": _spread(np.sqrt(var))},  # noqa: ARG005
    },
    "robust": {
        ("center", "scale"): lambda center, scale, to: {"center": center, "scale": scale},  # noqa: ARG005
        ("median", "iqr"): lambda median, iqr, to: {"center": median, "scale": _spread(iqr)},  # noqa: ARG005
    },
    "minmax": {
        ("min_", "scale_"): lambda shift, scale, to: {"scale": scale, "min": shift},  # noqa: ARG005
        ("data_min", "data_max"): _of_range,
        ("min", "max"): _of_range,
    },
    "maxabs": {
        ("scale",): lambda scale, to: {"scale": scale},  # noqa: ARG005
        ("max_abs",): lambda largest, to: {"scale": _spread(largest)},  # noqa: ARG005
    },
}
#: What each set of names means for a value x of a column.
_MEANINGS: dict[tuple[str, ...], str] = {
    ("mean", "scale"): "(x - mean) / scale",
    ("mean", "std"): "(x - mean) / std",
    ("mean", "var"): "(x - mean) / sqrt(var)",
    ("center", "scale"): "(x - center) / scale",
    ("median", "iqr"): "(x - median) / iqr",
    ("min_", "scale_"): "x * scale_ + min_",
    ("data_min", "data_max"): "(x - data_min) / (data_max - data_min)",
    ("min", "max"): "(x - min) / (max - min)",
    ("scale",): "x / scale",
    ("max_abs",): "x / max_abs",
}
#: A set that means a kind only if the kind is named: most scalers have a `scale`.
_NEEDS_KIND = ("scale",)
#: Keys under which a file may name its columns.
_NAMES = ("feature_names_in_", "feature_names", "features", "columns")
#: Pairs whose first value must not be above the second.
_ORDERED = (("data_min", "data_max"), ("min", "max"))
_NOT_NEGATIVE = ("std", "var", "iqr", "max_abs")
#: Options of scikit-learn's scalers that disable a part of their formula.
_OPTIONS = ("with_mean", "with_std", "with_centering", "with_scaling")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """`numbers`: float64 `[columns]` by name. `columns`: their column names, if the file has them."""

    kind: Kind
    numbers: dict[str, np.ndarray]
    clip: tuple[float, float] | None = None
    columns: tuple[str, ...] | None = None

    @property
    def n_features_in_(self) -> int:
        """The number of columns, under scikit-learn's name."""
        return len(self.numbers["scale"])

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803 - the interface of a scikit-learn transformer
        """Apply the scaler to a matrix, float64 `[rows, columns]`."""
        values = np.asarray(X, dtype=np.float64)
        shift = self.numbers.get("mean", self.numbers.get("center"))
        if self.kind == "minmax":
            values = values * self.numbers["scale"] + self.numbers["min"]
        else:
            values = (values if shift is None else values - shift) / self.numbers["scale"]
        clipped: np.ndarray = values if self.clip is None else np.clip(values, *self.clip)
        return clipped

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803 - the interface of a scikit-learn transformer
        """Apply the inverse, for target scalers."""
        values = np.asarray(X, dtype=np.float64)
        if self.kind == "minmax":
            inverted: np.ndarray = (values - self.numbers["min"]) / self.numbers["scale"]
            return inverted
        shift = self.numbers.get("mean", self.numbers.get("center", 0.0))
        shifted: np.ndarray = values * self.numbers["scale"] + shift
        return shifted


def read_parameters(data: bytes, name: str, kind: Kind | None) -> Parameters:
    """Parse the numbers of a scaler.

    Args:
        kind: the kind of scaler; if None, it is that which the file names, or the only one that its numbers mean.

    Raises:
        BundleError: the file is not valid, no accepted set of names is complete, or the numbers are inconsistent.
    """
    found = _npz(data, name) if name.lower().endswith(".npz") else _by_kind_of_number(_json(data, name), name)
    own = found.pop("kind", None)
    named = kind or (str(own) if isinstance(own, np.ndarray) else own)
    kind = _kind_of(found, name) if named is None else next((one for one in _SETS if one == named), None)
    if kind is None:
        raise BundleError(f"{name}: kind {named!r} is not one of {', '.join(map(repr, _SETS))}")
    off = [option for option in _OPTIONS if option in found and not bool(np.all(found[option]))]
    if off:
        raise BundleError(f"{name}: {off[0]} is false, which is not supported here; save the scaler with skops")
    names = _complete(kind, {str(key): value for key, value in found.items()}, name)
    try:
        numbers = {one: _column(found[key]) for one, key in names.items()}
        to = _pair(found.get("feature_range", (0.0, 1.0)))
        clip = found.get("clip")
        if clip is not None and np.ndim(clip) == 0:  # scikit-learn's flag
            clip = (to if kind == "minmax" else (-1.0, 1.0)) if bool(clip) else None
        bounds = None if clip is None else _pair(clip)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise BundleError(f"{name} does not hold plain numbers: {one_line(error)}") from error
    _refuse_contradictions(numbers, name)
    made = _SETS[kind][tuple(names)](*numbers.values(), to=to)
    return Parameters(kind=kind, numbers=made, clip=bounds, columns=_columns(found, len(made["scale"]), name))


def _columns(found: Mapping[str, Any], number: int, name: str) -> tuple[str, ...] | None:
    """The column names. Raises BundleError if their number does not match."""
    key = next((key for key in _NAMES if found.get(key) is not None), None)
    if key is None:
        return None
    given = found[key]
    columns = tuple(map(str, np.asarray(given).reshape(-1).tolist()))
    if len(columns) != number:
        named = counted(len(columns), "column")
        raise BundleError(f"{name} names {named} in {key}, but has numbers for {number}")
    return columns


def _kind_of(found: Mapping[str, Any], name: str) -> Kind:
    """The kind of scaler that the numbers mean. Raises BundleError, with all that is accepted, if it is not one."""
    keys = {str(key): value for key, value in found.items()}
    kinds = {
        kind: names
        for kind, sets in _SETS.items()
        for names in sets
        if names != _NEEDS_KIND and _keys(names, keys) is not None
    }
    if len(kinds) == 1:
        return next(iter(kinds))
    there = ", ".join(key for key in keys if key not in _NAMES) or "nothing"
    if kinds:
        lines = " or ".join(f'kind = "{kind}" for {_MEANINGS[names]}' for kind, names in kinds.items())
        raise BundleError(
            f"{name} has {there}: the numbers of {counted(len(kinds), 'kind')} of scaler; add to the spec, under"
            f" [scaler]: {lines}"
        )
    accepted = "; ".join(
        f"{' and '.join(names)}{f' with kind = {kind}' if names == _NEEDS_KIND else ''}: {_MEANINGS[names]}"
        for kind, sets in _SETS.items()
        for names in sets
    )
    raise BundleError(f"{name} has {there}, which are not the numbers of a scaler; accepted are {accepted}")


def _complete(kind: Kind, found: Mapping[str, Any], name: str) -> dict[str, str]:
    """The first complete set of accepted names, with the file's key for each."""
    accepted = ", or ".join(" and ".join(names) for names in _SETS[kind])
    if kind == "minmax" and {"min", "scale"} <= set(found):
        raise BundleError(
            f"{name} holds 'min' and 'scale', which is ambiguous; a minmax scaler takes {accepted}"
            " (min_ and scale_ are scikit-learn's attributes, the others are statistics of the data)"
        )
    for names in _SETS[kind]:
        keys = _keys(names, found)
        if keys is not None:
            return keys
    there = ", ".join(found) or "nothing"
    raise BundleError(f"{name} lacks the numbers of a {kind} scaler, which are {accepted}; it has {there}")


def _keys(names: tuple[str, ...], found: Mapping[str, Any]) -> dict[str, str] | None:
    """The file's key for each accepted name; None if one is missing."""
    keys = {name: key for name in names if (key := _key(name, found)) is not None}
    return keys if len(keys) == len(names) else None


def _key(name: str, found: Mapping[str, Any]) -> str | None:
    """The file's key for an accepted name: the name itself, or with a trailing underscore."""
    if name in found:
        return name
    distinct = name.endswith("_") or name in ("min", "max")
    return f"{name}_" if not distinct and f"{name}_" in found else None


def _column(value: Any) -> NDArray[np.float64]:
    """One number per column, from `[columns]`, `[1, columns]`, or a scalar for one column."""
    if np.iscomplexobj(value):
        raise ValueError("complex numbers")
    array = np.asarray(value, dtype=np.float64)
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim > 1:
        raise ValueError(f"one of them has the shape {shape_text(array.shape)}, not one number per column")
    if not np.isfinite(array).all():
        raise ValueError("one of them is not finite")
    return array.reshape(-1)


def _pair(value: Any) -> tuple[float, float]:
    low, high = (float(end) for end in value)
    if not low < high:
        raise ValueError(f"{low:g} to {high:g} is not a range")
    return low, high


def _refuse_contradictions(numbers: Numbers, name: str) -> None:
    """Raise BundleError for arrays of different lengths, negative spreads, or a maximum below its minimum."""
    lengths = {one: len(values) for one, values in numbers.items()}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"{one} has {length}" for one, length in lengths.items())
        raise BundleError(f"{name}: its arrays have different lengths: {counts}; each needs one number per column")
    for one in _NOT_NEGATIVE:
        if one in numbers and bool((numbers[one] < 0).any()):
            at = int(np.argmax(numbers[one] < 0))
            raise BundleError(f"{name}: {one} of column {at} is {numbers[one][at]:g}, below 0")
    for low, high in _ORDERED:
        if low in numbers and bool((numbers[low] > numbers[high]).any()):
            at = int(np.argmax(numbers[low] > numbers[high]))
            raise BundleError(
                f"{name}: {high} of column {at} is {numbers[high][at]:g}, below its {low} {numbers[low][at]:g}"
            )


def _npz(data: bytes, name: str) -> dict[str, Any]:
    refuse_bomb(data, name)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zip, header and type errors have no common base class
        raise BundleError(f"{name} is not an .npz file of plain numbers: {one_line(error)}") from error


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name} is not JSON: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise BundleError(f"{name} is not a JSON object of a scaler's numbers")
    return found


def _by_kind_of_number(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The numbers as lists, from `{"mean": {"age": 41.2, …}, …}` or `{"age": {"mean": 41.2, …}, …}`; other objects are
    returned as they are."""
    tables = {key: value for key, value in found.items() if isinstance(value, dict)}
    if not tables:
        return found
    accepted = {one for sets in _SETS.values() for names in sets for one in names}
    if not any(key in accepted or key.removesuffix("_") in accepted for key in tables):  # by column
        kinds = list(dict.fromkeys(kind for table in tables.values() for kind in table))
        _refuse_gaps(tables, kinds, name)
        tables = {kind: {column: tables[column][kind] for column in tables} for kind in kinds}
    columns = list(dict.fromkeys(column for table in tables.values() for column in table))
    _refuse_gaps(tables, columns, name)
    rest = {key: value for key, value in found.items() if not isinstance(value, dict)}
    numbers = {kind: [table[column] for column in columns] for kind, table in tables.items()}
    return {**rest, **numbers, "feature_names_in_": columns}


def _refuse_gaps(tables: Mapping[str, Mapping[str, Any]], keys: list[str], name: str) -> None:
    for each, table in tables.items():
        missing = [key for key in keys if key not in table]
        if missing:
            raise BundleError(f"{name}: {each!r} lacks {missing[0]!r}, which others of its entries have")
