"""Which rows of two key columns have the same key: numbers and times by sorting both, other types by hashing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..arrays import to_numpy

Positions = NDArray[np.signedinteger[Any]]
#: Entries of a table of integers, for each key.
MAX_SPAN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchedKeys:
    """`positions`: int32 or int64 `[first keys]`, where each key is in the second column, -1 where it is not there or
    null. `repeated`: the position in each column of a value that it contains more than once, None if there is none. The
    positions in the second column are only valid if there is none."""

    positions: Positions
    repeated: tuple[int | None, int | None]


def match_keys(first: pa.Array, second: pa.Array) -> MatchedKeys:
    """Match two columns of one type, as `joins.comparable` converts them. With millions of keys, a table of consecutive
    integers is ten times, and sorting numbers several times as fast as hashing them (measured)."""
    known = [_known(keys) for keys in (first, second)]
    one, other = (_numbers(keys) for keys, _ in known)
    if one is None or other is None:
        found = _match_hashed(known[0][0], known[1][0])
    elif _is_dense(one, other):
        found = _match_dense(one, other)
    else:
        found = _match_sorted(one, other)
    positions, *repeated = found
    (_, places), (_, others) = known
    ours, theirs = (
        at if at is None or where is None else int(where[at]) for (_, where), at in zip(known, repeated, strict=True)
    )
    if others is not None:
        positions = np.where(positions < 0, -1, others[positions]) if len(others) else positions
    if places is not None:
        positions, own = np.full(len(first), -1, dtype=np.int64), positions
        positions[places] = own
    return MatchedKeys(positions=positions, repeated=(ours, theirs))


#: Positions in the second column, and the index of a repeated key in each.
Found = tuple[Positions, int | None, int | None]


def _known(keys: pa.Array) -> tuple[pa.Array, Positions | None]:
    """The keys that are not null, and where they are; None where there are no nulls."""
    return (keys.drop_null(), np.flatnonzero(to_numpy(keys.is_valid()))) if keys.null_count else (keys, None)


def _numbers(keys: pa.Array) -> NDArray[Any] | None:
    """Keys as integers or floats; None for other types."""
    if pa.types.is_timestamp(keys.type):
        keys = keys.view(pa.int64())
    return to_numpy(keys) if pa.types.is_integer(keys.type) or pa.types.is_floating(keys.type) else None


def _is_dense(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether a table with an entry for each integer in the range of the keys is small."""
    if first.dtype.kind == "f" or not len(first) or not len(second):
        return False
    span = max(int(first.max()), int(second.max())) - min(int(first.min()), int(second.min()))
    return span < MAX_SPAN * (len(first) + len(second))


def _match_dense(first: NDArray[Any], second: NDArray[Any]) -> Found:
    lowest = min(first.min(), second.min())
    ours, theirs = first - lowest, second - lowest
    span = int(max(ours.max(), theirs.max())) + 1
    table, repeated = _table(theirs, span)
    return table[ours], _table(ours, span)[1], repeated


def _table(keys: NDArray[Any], span: int) -> tuple[Positions, int | None]:
    """The position of each integer below `span` among the keys, -1 where it is none, and that of a repeated one."""
    index: type[np.signedinteger[Any]] = np.int32 if len(keys) < 1 << 31 else np.int64
    places: Positions = np.arange(len(keys), dtype=index)
    table = np.full(span, -1, dtype=index)
    table[keys] = places
    hidden = table[keys] != places  # by a later one
    return table, int(hidden.argmax()) if hidden.any() else None


def _match_sorted(first: NDArray[Any], second: NDArray[Any]) -> Found:
    (ours, order), (theirs, others) = _ascending(first), _ascending(second)
    positions = np.full(len(first), -1, dtype=np.int64)
    if len(theirs):
        places = np.minimum(
            theirs.searchsorted(ours), len(theirs) - 1
        )  # of ascending keys: the cache holds what it reads
        there = theirs[places] == ours
        positions[_at(order, there.nonzero()[0])] = _at(others, places[there])
    return positions, _repeated(ours, order), _repeated(theirs, others)


def _ascending(values: NDArray[Any]) -> tuple[NDArray[Any], Positions | None]:
    """Values in ascending order, and their positions; None where they are ascending."""
    if (values[1:] >= values[:-1]).all():
        return values, None
    order = np.argsort(values)
    return values[order], order


def _at(order: Positions | None, places: Positions) -> Positions:
    return places if order is None else order[places]


def _repeated(ascending: NDArray[Any], order: Positions | None) -> int | None:
    """The position of a value that appears more than once."""
    equal = ascending[1:] == ascending[:-1]
    return int(_at(order, np.array([equal.argmax()]))[0]) if equal.any() else None


def _match_hashed(first: pa.Array, second: pa.Array) -> Found:
    repeated = _repeated_hashed(second)
    if first.equals(second):
        return np.arange(len(first), dtype=np.int64), repeated, repeated
    found = pc.index_in(first, value_set=second).fill_null(-1)
    positions = to_numpy(found).astype(np.int64)
    there = positions[positions >= 0]
    several = np.flatnonzero(np.bincount(there, minlength=1) > 1)
    if len(several):  # of keys that the second column has, equal ones have the same position
        return positions, int(np.flatnonzero(positions == several[0])[0]), repeated
    others = np.flatnonzero(positions < 0)
    rest = first if len(others) == len(first) else first.filter(pc.equal(found, -1))
    at = _repeated_hashed(rest)
    return positions, None if at is None else int(others[at]), repeated


def _repeated_hashed(keys: pa.Array) -> int | None:
    if len(keys.unique()) == len(keys):
        return None
    counts = keys.value_counts()
    value = counts.field("values")[int(np.flatnonzero(to_numpy(counts.field("counts")) > 1)[0])]
    return int(pc.index(keys, value).as_py())
