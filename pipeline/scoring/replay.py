"""Golden rows through the whole line, compared with what they gave when the bundle was saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenReport:
    """How the golden rows came out: how many, where their truth came from, the largest difference."""

    rows: int
    source: Literal["model", "expected"]
    largest_difference: float
