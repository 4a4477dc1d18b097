"""Makes the report's page from the facts about a run. Independent of files and of HTML."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from ...schemas.profile import RunProfile
from ...schemas.run import RunManifest
from ..errors import counted
from .drift_tables import make_features, make_map
from .findings import find, headline, usual_seconds_per_row
from .page import Command, Fact, Page, RejectRow, StageRow, Tile
from .predictions import make_predictions
from .run_facts import RunFacts
from .wording import MESSAGE, and_more, moment, number, seconds, share, shown

#: Reasons of rejects in the table; shards in the lineage.
MAX_REASONS, MAX_SHARDS = 12, 6
#: Characters of a digest.
DIGEST = 19


def make_page(facts: RunFacts) -> Page:
    """The page of an output."""
    findings, profile, manifest = find(facts), facts.profile, facts.manifest
    features, features_note = ((), "") if profile is None else make_features(profile)
    histograms, labels, predictions_note = ((), (), "") if profile is None else make_predictions(profile)
    last = facts.later[-1].ended if manifest is None and facts.later else ""
    return Page(
        output=shown(facts.output),
        headline=headline(findings),
        level=findings[0].level if findings else "ok",
        ended=moment(when) if (when := last if manifest is None else manifest.ended) else "",
        findings=findings,
        tiles=() if manifest is None else _tiles(facts, manifest),
        reference="" if profile is None else _reference(profile),
        drift_map=None if profile is None else make_map(profile),
        features=features,
        features_note=features_note,
        compared_with_previous=profile is not None and profile.previous is not None,
        histograms=histograms,
        labels=labels,
        predictions_note=predictions_note,
        rejects=_rejects(facts),
        rejects_note=_rejects_note(facts),
        stages=() if manifest is None else _stages(manifest),
        stages_note="" if manifest is None else f"The run {shown(manifest.verdict)}.",
        facts=() if manifest is None else _lineage(manifest, profile),
        commands=_commands(facts),
        version="" if manifest is None else shown(manifest.versions.get("scoreline", "")),
    )


def _reference(profile: RunProfile) -> str:
    """What the rows are compared with."""
    source = "training" if profile.reference_source == "training" else "golden"
    return f"{counted(profile.reference_rows, f'{source} row')} kept in the bundle"


def _tiles(facts: RunFacts, manifest: RunManifest) -> tuple[Tile, ...]:
    before, change = facts.last_success, ""
    scored_before = 0 if before is None else (before.rows_in or 0) - (before.rows_rejected or 0)
    if scored_before:
        moved = manifest.rows_scored / scored_before - 1
        run = "the last successful run"
        change = f"as many as in {run}" if abs(moved) < 0.001 else f"{moved:+.1%} from {run}"
    allowed = f"{shown(manifest.options.get('max_rejects') or 0)} allowed"
    rejected = manifest.rows_rejected
    tiles = [
        Tile(value=f"{manifest.rows_scored:,}", label="rows scored", detail=change),
        Tile(
            value=f"{rejected:,}",
            label="rows rejected",
            detail=f"{share(rejected, manifest.rows_in)}, {allowed}" if rejected else allowed,
        ),
        Tile(
            value=f"{manifest.inputs:,}",
            label="inputs" if manifest.inputs != 1 else "input",
            detail=f"{manifest.inputs_failed:,} failed",
        ),
        *(_times_of_shards(manifest) if manifest.shards else _times(facts, manifest)),
    ]
    if (profile := facts.profile) is not None:
        features = [column for column in profile.columns if column.role == "feature"]
        drifted = sum(1 for column in features if column.red or column.drift.level == "red")
        where = "in an input, or over all"
        if profile.unprofiled_features:
            where += f"; {profile.unprofiled_features:,} more are not compared"
        tiles.append(Tile(value=f"{drifted:,} of {len(features):,}", label="features drifted", detail=where))
    return tuple(tiles)


def _times(facts: RunFacts, manifest: RunManifest) -> tuple[Tile, ...]:
    read = manifest.rows_in - manifest.rows_kept
    usual = usual_seconds_per_row(facts)
    pace = f"usually {seconds(usual * read)}" if usual is not None else f"{seconds(manifest.startup_s)} of it start-up"
    return (
        Tile(value=seconds(manifest.wall_s), label="wall time", detail=pace),
        Tile(
            value=f"{read / max(manifest.wall_s, 1e-9):,.0f}",
            label="rows a second",
            detail=f"on {shown(manifest.device)}" if manifest.device != "none" else "nothing was scored",
        ),
    )


def _times_of_shards(manifest: RunManifest) -> tuple[Tile, ...]:
    """The wall time of the manifest is that of `scoreline finish`."""
    longest = max(one.wall_s for one in manifest.shards)
    return (
        Tile(value=f"{len(manifest.shards):,}", label="shards", detail=f"on {shown(manifest.device)}"),
        Tile(value=seconds(longest), label="longest shard", detail=f"and {seconds(manifest.wall_s)} to finish"),
    )


def _rejects(facts: RunFacts) -> tuple[RejectRow, ...]:
    return tuple(
        RejectRow(
            rows=f"{group.rows:,}",
            column=shown(group.column),
            reason=shown(group.reason, 160),
            inputs=f"{group.inputs:,}",
            examples=tuple(
                f"{shown(row.source, 60)} row {row.row:,}{f': {shown(row.value, 40)}' if row.value else ''}"
                for row in group.examples
            ),
        )
        for group in facts.groups[:MAX_REASONS]
    )


def _rejects_note(facts: RunFacts) -> str:
    """What the table leaves out."""
    if facts.manifest is None:
        return ""
    rest = and_more(len(facts.groups) - MAX_REASONS, "reason")
    unread = facts.manifest.rows_rejected - facts.grouped
    of = ""
    if unread > 0 and facts.grouped:
        of = f"reasons of {counted(facts.grouped, 'row')}, in the inputs with the most rejects"
    return "; ".join(note for note in (rest, of) if note)


def _stages(manifest: RunManifest) -> tuple[StageRow, ...]:
    wall = max(manifest.wall_s, 1e-9)

    def row(name: str, waited: float, busy: float | None = None, rows: int = 0) -> StageRow:
        return StageRow(
            name=shown(name),
            busy="" if busy is None else f"{busy:.2f}",
            waited=f"{waited:.2f}",
            bar=round(min(1.0, max(0.0, waited / wall)), 4),
            rows=f"{rows:,}" if rows else "",
        )

    return (
        row("start-up", manifest.startup_s),
        *(row(name, spent.waiting_s, spent.busy_s, spent.rows) for name, spent in manifest.stages.items()),
        row("other", manifest.other_s),
    )


def _version(manifest: RunManifest) -> str:
    """The version of the table that the input is, for a line of the report."""
    return "" if manifest.table_version is None else f", version {shown(manifest.table_version)}"


def _lineage(manifest: RunManifest, profile: RunProfile | None) -> tuple[Fact, ...]:
    bundle = manifest.bundle
    kept = "" if manifest.shards else f", {manifest.parts_kept:,} of them kept from earlier runs"
    pairs = [
        ("run", f"{shown(manifest.run_id)}, from {moment(manifest.started)}"),
        ("input", shown(manifest.input, 200) + _version(manifest)),
        ("bundle", f"{shown(bundle.path, 200)} ({shown(bundle.digest[:DIGEST])}…)"),
        ("device", shown(", ".join(f"{one.device} ({one.card})" for one in manifest.devices) or manifest.device)),
        ("parts", f"{manifest.parts:,}{kept}"),
        ("versions", shown(", ".join(f"{name} {text}" for name, text in manifest.versions.items()), MESSAGE)),
    ]
    if bundle.golden_rows is not None and bundle.golden_largest_difference is not None:
        difference = number(bundle.golden_largest_difference)
        pairs.append(("golden rows", f"{bundle.golden_rows:,} replayed, largest difference {difference}"))
    if profile is not None:
        sampled = f"{profile.sampled:,} of {counted(profile.rows, 'row')} in {counted(profile.partitions, 'input')}"
        pairs.append(("profile", f"{sampled}, compared with {_reference(profile)}"))
        if profile.previous is not None:
            pairs.append(("run before", f"{shown(profile.previous.run_id)}, {moment(profile.previous.ended)}"))
    if manifest.shards:
        named = ", ".join(shown(f"{one.shard} ({one.run_id})") for one in manifest.shards[:MAX_SHARDS])
        pairs.append(("shards", f"{named} {and_more(len(manifest.shards) - MAX_SHARDS, 'shard')}".strip()))
    return tuple(Fact(name=name, value=value) for name, value in pairs)


def _commands(facts: RunFacts) -> tuple[Command, ...]:
    """What to type next, from the same folder as the run."""
    output = _word(facts.output)
    found, manifest = list[Command](), facts.manifest
    if manifest is not None and manifest.rows_rejected:
        found.append(Command(purpose="the rejected rows, with their reasons", line=f"scoreline rejects {output}"))
    if manifest is not None and manifest.status == "success":
        found.append(Command(purpose="read everything back, with its checksums", line=f"scoreline verify {output}"))
    if profile := facts.profile:
        path = _word(str(PurePath(facts.output) / "_scoreline" / "profile.json"))
        if any(column.red or column.drift.level != "none" for column in profile.columns):
            query = (
                'jq \'.columns[] | select(.red > 0 or .drift.level != "none")'
                " | {name, psi: .drift.psi, worst: .worst[0].partition}'"
            )
            found.append(Command(purpose="every column with drift", line=f"{query} {path}"))
    found.append(Command(purpose="all runs of this output", line=f"scoreline runs {output}"))
    return tuple(found)


def _word(text: str) -> str:
    """A path as a word of a shell; it is too long to be typed where it is cut."""
    return shown(shlex.quote(text), 200)
