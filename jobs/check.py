"""`scoreline check`: verifies a bundle and previews its predictions for an input. Writes nothing."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.errors import counted, listed, shape_text
from ..pipeline.running.preview import score_first_rows
from .terminal.job_file import job_of, job_option
from .terminal.options import dated, flag, flags, resolve_run_date
from .terminal.signals import raise_again

if TYPE_CHECKING:
    from ..pipeline.bundle.bundle import Bundle
    from ..pipeline.options import ScoreJob
    from ..pipeline.planning.plan import Plan
    from ..pipeline.scoring.scorer import Scorer
    from ..schemas.bundle import BundleManifest
    from ..schemas.job import JobFile

SHOWN_SHAPES = 12
#: Columns of the preview at either end, where there are more than twice as many.
SHOWN_COLUMNS = 15


@click.command(context_settings={"show_default": True})
@flag("bundle")
@flag("input", required=False, help="Also read these files and score their first rows.")
@flags("format", "device", "trust")
@job_option("Read options and the [csv] section from a job file of scoreline score.")
@flag("run_date", help="Replace {run_date} in the paths of bundle and input.")
@flag("time_zone")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def check(
    bundle: str,
    input: str | None,
    format: str,
    device: str,
    trust: tuple[str, ...],
    job: "JobFile | None",
    as_json: bool,
    **dates: Any,
) -> int:
    """Verify a bundle and preview its predictions for an input. Writes nothing.

    \b
    Examples:
      scoreline check --bundle bundles/wine
      scoreline check --bundle bundles/wine --input data/
      scoreline check --job nightly.toml --run-date 2026-11-24

    Without --input, shows digests, the model, features, scaling, labels, and the golden rows replayed on the device.
    With --input, also shows the files, their columns, and the predictions for the first rows.
    """
    from ..pipeline.bundle.bundle import open_bundle
    from ..pipeline.bundle.constants import with_digest
    from ..pipeline.inputs.discover import discover  # here, so that --help stays light
    from ..pipeline.planning.existing import ExistingParts
    from ..pipeline.planning.plan import default_split_rows, make_plan
    from ..pipeline.scoring.scorer import Scorer
    from .terminal.tables import answer, table

    raise_again()  # a signal that came during the imports
    resolve_run_date(dates)
    bundle = dated(bundle, dates["run_date"], "--bundle")
    opened, score_job = open_bundle(bundle), replace(job_of(job), device=device, trust=trust)
    constants = ((name, dated(text, dates["run_date"], "--constant")) for name, text in score_job.columns.constants)
    score_job = replace(score_job, columns=replace(score_job.columns, constants=tuple(constants)))
    score_job = with_digest(score_job, opened.digest)
    plan = None
    if input is not None:
        files = discover(dated(input, dates["run_date"], "--input"), format=format)
        split_rows = score_job.split_rows or default_split_rows(opened.model_bytes())
        plan = make_plan(files, ExistingParts(), opened.manifest, score_job, split_rows)
    scorer = Scorer.for_job(opened, score_job)
    verified = list(_verified(opened, scorer))
    planned = [] if plan is None else list(_planned(plan))
    if plan is not None:
        planned += list(_estimated(plan, scorer, score_job))
    rows = None if plan is None else score_first_rows(plan, scorer, score_job)
    if as_json:
        found = {"bundle": _by_name(verified), "input": _by_name(planned), "rows": rows}
        answer(json.dumps(_finite(found), indent=1, default=str, allow_nan=False))
    else:
        answer(table(["verified", "found"], verified))
        if rows is not None:
            answer("\n" + table(["input", "found"], planned))
            answer("\n" + _rows_table(rows))
    if plan is not None and plan.failed:
        raise plan.failed[0]
    return 0


def _by_name(pairs: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Values by name; a list where a name has several values."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.strip(), []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _verified(bundle: "Bundle", scorer: "Scorer") -> Iterator[tuple[str, str]]:
    from ..schemas.members import CODE

    manifest, golden = bundle.manifest, scorer.golden
    yield "bundle", f"{bundle.name} (format {manifest.format}, made by scoreline {manifest.scoreline})"
    yield "digest", bundle.digest
    yield "files", f"{len(manifest.files)}, all sha256 digests match: {', '.join(manifest.files)}"
    for member in manifest.members:
        code = member.kind in CODE
        yield (
            "model",
            f"{member.kind}, {'code: trusted by its digest' if code else 'data: executes nothing'}; eval mode",
        )
    if manifest.ensemble is not None:
        yield "ensemble", f"{counted(len(manifest.members), 'member')}, combined by {manifest.ensemble.combine}"
    yield from _layers(scorer)
    yield from _inputs(manifest)
    yield from _tasks(manifest)
    yield "writes", ", ".join(field.name for field in scorer.output_fields())
    devices = " and ".join(str(one.torch) for one in scorer.devices)
    source = "the original model and scaler" if golden.source == "model" else "the expected predictions"
    yield (
        "golden rows",
        (
            f"{golden.rows} of {golden.rows} reproduced on {devices}, compared with {source};"
            f" largest difference {golden.largest_difference:.2g}"
        ),
    )
    yield "batch size", f"{counted(scorer.block_rows, 'row')}: {scorer.block_reason}"


def _layers(scorer: "Scorer") -> Iterator[tuple[str, str]]:
    from ..pipeline.bundle.layers import layer_names

    found = scorer.shapes()
    names = layer_names([(each.name, each.calls) for each in found])
    layers = list(zip(names, found, strict=True))
    for name, each in layers[:SHOWN_SHAPES]:
        yield "  shape", f"{name} → {shape_text(each.sizes)}"
    if len(layers) > SHOWN_SHAPES:
        yield "  shape", f"and {len(layers) - SHOWN_SHAPES:,} more"
    folded, dropped = scorer.loaded.folded, scorer.loaded.dropped
    if folded or dropped:
        yield "prepared", f"{folded} BatchNorm folded into a Linear, {counted(dropped, 'training-only layer')} dropped"


def _inputs(manifest: "BundleManifest") -> Iterator[tuple[str, str]]:
    from ..pipeline.features.kinds import kind_of

    names = [feature.name for feature in manifest.features]
    yield "features", f"{len(names)}: {listed(names)}"
    for kind, count in sorted(Counter(feature.dtype for feature in manifest.features).items()):
        yield "  dtype", f"{count} {kind}"
    for expression in manifest.expressions:
        yield "expression", f"{expression.name}: {' '.join(expression.sql.split())}"
    kept = [feature.name for feature in manifest.model_features if feature.nulls == "keep"]
    if kept:
        yield "  may be missing", listed(kept)
    for step in manifest.steps:
        yield "step", f"{step.kind}: {len(step.features)} → {counted(len(step.outputs), 'column')}, in float64"
    for entry in manifest.inputs:
        yield "input", f"{entry.name}: {kind_of(entry).describe()}"


def _tasks(manifest: "BundleManifest") -> Iterator[tuple[str, str]]:
    from ..pipeline.tasks.tasks import task_of

    for head in manifest.heads:
        named = f"{head.name}: " if len(manifest.heads) > 1 else ""
        task = task_of(head)
        if task.labels:
            labels = listed([str(label) for label in task.labels])
            what = f"{task.name} from {task.outputs}; labels in output order: {labels}"
        else:
            what = f"{task.name} of {listed(task.targets) or 'one value'}"
        yield "task", "; ".join([named + what, *task.describe()])
    if (pruning := manifest.pruning) is not None:
        yield (
            "pruned",
            (
                f"{pruning.zeros:,} of {pruning.weights:,} weights are zero, which changed raw outputs of the golden"
                f" rows by up to {pruning.largest_difference:.2g} and {pruning.labels_changed} of their labels; dense"
                " kernels do not run faster"
            ),
        )


def _planned(plan: "Plan") -> Iterator[tuple[str, str]]:
    from ..pipeline.outputs.naming import part_name

    rows = "unknown until read (CSV)" if plan.num_rows is None else f"{plan.num_rows:,}"
    if plan.discovery.table_version is not None:
        yield "table version", plan.discovery.table_version
    yield "files", str(len(plan.discovery.partitions))
    yield "rows", rows
    if plan.partitions:
        first = plan.partitions[0]
        keys = [name for name in first.columns.schema.names if name in first.columns.read.names]
        yield "keys", listed(keys) or "none"
        several = first.num_splits is not None and first.num_splits > 1
        yield "first output", part_name(first.partition.name, 0, several=several)
    for error in plan.failed:
        yield "cannot be read", str(error)
    if plan.discovery.ignored:
        yield "ignored", listed(list(plan.discovery.ignored))
    if plan.discovery.ignored_parquet:
        yield "Parquet files ignored for their suffix", listed(list(plan.discovery.ignored_parquet))
    if plan.discovery.loops:
        yield "link loops, not followed", listed(list(plan.discovery.loops))


def _estimated(plan: "Plan", scorer: "Scorer", score_job: "ScoreJob") -> Iterator[tuple[str, str]]:
    from ..pipeline.evaluation.estimate import estimate
    from .terminal.tables import size

    found = estimate(plan, scorer, score_job)
    if found is not None:
        yield (
            "estimate",
            f"about {found.seconds:.0f} s, from the first {counted(found.rows, 'row')}, scored on this machine",
        )
        yield "", f"{size(found.output_bytes)} written, {size(found.memory_bytes)} of memory"


def _rows_table(rows: dict[str, Any]) -> str:
    from ..pipeline.outputs.assemble import described
    from .terminal.tables import table

    lines = [f"first {counted(rows['tried'], 'row')} of {rows['source']}: {rows['rejected']:,} rejected"]
    if not rows["within_budget"]:
        lines[0] += f"; scoreline score would end with 65 unless you pass --max-rejects {rows['rejected']} or more"
    if rows["scored"]:
        names = list(rows["scored"][0])
        shown = names if len(names) <= 2 * SHOWN_COLUMNS else [*names[:SHOWN_COLUMNS], *names[-SHOWN_COLUMNS:]]
        header = list(map(_cell, shown))
        lines.append(table(header, [[_cell(row[name]) for name in shown] for row in rows["scored"]]))
        if len(shown) < len(names):
            lines.append(f"and {counted(len(names) - len(shown), 'column')} between them; pass --json for all")
    lines += [f"row {r['row_number']}: {described(r)}" for r in rows["rejects"]]
    if rows.get("retried"):
        lines.append(
            "the model fails on these rows as one block and succeeds on parts of it, which is slow:"
            f" {rows['retried'][0]}"
        )
    return "\n".join(lines)


def _finite(value: Any) -> Any:
    """The same with NaN and infinities as text, since JSON cannot represent them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _finite(entry) for name, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 30 else text[:27] + "..."
