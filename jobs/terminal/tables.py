"""Output on stdout: plain-text tables with aligned columns and no colours."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ...pipeline.errors import counted, printable
from ...pipeline.outputs.store import REPORT
from ...schemas.run import RunManifest

#: A number, which a unit may follow; not `1.csv`, and not a sentence that begins with a number.
_NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?\s?[^\s\d.,]{0,6}")
#: Characters that a terminal acts on, and those that change the direction of text.
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def answer(text: str) -> None:
    """Print lines to stdout. Control characters, as in names, are escaped; joiners and other spaces are not, so that a
    path that is printed exists. Never raises (see `streams.py`)."""
    sys.stdout.write(_CONTROLS.sub(lambda found: printable(found[0]), text) + "\n")
    sys.stdout.flush()


def shortened(text: str, most: int = 60) -> str:
    """A text of at most so many characters; a longer one ends in `…`."""
    return text if len(text) <= most else text[: most - 1] + "…"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell. Columns of numbers are aligned right, the first and all others left."""
    header = [printable(cell) for cell in header]
    rows = [[printable(cell) for cell in row] for row in rows]
    lines = [header, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    right = [all(_is_number(row[at]) for row in rows) and at > 0 for at in range(len(header))]
    padded = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([padded[0], "  ".join("─" * width for width in widths), *padded[1:]])


def stage_table(manifest: RunManifest) -> str:
    """The stages of a run with their seconds, and a summary below."""
    rows = [["start-up", "", _seconds(manifest.startup_s), _share(manifest.startup_s, manifest), "", "", ""]]
    rows += [
        [
            name,
            _seconds(spent.busy_s),
            _seconds(spent.waiting_s),
            _share(spent.waiting_s, manifest),
            f"{spent.rows:,}",
            f"{spent.rows / spent.busy_s:,.0f}" if spent.busy_s > 0 and spent.rows else "",
            size(spent.bytes),
        ]
        for name, spent in manifest.stages.items()
    ]
    rows.append(["other", "", _seconds(manifest.other_s), _share(manifest.other_s, manifest), "", "", ""])
    rows += [
        [
            f"{one.device if len(manifest.devices) > 1 else 'device'} busy",
            _seconds(one.busy_s),
            "",
            f"{one.busy_share:.0%}",
        ]
        + [""] * 3
        for one in manifest.devices
    ]
    header = ["stage", "busy s", "run waited s", "share", "rows", "rows/s busy", "bytes"]
    return f"{table(header, rows)}\n\n{_summary(manifest)}"


def _summary(manifest: RunManifest) -> str:
    """How many rows were scored, how fast, and what the run waited for."""
    before = 0 if manifest.shards else manifest.rows_kept - manifest.rows_scored_kept
    rejected = manifest.rows_rejected - before
    more = f", {rejected:,} rejected" if rejected else ""
    if (found := manifest.stages.get("dedupe")) is not None and found.rows:
        more += f", {1 - manifest.stages['forward'].rows / found.rows:.1%} of the rows repeated and scored once"
    more += f", {manifest.rows_out_of_bounds:,} out of bounds" if manifest.rows_out_of_bounds else ""
    flagged = manifest.rows_above_threshold
    if any(head.threshold is not None for head in manifest.heads):
        more += f", {flagged:,} above the threshold ({flagged / max(1, manifest.rows_scored):.2%})"
    if manifest.shards:
        rows, shards = counted(manifest.rows_scored, "row"), counted(len(manifest.shards), "shard")
        return f"{rows} scored by {shards}{more}; finished in {manifest.wall_s:.2f} s"
    if manifest.parts_kept:
        more += f", {manifest.rows_kept:,} kept from earlier runs" + (f", which rejected {before:,}" if before else "")
    scored = manifest.rows_scored - manifest.rows_scored_kept
    rate = scored / max(manifest.wall_s, 1e-9)
    return (
        f"{counted(scored, 'row')} scored{more} in {manifest.wall_s:.2f} s"
        + (f" ({rate:,.0f} rows/s) on {_device(manifest)}" if scored else "")
        + f"; the run {manifest.verdict}"
    )


def _device(manifest: RunManifest) -> str:
    number = len(manifest.devices)
    return f"{number} GPUs" if number > 1 else manifest.device


def nothing_to_do(manifest: RunManifest) -> str:
    """The answer where the output is complete and up to date."""
    rows, inputs = counted(manifest.rows_in, "row"), counted(manifest.inputs, "input")
    return (
        f"nothing to do: everything is up to date ({rows} of {inputs}), scored by run {manifest.run_id} on"
        f" {manifest.ended}"
    )


def where(manifest: RunManifest, output: str) -> str:
    """The last line: where the predictions and the report are, and what to type next: for rejected rows, or after a
    shard."""
    rejects = manifest.rows_rejected
    if manifest.shard is not None:
        finish = f"scoreline finish {shlex.quote(output)}"
        return f"shard {manifest.shard} is complete; when all others are, run: {finish}"
    report = f", the report is {Path(output, REPORT)}"
    more = f"; {counted(rejects, 'rejected row')}: scoreline rejects {shlex.quote(output)}" if rejects else ""
    return f"the predictions are in {output}{report}{more}"


def size(count: int) -> str:
    """Bytes in a readable unit."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _share(seconds: float, manifest: RunManifest) -> str:
    return f"{seconds / max(manifest.wall_s, 1e-9):.0%}"


def _is_number(cell: str) -> bool:
    return not cell or _NUMBER.fullmatch(cell) is not None
