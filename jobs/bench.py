"""`scoreline bench`: the time of every stage, and the limit that this machine sets."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.errors import UsageError, counted
from ..pipeline.planning.option_values import row_count
from .terminal.options import Parsed, flag, flags
from .terminal.signals import raise_again

if TYPE_CHECKING:
    from ..pipeline.evaluation.bench import BenchReport


@click.command(context_settings={"show_default": True})
@flag("bundle", required=False, shown_default="a synthetic 128-64-5 MLP")
@flag("input", required=False, help="A file, a directory or a glob.", shown_default="synthetic data")
@click.option("--rows", type=Parsed(row_count, "rows"), default="1M", metavar="1M", help="Rows of synthetic data.")
@click.option("--features", type=click.IntRange(1, 10_000), default=30, help="Features of a synthetic model.")
@click.option("--files", type=click.IntRange(1, 100_000), default=8, help="Files of synthetic data.")
@flags("format", "batch_size", "device", "trust")
@click.option(
    "--rounds", type=click.IntRange(1, 50), default=3, help="Rounds to measure; every figure is their median."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def bench(
    bundle: str | None,
    input: str | None,
    rows: Any,
    features: int,
    files: int,
    format: str,
    batch_size: int | None,
    device: str,
    trust: tuple[str, ...],
    rounds: int,
    as_json: bool,
) -> int:
    """Measure every stage alone, then the whole run, and compare them.

    \b
    Examples:
      scoreline bench  # a synthetic model and synthetic data
      scoreline bench --rows 4M --features 30 --files 8
      scoreline bench --bundle bundles/wine --input data/

    The limit is max(CPU seconds over all stages / cores, the slowest single-threaded stage): no schedule of the same
    work could be faster. Two more comparisons follow: the forward pass with and without recording gradients, and how
    many rows train mode would change.
    """
    from ..pipeline.bundle.bundle import open_bundle
    from ..pipeline.evaluation import bench as measure  # here, so that --help stays light
    from ..pipeline.examples import synthetic
    from ..pipeline.options import ScoreJob
    from .terminal.tables import answer

    raise_again()  # a signal that came during the imports
    if input is not None and bundle is None:
        raise UsageError("--input needs --bundle, since the synthetic model has other features; add --bundle DIR")
    with tempfile.TemporaryDirectory(prefix="scoreline-bench-") as scratch:
        folder = Path(scratch)
        bundle = bundle or str(synthetic.make_bundle(folder, features))
        data = ""
        if input is None:
            opened = open_bundle(bundle)
            measure.refuse(opened, synthetic=True)
            names = [feature.name for feature in opened.manifest.features]
            file_format = "csv" if format == "csv" else "parquet"
            data = str(synthetic.make_data(folder, names, rows=rows, files=files, format=file_format))
        job = ScoreJob(
            bundle=bundle,
            input=input or data,
            output="",
            run_id="bench",
            format=format,
            batch_rows=batch_size,
            device=device,
            trust=trust,
        )
        report = measure.bench(job, rounds=rounds)
    answer(json.dumps({**asdict(report), "ratio": report.ratio}, indent=1) if as_json else _shown(report))
    return 0


def _shown(report: "BenchReport") -> str:
    from .terminal.tables import size, table

    rows = max(1, report.rows)
    stages = [
        [cost.name, f"{cost.wall_s:.3f}", f"{cost.cpu_s:.3f}", f"{rows / max(cost.wall_s, 1e-9):,.0f}"]
        for cost in report.stages
    ]
    cpu = sum(cost.cpu_s for cost in report.stages)
    stages.append(["total", "", f"{cpu:.3f}", ""])
    whole = f"{rows / max(report.steady_s, 1e-9):,.0f} rows/s, {size(report.output_bytes)} written"
    lines = [
        f"{counted(report.rows, 'row')} on {report.device}, {counted(report.cores.count, 'core')} (limited by"
        f" {report.cores.limited_by}), {counted(report.batch_rows, 'row')} at once",
        "",
        table(["each stage alone", "seconds", "CPU seconds", "rows/s"], stages),
        "",
        f"limit       {report.limit_s:.3f} s  ({report.limited_by})",
        f"whole       {report.steady_s:.3f} s  from the first block to the last publish: {whole}",
        f"ratio       {report.ratio:.2f}",
        f"start-up    {report.startup_s:.3f} s  in this process, with torch already imported",
    ]
    if report.forward_rows_per_s:
        slowest = min(report.forward_rows_per_s.values())
        modes = [[mode, f"{rate:,.0f}", f"{rate / slowest:.2f}"] for mode, rate in report.forward_rows_per_s.items()]
        lines += ["", table(["forward pass, one thread", "rows/s", "relative"], modes)]
    if report.train_changes is not None:
        found = report.train_changes
        lines += [
            "",
            f"train mode instead of eval would change {found.changed:,} of {counted(found.rows, 'row')}, by up to"
            f" {found.largest:.3g} in a raw output",
        ]
    return "\n".join(lines)
