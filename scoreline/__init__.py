"""Scoreline scores large tabular files offline with trained PyTorch models.

    from scoreline import Scorer, save_bundle

This package only hands names on. They are loaded when first used, so that `import scoreline` and
`scoreline --help` cost nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline.errors import (
        BundleError,
        DataError,
        DeviceError,
        GoldenMismatchError,
        ModelFailedError,
        RowsRejectedError,
        ScorelineError,
    )
    from .pipeline.records import ScoredBatch
    from .pipeline.saving.save import save_bundle
    from .pipeline.scoring.scorer import Scorer

__version__ = "0.1.0"

__all__ = [
    "BundleError",
    "DataError",
    "DeviceError",
    "GoldenMismatchError",
    "ModelFailedError",
    "RowsRejectedError",
    "ScoredBatch",
    "ScorelineError",
    "Scorer",
    "save_bundle",
]

_HOMES = {
    "BundleError": ".pipeline.errors",
    "DataError": ".pipeline.errors",
    "DeviceError": ".pipeline.errors",
    "GoldenMismatchError": ".pipeline.errors",
    "ModelFailedError": ".pipeline.errors",
    "RowsRejectedError": ".pipeline.errors",
    "ScoredBatch": ".pipeline.records",
    "Scorer": ".pipeline.scoring.scorer",
    "ScorelineError": ".pipeline.errors",
    "save_bundle": ".pipeline.saving.save",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
