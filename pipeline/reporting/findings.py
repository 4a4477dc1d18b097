"""What there is to know about a run, in sentences, the worst first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...schemas.history import HistoryEntry
from ...schemas.profile import CategoryBins, PartitionProfile, RunProfile
from ...schemas.run import RunManifest
from ..errors import counted
from ..monitoring.comparison import RED_PSI, YELLOW_PSI
from .page import LEVELS, Finding, Level
from .run_facts import RunFacts
from .wording import MESSAGE, and_more, number, psi, seconds, share, shown

#: Characters of an error in the headline.
MAX_REASON = 100
#: Inputs that have a finding of their own, and columns that it names.
MAX_INPUTS, MAX_COLUMNS = 3, 4
#: The runs that a run is compared with, and the fewest of them.
COMPARED_RUNS, FEWEST_RUNS = 10, 3
#: A run is slower if its time for a row is this many times the median, and it takes this much longer.
SLOWER_TIMES, SLOWER_S = 1.5, 5.0
#: How many times the share of rejects of the run before is worth a warning.
MORE_REJECTS = 2.0
#: How predictions that have drifted from the reference are marked, by the level of their drift.
_LEVELS: Mapping[str, Level] = {"red": "warning", "yellow": "note", "none": "ok"}


def find(facts: RunFacts) -> tuple[Finding, ...]:
    """All findings, the worst first."""
    found = [*_ends(facts), *_problems(facts)]
    if (manifest := facts.manifest) is not None:
        found += _failed_inputs(facts, manifest)
        found += _drift(facts.profile) if facts.profile is not None else _no_drift(manifest)
        found += _rejects(facts, manifest)
        found += _leftovers(manifest)
        found += _accounts(manifest)
        found += _speed(facts, manifest)
    return tuple(sorted(found, key=lambda one: -LEVELS.index(one.level)))


def headline(findings: tuple[Finding, ...]) -> str:
    """The worst of the findings, in one line."""
    worst = findings[0] if findings else None
    if worst is None or worst.level in ("ok", "note"):
        return "Completed"
    return worst.topic if worst.topic.startswith("Failed") else f"Completed with warnings: {worst.topic}"


def _ends(facts: RunFacts) -> Iterator[Finding]:
    """How the last run ended. One after that of the manifest did not come as far as scoring; without a manifest, which
    may be damaged, the history tells."""
    last = facts.later[-1] if facts.later else None
    if last is not None and last.exit_code:
        before = "" if facts.manifest is None else "; this page describes the run before"
        early = last.rows_in is None and not last.finish
        what = "The last run failed before it scored a row" if early else "The last run failed"
        what = "The shards could not be completed" if last.finish else what
        yield Finding(
            level="alarm",
            topic="Failed before scoring" if early else f"Failed: {shown(last.error or '', MAX_REASON)}",
            title=f"{what} (exit code {last.exit_code}){before}",
            detail=shown(last.error or "", MESSAGE),
        )
    manifest = facts.manifest
    if facts.has_shards and not (last is not None and last.finish):
        yield Finding(
            level="alarm",
            topic="Failed: not complete",
            title="The shards of this output are not complete",
            detail="When all have been scored, scoreline finish completes it, and otherwise says what is missing.",
        )
    if manifest is not None and manifest.status == "failed":
        reason = shown(manifest.error or "", MAX_REASON)
        if facts.failed:
            reason = f"{len(facts.failed):,} of {counted(manifest.inputs, 'input')} could not be read"
        yield Finding(
            level="alarm",
            topic=f"Failed: {reason}",
            title="The run failed; what it had published is kept, and there is no _SUCCESS",
            detail=shown(manifest.error or "", MESSAGE),
        )
    if manifest is not None and manifest.status == "running":
        yield Finding(
            level="alarm",
            topic="Failed: not complete",
            title="The run has not ended, or was killed",
            detail="The figures are those of its beginning. The same command, run again, continues it.",
        )


def _problems(facts: RunFacts) -> Iterator[Finding]:
    for problem in facts.problems:
        yield Finding(level="warning", topic="records are missing", title="A record of the run cannot be read",
                      detail=shown(problem, MESSAGE))  # fmt: skip


def _failed_inputs(facts: RunFacts, manifest: RunManifest) -> Iterator[Finding]:
    """The inputs that could not be read, unless the message of the run says it all."""
    others = [one for one in facts.failed if one.error not in (manifest.error or "")]
    if not others:
        return
    named, left = others[:MAX_INPUTS], and_more(len(others) - MAX_INPUTS, "input")
    yield Finding(
        level="alarm",
        topic="inputs could not be read",
        title=f"{len(facts.failed):,} of {counted(manifest.inputs, 'input')} could not be read to the end",
        detail="; ".join([*(shown(one.error, 240) for one in named), *([left] if left else [])]),
    )


def _drift(profile: RunProfile) -> Iterator[Finding]:
    """One finding for each of the worst inputs, one for the others, and one for all rows together."""
    roles = {column.name: column.role for column in profile.columns}
    red = [one for one in profile.worst_partitions if one.red]
    for one in red[:MAX_INPUTS]:
        yield _input_drift(one, roles, profile)
    most = max((column.red for column in profile.columns), default=0)
    if len(red) > MAX_INPUTS:
        yield Finding(
            level="alarm", topic="input drift", title=f"Drift in at least {max(most, len(red)):,} inputs in all",
            detail=f"The {len(profile.worst_partitions):,} worst are recorded, and the map below shows them.",
        )  # fmt: skip
    overall = [column for column in profile.columns if column.drift.level == "red"]
    if overall:
        overall.sort(key=lambda column: -column.drift.psi)
        named = ", ".join(f"{shown(one.name)} {psi(one.drift.psi)}" for one in overall[:MAX_COLUMNS])
        left = and_more(len(overall) - MAX_COLUMNS, "column")
        yield Finding(
            level="alarm", topic="input drift over all inputs",
            title=f"Drift over all inputs together in {counted(len(overall), 'column')}",
            detail=f"{named} {left}".strip() + f" (PSI; {psi(RED_PSI)} is drift)",
        )  # fmt: skip
    yellow = sum(column.yellow + (column.drift.level == "yellow") for column in profile.columns)
    if yellow and not red and not overall:
        yield Finding(
            level="warning", topic="possible drift", title=f"Possible drift in {counted(yellow, 'comparison')}",
            detail=f"A PSI from {psi(YELLOW_PSI)}, and more than chance explains; none reaches {psi(RED_PSI)}.",
        )  # fmt: skip
    if not (profile.sampled or profile.unprofiled_parts):
        yield Finding(
            level="note", topic="no rows", title="No rows to compare with the reference",
            detail="The inputs have no rows that could be scored.",
        )  # fmt: skip
    elif profile.sampled and not yellow and not red and not overall:
        yield Finding(
            level="ok", topic="no drift", title="The rows are like those of the reference",
            detail=f"{profile.tests:,} comparisons of a column; none has a PSI of {psi(YELLOW_PSI)} or more that chance"
            " does not explain.",
        )  # fmt: skip
    if profile.sampled:
        yield from _predicted(profile)
    if profile.unprofiled_features:
        yield Finding(
            level="note", topic="features are not compared",
            title=f"The last {counted(profile.unprofiled_features, 'feature')} are not compared",
            detail="A profile has room for about 1,600 columns, the first of the bundle.",
        )  # fmt: skip
    if profile.unprofiled_parts:
        yield Finding(
            level="warning", topic="parts are not compared",
            title=f"{counted(profile.unprofiled_parts, 'part')} of earlier runs without a profile",
            detail="They were made with --no-profile, and are not compared; --force rescores them.",
        )  # fmt: skip


def _input_drift(one: PartitionProfile, roles: Mapping[str, str], profile: RunProfile) -> Finding:
    red = {name: value for name, value in one.psi.items() if value >= RED_PSI}
    features = sum(1 for column in profile.columns if column.role == "feature")
    of_features = sum(1 for name in red if roles.get(name) == "feature")
    least = "at least " if one.red > len(red) else ""  # only the worst columns of an input are recorded
    what = f"{least}{of_features} of {counted(features, 'feature')}" if of_features else "its predictions"
    named = ", ".join(f"{shown(name)} {psi(value)}" for name, value in list(red.items())[:MAX_COLUMNS])
    left = and_more(one.red - MAX_COLUMNS, "column")
    before = one.previous_psi or {}
    compared = ""
    if red and all(before.get(name, 0.0) >= RED_PSI for name in red):
        compared = "; unlike all rows of the run before"
    elif red and before and not any(before.get(name, 0.0) >= YELLOW_PSI for name in red):
        compared = "; like all rows of the run before"
    return Finding(
        level="alarm",
        topic=f"{'input drift' if of_features else 'drift of predictions'} in {shown(one.partition)}",
        title=f"{shown(one.partition)}: drift in {what}",
        detail=f"{named} {left}".strip() + f" (PSI){compared}",
    )


def _predicted(profile: RunProfile) -> Iterator[Finding]:
    """How the predictions are distributed over the labels."""
    for column in profile.columns:
        bins = column.reference.bins
        if column.role != "output" or not isinstance(bins, CategoryBins) or not bins.named or bins.named > 20:
            continue
        now, before = column.now.counts, column.previous.counts if column.previous is not None else []
        index = max(range(bins.named), key=lambda one: now[one])
        label = shown(bins.categories[index])
        past = f", {share(before[index], sum(before))} in the run before" if sum(before) else ""
        moved = column.previous_drift is not None and column.previous_drift.level != "none"
        yield Finding(
            level="warning" if moved else _LEVELS[column.drift.level],
            topic="other predictions than before",
            title=f"{shown(column.name)}: {label} for {share(now[index], sum(now))} of the rows{past}",
            detail=f"{share(column.reference.counts[index], sum(column.reference.counts))} in the reference; a PSI of"
            f" {psi(column.drift.psi)} from it",
        )
        return


def _no_drift(manifest: RunManifest) -> Iterator[Finding]:
    if manifest.drift is not None:
        title = "The figures of drift cannot be shown"
        detail = "_scoreline/profile.json is missing or damaged. Repeat the command: nothing is scored again."
    elif manifest.options.get("profile") == "off":
        title, detail = "Drift was not measured", "The run was made with --no-profile."
    elif manifest.status == "success":
        title, detail = "Drift was not measured", "The bundle has no reference; save it again with reference=."
    else:
        return
    yield Finding(level="note", topic="drift was not measured", title=title, detail=detail)


def _rejects(facts: RunFacts, manifest: RunManifest) -> Iterator[Finding]:
    rejected, rows = manifest.rows_rejected, manifest.rows_in
    if not rejected:
        return
    before = facts.last_success
    text, level = "", "note"
    if before is not None and before.rows_in:
        then = before.rows_rejected or 0
        text = f", {share(then, before.rows_in)} in the last successful run"
        more = rejected / max(rows, 1) > MORE_REJECTS * then / before.rows_in
        level = "warning" if more else "note"
    most = facts.most_rejects[0] if facts.most_rejects else None
    where = "" if most is None else f"{share(most.rows, rejected)} of them in {shown(most.source)}; "
    yield Finding(
        level="warning" if level == "warning" else "note",
        topic="more rejected rows",
        title=f"{counted(rejected, 'row')} rejected: {share(rejected, rows)}{text}",
        detail=f"{where}{shown(manifest.options.get('max_rejects') or 0)} allowed",
    )


def _leftovers(manifest: RunManifest) -> Iterator[Finding]:
    if manifest.orphaned_parts:
        yield Finding(
            level="warning", topic="parts of inputs that are gone",
            title=f"{counted(manifest.orphaned_parts, 'part')} of inputs that are not part of this run",
            detail="Readers of the output see their rows; --prune removes them.",
        )  # fmt: skip
    if manifest.ignored:
        first = ", ".join(shown(name) for name in manifest.first_ignored[:MAX_INPUTS])
        yield Finding(
            level="note", topic="ignored files", title=f"{counted(manifest.ignored, 'file')} ignored",
            detail=f"{first} {and_more(manifest.ignored - MAX_INPUTS, 'file')}".strip(),
        )  # fmt: skip


def _accounts(manifest: RunManifest) -> Iterator[Finding]:
    kept = f"; {manifest.rows_kept:,} of them were kept from earlier runs" if manifest.rows_kept else ""
    if manifest.shards:
        kept = f", by {counted(len(manifest.shards), 'shard')}"
    bundle, replayed = manifest.bundle, ""
    if bundle.golden_rows is not None and bundle.golden_largest_difference is not None:
        by = "the trained model" if bundle.golden_source == "model" else "the expected predictions"
        replayed = (
            f". {counted(bundle.golden_rows, 'golden row')} of {by} reproduced, with a largest difference of"
            f" {number(bundle.golden_largest_difference)}"
        )
    what = "Every row is accounted for" if manifest.status == "success" else "Every published row is accounted for"
    yield Finding(
        level="ok", topic="complete", title=what,
        detail=f"{manifest.rows_in:,} in = {manifest.rows_scored:,} scored + {manifest.rows_rejected:,} rejected"
        f"{kept}{replayed}",
    )  # fmt: skip


def usual_seconds_per_row(facts: RunFacts) -> float | None:
    """The median of the last successful runs before this one, of seconds for each row that was read. None if there are
    too few that read at least half as many rows."""
    read = 0 if facts.manifest is None else facts.manifest.rows_in - facts.manifest.rows_kept
    if not read:
        return None
    alike = [one for one in facts.earlier if not one.exit_code and 2 * (one.rows_read or 0) >= read]
    last = alike[-COMPARED_RUNS:]
    return float(np.median([_seconds_per_row(one) for one in last])) if len(last) >= FEWEST_RUNS else None


def _seconds_per_row(one: HistoryEntry) -> float:
    return one.wall_s / (one.rows_read or 1)


def _speed(facts: RunFacts, manifest: RunManifest) -> Iterator[Finding]:
    usual = usual_seconds_per_row(facts)
    if usual is None:
        return
    expected = usual * (manifest.rows_in - manifest.rows_kept)
    times = manifest.wall_s / max(expected, 1e-9)
    slower = times >= SLOWER_TIMES and manifest.wall_s - expected >= SLOWER_S
    level: Level = "warning" if slower else "ok"
    yield Finding(
        level=level,
        topic="slower than usual",
        title=f"{f'Slower than usual, {times:.1f} times' if slower else 'As fast as usual'}:"
        f" {seconds(manifest.wall_s)}, where {seconds(expected)} are usual for as many rows",
        detail=f"By the median of the last runs. The run {shown(manifest.verdict)}.",
    )
