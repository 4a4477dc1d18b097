"""The steps of a bundle while they are collected from fitted transformers. Independent of scikit-learn."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...schemas.steps import AnyStep, WeightStep
from ..errors import BundleError
from .encoders import is_large


class StepList:
    """Steps in order. Every output column of a step has a unique name."""

    def __init__(self, features: Sequence[str], text: Sequence[str] = ()) -> None:
        self.steps: list[AnyStep] = []
        self._names = set(features)
        self._next: dict[str, int] = {}
        self._text = set(text)

    def step(self, make: Callable[..., AnyStep], inputs: list[str], num_outputs: int, **numbers: Any) -> list[str]:
        """Append one step, with new names for its outputs."""
        outputs = [self._fresh(inputs[min(index, len(inputs) - 1)]) for index in range(num_outputs)]
        self.steps.append(make(features=inputs, outputs=outputs, **numbers))
        return outputs

    def weighted(self, names: list[str], weight: Any) -> list[str]:
        """Append a step that multiplies columns by a weight, or by one weight each.

        Raises:
            BundleError: a column is text.
        """
        text = [name for name in names if self.is_text(name)]
        if text:
            raise BundleError(f"transformer_weights has a weight for {text[0]!r}, which is text; encode it before")
        weights = as_floats(np.broadcast_to(np.asarray(weight, dtype=np.float64), len(names)))
        return self.step(WeightStep, names, len(names), weights=weights) if names else []

    def distinct(self, names: list[str]) -> list[str]:
        """The columns, with copies of those that appear again, since later steps take each column once."""
        made: list[str] = []
        seen: set[str] = set()
        for name in names:
            made += self.weighted([name], 1.0) if name in seen and not self.is_text(name) else [name]
            seen.add(name)
        return made

    def is_text(self, name: str) -> bool:
        """Whether a column holds text."""
        return name in self._text

    def mark_text(self, names: Sequence[str]) -> None:
        """Mark more columns as text."""
        self._text.update(names)

    def _fresh(self, name: str) -> str:
        stem = name.partition("#")[0]
        number = self._next.get(stem, 1)
        while f"{stem}#{number}" in self._names:
            number += 1
        self._names.add(f"{stem}#{number}")
        self._next[stem] = number + 1
        return f"{stem}#{number}"


def number_of(value: Any) -> float:
    """A number as a Python float, or as an int where float64 cannot hold it."""
    return int(value) if is_large(value) else float(value)


def as_floats(values: Any) -> list[float]:
    """Numbers as a list of Python floats."""
    numbers: list[float] = np.asarray(values, dtype=np.float64).tolist()
    return numbers
