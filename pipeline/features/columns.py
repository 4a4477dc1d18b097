"""Columns by name while steps are applied to them. Those of terms stay sparse until a step or an input needs them
otherwise. Independent of the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import stretches
from ..same import Same
from .terms import Terms


class Columns(Mapping[str, Any]):
    """float64 `[rows]`, an Arrow array, lists or images by name, both the inputs and the outputs of steps.

    Lists of names are compared by identity, since a list of a bundle may have 30,000: they must not change.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._dense = dict(columns)
        self._sparse: list[tuple[Sequence[str], Terms]] = []

    def __getitem__(self, name: str) -> Any:
        if name in self._dense:
            return self._dense[name]
        for names, terms in self._sparse:
            index = positions(Same(names)).get(name)
            if index is not None:
                return terms.column(index)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._dense
        for names, _ in self._sparse:
            yield from names

    def __len__(self) -> int:
        return len(self._dense) + sum(len(names) for names, _ in self._sparse)

    def add(self, names: Sequence[str], columns: Sequence[Any]) -> None:
        """Add a column for each name."""
        self._dense.update(zip(names, columns, strict=True))

    def add_terms(self, names: Sequence[str], terms: Terms) -> None:
        """Add a sparse column for each name."""
        self._sparse.append((names, terms))

    def terms(self, names: Sequence[str]) -> Terms | None:
        """The columns of some names as terms, if they were added so, together and in this order."""
        for own, terms in self._sparse:
            if names[0] in positions(Same(own)):
                places = _places(Same(own), Same(names))
                found = places[places >= 0]
                together = len(found) == len(names) and (found[1:] > found[:-1]).all()
                return terms.only(places, len(names)) if together else None
        return None

    def dense(self, names: Sequence[str]) -> list[Any]:
        """The column of each name."""
        if all(name in self._dense for name in names):
            return [self._dense[name] for name in names]
        made: list[Any] = [self._dense.get(name) for name in names]
        for own, terms in self._sparse:
            places = _places(Same(own), Same(names))
            found = places[places >= 0]
            if len(found):
                matrix = np.zeros((len(names), terms.num_rows))  # the rows of other columns stay untouched
                terms.write(matrix, places)
                for index in found.tolist():
                    made[index] = matrix[index]
        return made

    def fill(self, names: Sequence[str], into: NDArray[Any]) -> None:
        """Write the columns of some names into `[columns, rows]`, converted to its dtype."""
        others = np.ones(len(names), dtype=np.bool_)
        if self._sparse:
            into[...] = 0
        for own, terms in self._sparse:
            places = _places(Same(own), Same(names))
            found = places[places >= 0]
            if len(found):
                terms.write(into, places)
                others[found] = False
        rest = np.flatnonzero(others)
        for where, values in stretches([self._dense[names[index]] for index in rest.tolist()]):
            into[rest[where]] = values


@lru_cache(maxsize=256)
def positions(names: Same[Sequence[str]]) -> dict[str, int]:
    """The index of each name."""
    return {name: index for index, name in enumerate(names.value)}


@lru_cache(maxsize=256)
def _places(own: Same[Sequence[str]], names: Same[Sequence[str]]) -> NDArray[np.int64]:
    """int64 `[own]`: the index of each of the own names among others, or −1."""
    others = positions(names)
    return np.array([others.get(name, -1) for name in own.value], dtype=np.int64)
