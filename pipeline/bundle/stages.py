"""The optional stages as planning needs them: their columns, their entries in the fingerprint, and which bundles they
refuse.

The functions are in other modules of this package; `scoring/line.py` has the stages themselves, by the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ..options import ColumnOptions, ScoreJob
from . import constants, dedupe, explain, expressions, images, layers, texts


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionalStage:
    """`fields`: the columns that it adds, before any prefix; `refuse` raises UsageError for an incompatible bundle.

    `option`: the entry in the fingerprint, None where the stage is off or does not change values; `engine`: an entry
    that the bundle determines: what computes values, with its version. `packages`: packages whose versions affect the
    last bits.
    """

    name: str
    fields: Callable[[BundleManifest, ColumnOptions], list[pa.Field]] = lambda _manifest, _options: []
    option: Callable[[ScoreJob], str | None] = lambda _job: None
    refuse: Callable[[BundleManifest, ScoreJob], None] = lambda _manifest, _job: None
    engine: Callable[[BundleManifest], str | None] = lambda _manifest: None
    packages: tuple[str, ...] = ()


#: In the order of the pipeline, which is also the order of the columns.
OPTIONAL = [
    OptionalStage(name="expressions", engine=expressions.engine, packages=expressions.PACKAGES),
    OptionalStage(name="images", packages=images.PACKAGES),
    OptionalStage(name="tokenize", packages=texts.PACKAGES),
    OptionalStage(name="dedupe", refuse=dedupe.refuse),
    OptionalStage(name="hidden", fields=layers.hidden_fields, option=layers.hidden_option),
    OptionalStage(name="explain", fields=explain.explain_fields, option=explain.explain_option),
    OptionalStage(name="constants", fields=constants.constant_fields, option=constants.constant_option),
]


def engines_of(manifest: BundleManifest) -> dict[str, str]:
    """What computes the values of a bundle's optional stages, by stage, as entries of the fingerprint."""
    found = {stage.name: stage.engine(manifest) for stage in OPTIONAL}
    return {name: engine for name, engine in found.items() if engine is not None}
