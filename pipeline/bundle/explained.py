"""What `--explain` asks for → the head, class and columns it means, the rows it takes, and the row that others are
compared with. Known before torch is imported.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...schemas.bundle import (
    AnyHead,
    BundleManifest,
    GenerationHead,
    LabelledHead,
    MultilabelHead,
    OnnxMember,
    RegressionHead,
    TableInput,
)
from ...schemas.steps import NormalizeStep, PolynomialStep
from ..arrays import to_numpy
from ..errors import UsageError
from ..records import Explain
from .targets import Target, find_target, names_of

ATTRIBUTION = "attribution_"
GAP = "attribution_gap"
COMPLETE = ("integrated-gradients", "shapley")


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """The head whose score is explained, and the place of the class or output; None where it is the predicted class of
    each row."""

    head: AnyHead
    place: int | None


def explained(manifest: BundleManifest, explain: Explain) -> Explained:
    """The head and class that are meant.

    Raises:
        UsageError: no such class, several to choose from, or a bundle that cannot be explained this way.
    """
    _refuse(manifest, explain)
    several = len(manifest.heads) > 1
    choices: dict[Target, Explained] = {}
    for head in manifest.heads:
        for name, place in _choices(head):
            choices[(*((head.name,) if several else ()), *name)] = Explained(head=head, place=place)
    target = find_target(explain.target, choices, "--explain-target") if explain.target else ()
    if target in choices:
        return choices[target]
    said = (
        f"--explain-target {explain.target!r} is none of" if explain.target else "--explain-target is to say which of"
    )
    raise UsageError(f"{said} {', '.join(repr(name) for name in names_of(choices))}")


def _choices(head: AnyHead) -> Iterator[tuple[Target, int | None]]:
    """What can be explained, and its place; without a name where it need not be said."""
    if isinstance(head, RegressionHead):
        yield from (((name,) if name else (), place) for place, name in enumerate(head.names()))
    elif isinstance(head, LabelledHead):
        yield from (((str(label),), place) for place, label in enumerate(head.labels))
        if not isinstance(head, MultilabelHead):
            yield (), None


def _refuse(manifest: BundleManifest, explain: Explain) -> None:
    other = [entry for entry in manifest.inputs if not isinstance(entry, TableInput)]
    if other:
        raise UsageError(
            f"--explain is for features of a table, and input {other[0].name!r} is of {other[0].kind}s; leave it out"
        )
    if any(isinstance(head, GenerationHead) for head in manifest.heads):
        raise UsageError("--explain is for the scores of a row, and generation makes a text of many; leave it out")
    for step in manifest.steps:
        if isinstance(step, PolynomialStep | NormalizeStep) and len(step.features) > 1:
            raise UsageError(
                f"--explain cannot tell features apart behind step {step.kind!r}, which makes one number of several;"
                " leave it out"
            )
    if explain.method != "integrated-gradients":
        return
    opaque = [member.kind for member in manifest.members if isinstance(member, OnnxMember)]
    whole = [entry for entry in manifest.inputs if isinstance(entry, TableInput) and entry.dtype == "int64"]
    if opaque:
        raise UsageError(
            f"--explain integrated-gradients needs gradients, and a model of kind {opaque[0]} has none; say shapley,"
            " lime or occlusion"
        )
    if whole:
        raise no_gradient(whole[0].columns[0].partition("#")[0])


def no_gradient(feature: str) -> UsageError:
    """A feature that is an index has no gradient."""
    return UsageError(
        f"--explain integrated-gradients needs numbers, and {feature!r} is an index into an embedding; say shapley,"
        " lime or occlusion"
    )


def explain_fields(manifest: BundleManifest, explain: Explain | None) -> list[pa.Field]:
    """`attribution_<feature>` each, float32, null in rows that are not explained; behind them `attribution_gap`, where
    the method promises that attributions sum to the difference in score.

    Raises as `explained` does.
    """
    if explain is None:
        return []
    explained(manifest, explain)
    names = [ATTRIBUTION + feature.name for feature in manifest.features]
    return [pa.field(name, pa.float32()) for name in (*names, *([GAP] if explain.method in COMPLETE else []))]


def draws(source: str, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for every row of a partition, uniform over uint64, by its name and place alone (splitmix64, Steele, Lea
    and Flood 2014)."""
    start = np.uint64(int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "little"))
    with np.errstate(over="ignore"):
        mixed = start + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def chosen(drawn: NDArray[np.uint64], explain: Explain) -> NDArray[np.int64]:
    """The places of the rows that are explained, ascending."""
    if explain.share >= 1:
        return np.arange(len(drawn), dtype=np.int64)
    return np.flatnonzero(drawn < np.uint64(int(explain.share * 2**64)))


def baseline_row(golden: pa.RecordBatch, categories: Collection[str]) -> pa.RecordBatch:
    """One raw row to compare with: of each feature the median of the golden rows (the lower of two), or, of text and
    categories, the most frequent value (of equally frequent ones the smallest)."""
    columns = [_most_frequent(column) if name in categories else _median(column) for name, column in _columns(golden)]
    return pa.record_batch(columns, schema=golden.schema)


def _columns(batch: pa.RecordBatch) -> Sequence[tuple[str, pa.Array]]:
    plain = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return list(zip(batch.schema.names, plain, strict=True))


def _median(column: pa.Array) -> pa.Array:
    numbers = column.cast(pa.float64(), safe=False).fill_null(float("nan"))
    values = to_numpy(numbers)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return column.slice(0, 1)
    order = known[np.argsort(values[known], kind="stable")]
    return column.slice(int(order[(len(order) - 1) // 2]), 1)


def _most_frequent(column: pa.Array) -> pa.Array:
    found = column.drop_null().value_counts()
    if not len(found):
        return column.slice(0, 1)
    largest = found.filter(pc.equal(found.field("counts"), pc.max(found.field("counts")))).field("values")
    return largest.take(pc.array_sort_indices(largest)).slice(0, 1)
