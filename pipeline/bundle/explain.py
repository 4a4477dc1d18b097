"""Resolves `--explain` to a head, a class and columns. Does not import torch."""

from dataclasses import dataclass

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ...schemas.heads import AnyHead
from ...schemas.members import OnnxMember
from ...schemas.steps import LinearStep, NormalizeStep, PolynomialStep
from ..errors import UsageError
from ..features.kinds import kind_of
from ..options import ColumnOptions, Explain, ScoreJob
from ..tasks.tasks import task_of
from .targets import Target, find_target, names_of

ATTRIBUTION = "attribution_"
GAP = "attribution_gap"
COMPLETE = ("integrated-gradients", "shapley")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainTarget:
    """The head whose score is explained, and the index of the class or output; None for the predicted class of each
    row."""

    head: AnyHead
    index: int | None


def find_explain_target(manifest: BundleManifest, explain: Explain) -> ExplainTarget:
    """The head and class whose score is explained.

    Raises:
        UsageError: there is no such class, or several and none is named, or the method does not support the bundle.
    """
    _refuse(manifest, explain)
    several = len(manifest.heads) > 1
    choices: dict[Target, ExplainTarget] = {}
    for head in manifest.heads:
        for name, index in task_of(head).explain_targets():
            choices[(*((head.name,) if several else ()), *name)] = ExplainTarget(head=head, index=index)
    target = find_target(explain.target, choices, "--explain-target") if explain.target else ()
    if target in choices:
        return choices[target]
    problem = (
        f"--explain-target {explain.target!r} is not a target" if explain.target else "--explain-target is missing"
    )
    raise UsageError(f"{problem}; use one of {', '.join(repr(name) for name in names_of(choices))}")


def _refuse(manifest: BundleManifest, explain: Explain) -> None:
    other = [entry for entry in manifest.inputs if not kind_of(entry).tabular]
    if other:
        raise UsageError(
            f"--explain is for tables, and input {other[0].name!r} consists of {other[0].kind}s; leave it out"
        )
    if any(task_of(head).generates for head in manifest.heads):
        raise UsageError("--explain needs one score per row, and generation has one per token; leave it out")
    for step in manifest.steps:
        if isinstance(step, PolynomialStep | NormalizeStep | LinearStep) and len(step.features) > 1:
            raise UsageError(
                f"--explain cannot separate features after step {step.kind!r}, which combines several into one number;"
                " leave it out"
            )
    if explain.method != "integrated-gradients":
        return
    opaque = [member.kind for member in manifest.members if isinstance(member, OnnxMember)]
    whole = [entry for entry in manifest.inputs if entry.takes_integers]
    if opaque:
        raise UsageError(
            f"--explain integrated-gradients needs gradients, and a model of kind {opaque[0]} has none; use shapley,"
            " lime or occlusion"
        )
    if whole:
        raise no_gradient(whole[0].columns[0].partition("#")[0])


def no_gradient(feature: str) -> UsageError:
    """The error for a feature that is an index, which has no gradient."""
    return UsageError(
        f"--explain integrated-gradients needs numbers, and {feature!r} is an index into an embedding; use shapley,"
        " lime or occlusion"
    )


def explain_option(job: ScoreJob) -> str | None:
    """The value of `--explain` as an entry of the fingerprint."""
    explain = job.columns.explain
    if explain is None:
        return None
    share = [] if explain.share == 1 else [f"{explain.share} of rows"]
    return " ".join([explain.method, *share, *([f"for {explain.target}"] if explain.target else [])])


def explain_fields(manifest: BundleManifest, options: ColumnOptions) -> list[pa.Field]:
    """`attribution_<feature>` each, float32, null in rows that are not explained; after them `attribution_gap`, where
    the method guarantees that attributions sum to the difference in score.

    Raises as `find_explain_target` does.
    """
    explain = options.explain
    if explain is None:
        return []
    find_explain_target(manifest, explain)
    names = [ATTRIBUTION + feature.name for feature in manifest.model_features]
    return [pa.field(name, pa.float32()) for name in (*names, *([GAP] if explain.method in COMPLETE else []))]
