"""What the rows of a run look like: the reference of a bundle, `reference.json`, and the profile of a run,
`_scoreline/profile.json`. `pipeline/monitoring` computes both; docs/explanation/drift.md defines the numbers.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from .base import Schema, Sha256
from .drift import WorstDrift

Count = Annotated[int, Field(ge=0, lt=1 << 62)]


class Bins(Schema):
    """The bins of a column: the base of both kinds."""

    kind: str
    #: Whether KS and Wasserstein are defined: the bins are in order of their values.
    ordered: ClassVar[bool] = False

    @property
    def num_bins(self) -> int:
        """The number of bins."""
        raise NotImplementedError

    @property
    def num_compared(self) -> int:
        """The number of bins that drift is computed from."""
        return self.num_bins

    def compared_bins(self) -> list[int]:
        """For each bin, the index of the one that it is part of where drift is computed."""
        return list(range(self.num_bins))


class NumberBins(Bins):
    """Bins of numbers: `edges` are ascending; a value equal to an edge is in the bin below it, and the first and last
    bins have no end.

    `compared`, `shown`: the indices of the edges between the bins that drift is computed from (quantiles of the
    reference), and of those between the bars of a picture (equal widths). `centers`: of each bin, the mean of the
    reference's values in it.
    """

    kind: Literal["number"] = "number"
    edges: list[float] = Field(max_length=1000)
    compared: list[int]
    shown: list[int]
    centers: list[float]

    ordered = True

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.edges != sorted(set(self.edges)):
            raise ValueError("the edges are not ascending")
        for name in ("compared", "shown"):
            indices = getattr(self, name)
            if indices != sorted(set(indices)) or (indices and not 0 <= indices[0] <= indices[-1] < len(self.edges)):
                raise ValueError(f"{name} are not indices of edges, in order")
        if len(self.centers) != self.num_bins or self.centers != sorted(self.centers):
            raise ValueError("there must be a center for each bin, in order")
        return self

    @property
    def num_bins(self) -> int:
        """One more than the edges."""
        return len(self.edges) + 1

    @property
    def num_compared(self) -> int:
        """One more than the edges between them."""
        return len(self.compared) + 1

    def compared_bins(self) -> list[int]:
        """Consecutive bins up to the next quantile are one."""
        return _merged(self.num_bins, self.compared)

    def shown_bins(self) -> list[int]:
        """For each bin, the index of the bar that it is part of."""
        return _merged(self.num_bins, self.shown)


def _merged(num_bins: int, cuts: list[int]) -> list[int]:
    """The index of the group of each bin, with groups that end at the edges of these indices."""
    ends = set(cuts)
    groups, group = [], 0
    for number in range(num_bins):
        groups.append(group)
        group += number in ends
    return groups


class CategoryBins(Bins):
    """Bins of categories, each of which is one of `categories`: the first `named` have a bin each, then follow one for
    all others of them, and one for values that are none of them (unseen). Where `complete` is false, the categories are
    only the most frequent ones: every other value is in the bin of the others, and none is unseen."""

    kind: Literal["category"] = "category"
    categories: list[bool | int | str] = Field(max_length=1000)
    named: int = Field(ge=0)
    complete: bool

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.named > len(self.categories):
            raise ValueError("more categories are named than there are")
        if len({(type(one), one) for one in self.categories}) < len(self.categories):
            raise ValueError("a category appears twice")
        if len({type(one) for one in self.categories}) > 1:
            raise ValueError("the categories are of several types")
        return self

    @property
    def num_bins(self) -> int:
        """The named categories, the others, and unseen values."""
        return self.named + 2


class ReferenceColumn(Schema):
    """A column of the reference. `counts`: values by bin; `nulls`: rows without a value; `rejected`: rows that cannot
    be scored because of this column. `low`, `high`, `mean`, `std`: of numbers, None where there are none."""

    name: str
    bins: Annotated[NumberBins | CategoryBins, Field(discriminator="kind")]
    counts: list[Count]
    nulls: Count = 0
    rejected: Count = 0
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None

    @model_validator(mode="after")
    def _has_a_count_for_each_bin(self) -> Self:
        if len(self.counts) != self.bins.num_bins:
            raise ValueError(f"column {self.name!r} has {len(self.counts)} counts for {self.bins.num_bins} bins")
        return self


class Reference(Schema):
    """reference.json: what the rows looked like that a model was trained on, or its golden rows, and its predictions
    for them. It contains no rows. `features`: in the bundle's order; `outputs`: columns of the predictions."""

    format: Literal[1] = 1
    source: Literal["training", "golden"]
    rows: Count
    features: list[ReferenceColumn]
    outputs: list[ReferenceColumn]


class ColumnCounts(Schema):
    """What was counted of a column: estimated rows by bin (sampled rows times the distance between them), `nulls` and
    `rejected` rows likewise. `sample`: the number of rows that a simple sample of the same precision would have.
    `low`, `high`: of the sampled numbers."""

    counts: list[Count]
    nulls: Count
    rejected: Count
    sample: float
    low: float | None = None
    high: float | None = None


class Drift(Schema):
    """How far a sample is from another. `bound`: the PSI that chance alone exceeds with a probability of 0.1% in any
    of the run's comparisons. `level`: `red` for a PSI of at least 0.25 and above the bound, `yellow` from 0.10.

    The other distances are computed for all rows, and for files with drift. `jensen_shannon`: distance, base 2; `ks`:
    Kolmogorov–Smirnov at the edges of the bins; `wasserstein`: in standard deviations of the reference; `mean_shift`:
    between the binned means, in the same unit. None where a sample is empty, and all but the first for categories."""

    psi: float
    bound: float
    level: Literal["none", "yellow", "red"]
    jensen_shannon: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    mean_shift: float | None = None


class PartitionDrift(Schema):
    """The drift of a column in one input from the reference, with its counts."""

    partition: str
    drift: Drift
    counts: ColumnCounts


class ColumnProfile(Schema):
    """A column of a run. `reference`, `previous`: what the drift is measured from; `drift`: of all rows;
    `previous_drift`: from the run before. `worst`: up to three inputs with drift, the worst first, or the one closest
    to it. `red`, `yellow`: the numbers of inputs at each level."""

    name: str
    role: Literal["feature", "output"]
    reference: ReferenceColumn
    now: ColumnCounts
    previous: ColumnCounts | None = None
    drift: Drift
    previous_drift: Drift | None = None
    worst: list[PartitionDrift] = []
    red: int = 0
    yellow: int = 0
    #: Inputs at each level in comparison with the run before.
    previous_red: int = 0
    previous_yellow: int = 0


class PartitionProfile(Schema):
    """An input with drift. `red`, `yellow`: the numbers of columns at each level; `psi`: of these columns, the largest
    first, at most 30; `worst_psi`: the largest of all columns; `previous_psi`: the PSI of the same columns in
    comparison with the run before, None where there is none."""

    partition: str
    sampled: int
    red: int
    yellow: int
    worst_psi: float
    psi: dict[str, float]
    previous_psi: dict[str, float] | None = None


class RunIdentity(Schema):
    """A run, by its id and the time of its end; `content`: the digest of the receipts of its parts."""

    run_id: str
    ended: str
    content: Sha256


class RunProfile(Schema):
    """`_scoreline/profile.json`: the profile of a run and its drift. Bounded in size: the worst inputs are listed, the
    others counted.

    `reference_digest`, `reference_source`, `reference_rows`: of the bundle's reference. `partitions`: inputs with a
    profile; `sampled`, `rows`: their sampled rows, and all rows of their parts. `unprofiled_parts`: parts that were
    made without a profile; `unprofiled_features`: features beyond the columns that a profile has room for. `tests`: the
    number of comparisons with the reference, for which the bounds are corrected. `worst_partitions`: the inputs with
    the most columns at red, then at yellow."""

    format: Literal[1] = 1
    run: RunIdentity
    previous: RunIdentity | None = None
    bundle: Sha256
    reference_digest: Sha256
    reference_source: Literal["training", "golden"]
    reference_rows: int
    partitions: int
    sampled: int
    rows: int
    unprofiled_parts: int
    unprofiled_features: int = 0
    tests: int
    worst: WorstDrift | None = None
    columns: list[ColumnProfile]
    worst_partitions: list[PartitionProfile]
    checksum: Sha256 | None = None
