"""Numbers of many terms, of which a row has few, and the steps that leave the others 0. Independent of texts and
tensors.

Source: scikit-learn 1.9 `feature_extraction/text.py` and `utils/sparsefuncs_fast.pyx`, which also add up the numbers of
a row one by one, in the order of the terms. A row's result does not depend on its block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...schemas.steps import NormalizeStep, WeightStep

#: A norm below this is treated as 0, as scikit-learn does.
NO_NORM = 10 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """A sparse matrix `[num_rows, width]`, one column for each term.

    `rows`, `terms`: int64 `[n]`, the row and the term of each number that may differ from 0, in ascending order of
    both, each pair once. `values`: float64 `[n]`.
    """

    rows: NDArray[np.int64]
    terms: NDArray[np.int64]
    values: NDArray[np.float64]
    num_rows: int
    width: int

    def column(self, term: int) -> NDArray[np.float64]:
        """The column of a term: float64 `[num_rows]`."""
        made, there = np.zeros(self.num_rows), self.terms == term
        made[self.rows[there]] = self.values[there]
        return made

    def only(self, places: NDArray[np.int64], width: int) -> Terms:
        """Some of the columns, in the same order.

        Args:
            places: int64 `[self.width]`, ascending where a column is kept: its index among the columns that are kept,
                or −1.
            width: how many they are.
        """
        if width == self.width:
            return self
        new = places[self.terms]
        kept = new >= 0
        return replace(self, rows=self.rows[kept], terms=new[kept], values=self.values[kept], width=width)

    def write(self, into: NDArray[np.floating | np.integer], places: NDArray[np.int64]) -> None:
        """Write the numbers of some columns into `[columns, num_rows]` zeros.

        Args:
            places: int64 `[self.width]`, where each column is written to, or −1.
        """
        at = places[self.terms]
        kept = at >= 0
        into[at[kept], self.rows[kept]] = self.values[kept]


def weighted(step: WeightStep, terms: Terms) -> Terms:
    """Each number times the weight of its term."""
    return replace(terms, values=terms.values * np.array(step.weights)[terms.terms])


def normalized(step: NormalizeStep, terms: Terms) -> Terms:
    """Each row divided by its norm."""
    return replace(terms, values=terms.values / _norms(step, terms)[terms.rows])


def _norms(step: NormalizeStep, terms: Terms) -> NDArray[np.float64]:
    match step.norm:
        case "l1":
            norms = _sums(terms, np.abs(terms.values))
        case "l2":
            norms = np.sqrt(_sums(terms, terms.values * terms.values))
        case "max":
            norms = np.zeros(terms.num_rows)
            np.maximum.at(norms, terms.rows, np.abs(terms.values))
    return np.where(norms < NO_NORM, 1.0, norms)


def _sums(terms: Terms, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each row, one number after the other (`np.add.reduceat` adds in pairs)."""
    return np.bincount(terms.rows, weights=values, minlength=terms.num_rows).astype(np.float64, copy=False)
