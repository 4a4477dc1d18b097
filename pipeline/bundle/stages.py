"""What planning knows of the optional stages: their columns, their part of the fingerprint, what they refuse.

Each is described beside what it is made of, in this room; `scoring/line.py` has the stages themselves, by the same
names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ..options import ColumnOptions, ScoreJob
from . import dedupe, explained, images, layers


@dataclass(frozen=True, kw_only=True, slots=True)
class OptionalStage:
    """`fields`: the columns it adds, before any prefix; `refuse` raises UsageError for a bundle it does not go with.

    `option`: what changes values, as an entry of the fingerprint, None where the stage is off or changes none.
    `packages`: those whose versions touch the last bits.
    """

    name: str
    fields: Callable[[BundleManifest, ColumnOptions], list[pa.Field]] = lambda _manifest, _options: []
    option: Callable[[ScoreJob], str | None] = lambda _job: None
    refuse: Callable[[BundleManifest, ScoreJob], None] = lambda _manifest, _job: None
    packages: tuple[str, ...] = ()


#: In the order of the line, so that columns are, too.
OPTIONAL = [
    OptionalStage(name="images", packages=images.PACKAGES),
    OptionalStage(name="dedupe", refuse=dedupe.refuse),
    OptionalStage(name="hidden", fields=layers.hidden_fields, option=layers.hidden_option),
    OptionalStage(name="explain", fields=explained.explain_fields, option=explained.explain_option),
]
