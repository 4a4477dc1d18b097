"""What `--explain` asks for → the head, class and columns it means, the rows it takes, and the row that others are
compared with. Known before torch is imported.
"""

from dataclasses import dataclass

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ...schemas.heads import AnyHead
from ...schemas.members import OnnxMember
from ...schemas.steps import NormalizeStep, PolynomialStep
from ..errors import UsageError
from ..features.kinds import kind_of
from ..options import ColumnOptions, Explain, ScoreJob
from ..tasks.tasks import task_of
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
        for name, place in task_of(head).explain_targets():
            choices[(*((head.name,) if several else ()), *name)] = Explained(head=head, place=place)
    target = find_target(explain.target, choices, "--explain-target") if explain.target else ()
    if target in choices:
        return choices[target]
    said = (
        f"--explain-target {explain.target!r} is none of" if explain.target else "--explain-target is to say which of"
    )
    raise UsageError(f"{said} {', '.join(repr(name) for name in names_of(choices))}")


def _refuse(manifest: BundleManifest, explain: Explain) -> None:
    other = [entry for entry in manifest.inputs if not kind_of(entry).tabular]
    if other:
        raise UsageError(
            f"--explain is for features of a table, and input {other[0].name!r} is of {other[0].kind}s; leave it out"
        )
    if any(task_of(head).generates for head in manifest.heads):
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
    whole = [entry for entry in manifest.inputs if entry.takes_integers]
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


def explain_option(job: ScoreJob) -> str | None:
    """How rows are explained, as it is written in a fingerprint."""
    explain = job.columns.explain
    if explain is None:
        return None
    share = [] if explain.share == 1 else [f"{explain.share} of rows"]
    return " ".join([explain.method, *share, *([f"for {explain.target}"] if explain.target else [])])


def explain_fields(manifest: BundleManifest, options: ColumnOptions) -> list[pa.Field]:
    """`attribution_<feature>` each, float32, null in rows that are not explained; behind them `attribution_gap`, where
    the method promises that attributions sum to the difference in score.

    Raises as `explained` does.
    """
    explain = options.explain
    if explain is None:
        return []
    explained(manifest, explain)
    names = [ATTRIBUTION + feature.name for feature in manifest.features]
    return [pa.field(name, pa.float32()) for name in (*names, *([GAP] if explain.method in COMPLETE else []))]
