"""Scoreline scores large tabular files offline with trained PyTorch models.

    from scoreline import Scorer, save_bundle

This package only exports the public names. They are loaded when they are first used, so that `import scoreline` and
`scoreline --help` stay fast.
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
    from .pipeline.saving.checkpoint import load_weights
    from .pipeline.saving.save import save_bundle
    from .pipeline.scoring.scorer import Scorer
    from .schemas.specs.expressions import Expressions
    from .schemas.specs.inputs import FloatSequence, Image, Table, Tokens, TokenSequence
    from .schemas.specs.models import Ensemble, Model
    from .schemas.specs.tasks import Binary, Generation, Multiclass, Multilabel, Regression, Tagging

    __version__: str

__all__ = [
    "Binary",
    "BundleError",
    "DataError",
    "DeviceError",
    "Ensemble",
    "Expressions",
    "FloatSequence",
    "Generation",
    "GoldenMismatchError",
    "Image",
    "Model",
    "ModelFailedError",
    "Multiclass",
    "Multilabel",
    "Regression",
    "RowsRejectedError",
    "ScoredBatch",
    "ScorelineError",
    "Scorer",
    "Table",
    "Tagging",
    "TokenSequence",
    "Tokens",
    "load_weights",
    "save_bundle",
]

_MODULES = {
    "Binary": ".schemas.specs.tasks",
    "BundleError": ".pipeline.errors",
    "DataError": ".pipeline.errors",
    "DeviceError": ".pipeline.errors",
    "Ensemble": ".schemas.specs.models",
    "Expressions": ".schemas.specs.expressions",
    "FloatSequence": ".schemas.specs.inputs",
    "Generation": ".schemas.specs.tasks",
    "GoldenMismatchError": ".pipeline.errors",
    "Image": ".schemas.specs.inputs",
    "Model": ".schemas.specs.models",
    "ModelFailedError": ".pipeline.errors",
    "Multiclass": ".schemas.specs.tasks",
    "Multilabel": ".schemas.specs.tasks",
    "Regression": ".schemas.specs.tasks",
    "RowsRejectedError": ".pipeline.errors",
    "ScoredBatch": ".pipeline.records",
    "ScorelineError": ".pipeline.errors",
    "Scorer": ".pipeline.scoring.scorer",
    "Table": ".schemas.specs.inputs",
    "Tagging": ".schemas.specs.tasks",
    "TokenSequence": ".schemas.specs.inputs",
    "Tokens": ".schemas.specs.inputs",
    "load_weights": ".pipeline.saving.checkpoint",
    "save_bundle": ".pipeline.saving.save",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("scoreline")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
