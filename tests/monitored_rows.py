"""References and profiles of rows with four columns, for tests: two of numbers, one of categories, one prediction."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scoreline.pipeline.digests import sha256
from scoreline.pipeline.monitoring.count import ProfileBuilder, Sample, sample_features, sample_outputs
from scoreline.pipeline.monitoring.layout import Layout, encode_reference
from scoreline.pipeline.monitoring.profile import Profile
from scoreline.pipeline.monitoring.reference import ReferenceRows, make_reference
from scoreline.pipeline.records import CheckedBatch, Reject

NUMBERS, CATEGORY, OUTPUT = ("age", "income"), "city", "probability"
CITIES = np.array(["Bonn", "Graz", "Oslo", "Rome"])


def draw(rows: int, seed: int = 0, *, shift: float = 0.0) -> pd.DataFrame:
    """Random rows; `shift`: of `age`, in standard deviations."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": random.normal(40 + 10 * shift, 10, rows),
            "income": random.lognormal(8, 1, rows),
            "city": CITIES[random.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])],
            "probability": random.beta(2, 5, rows).astype(np.float32),
        }
    )


def layout_of(frame: pd.DataFrame, source: str = "training") -> Layout:
    """The layout of a reference of these rows."""
    reference = make_reference(
        ReferenceRows(
            source=source,  # type: ignore[arg-type]
            rows=len(frame),
            features={**{name: frame[name].to_numpy(float) for name in NUMBERS}, CATEGORY: pa.array(frame[CATEGORY])},
            outputs={OUTPUT: frame[OUTPUT].to_numpy(float)},
        )
    )
    return Layout(reference=reference, digest=sha256(encode_reference(reference)))


def sample_of(
    layout: Layout,
    frame: pd.DataFrame,
    *,
    first_row: int = 0,
    stride: int = 1,
    kept: np.ndarray | None = None,
    rejects: tuple[Reject, ...] = (),
) -> Sample:
    """The sample of rows that begin at a row of their file. `kept`: the positions of those that are scored."""
    rows = frame if kept is None else frame.iloc[kept]
    columns = {**{name: rows[name].to_numpy() for name in NUMBERS}, CATEGORY: pa.array(rows[CATEGORY])}
    checked = CheckedBatch(batch=pa.RecordBatch.from_pandas(frame), columns=columns, kept=kept, rejects=rejects)
    features = sample_features(layout, checked, first_row=first_row, stride=stride)
    outputs = {OUTPUT: pa.array(rows[OUTPUT])}
    return features + sample_outputs(
        layout, outputs, kept, num_rows=len(frame), first_row=first_row, stride=stride
    )  # fmt: skip


def counted(layout: Layout, *samples: Sample) -> Profile:
    """The profile of some samples."""
    builder = ProfileBuilder(layout)
    for sample in samples:
        builder.add(sample)
    return builder.build()


def profile_of(layout: Layout, frame: pd.DataFrame, **more: Any) -> Profile:
    """The profile of rows; `more`: as for `sample_of`."""
    return counted(layout, sample_of(layout, frame, **more))
