"""`scoreline calibrate`: calibrates a bundle's probabilities on labelled rows."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..pipeline.errors import StorageError, counted
from .terminal.job_file import dialect_of, job_option
from .terminal.options import dated, flag, flags, picture_option, resolve_run_date
from .terminal.paths import PathText
from .terminal.signals import raise_again

if TYPE_CHECKING:
    from ..pipeline.evaluation.calibrate import CalibrationReport
    from ..pipeline.evaluation.reliability import Reliability
    from ..schemas.job import JobFile


@click.command(context_settings={"show_default": True})
@click.argument("new_bundle", metavar="NEW_BUNDLE", type=PathText())
@flag("bundle")
@flag("input", help="Labelled rows that were not used for training.")
@click.option(
    "--label",
    multiple=True,
    required=True,
    metavar="COLUMN",
    help="Column of the true label; for multilabel one per label, in order.",
)
@click.option("--head", metavar="NAME", help="Head to calibrate, if the bundle has several.")
@click.option(
    "--method",
    type=click.Choice(["auto", "temperature", "platt"]),
    default="auto",
    help="auto: temperature for multiclass, Platt for binary and multilabel.",
)
@picture_option("File for the reliability curves.  [default: NEW_BUNDLE.svg]")
@flags("format", "device", "trust")
@job_option("Read options and the [csv] section from a job file of scoreline score.")
@flag("run_date", help="Replace {run_date} in the paths of bundle and input.")
@flag("time_zone")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def calibrate(
    new_bundle: str,
    bundle: str,
    input: str,
    label: tuple[str, ...],
    head: str | None,
    method: Literal["auto", "temperature", "platt"],
    picture: str | None,
    format: str,
    device: str,
    trust: tuple[str, ...],
    job: "JobFile | None",
    as_json: bool,
    **dates: Any,
) -> int:
    """Calibrate a bundle's probabilities on labelled rows, and write the result as NEW_BUNDLE.

    Temperature scaling divides the logits of a multiclass head by one number; Platt scaling fits a slope and an
    intercept to the log-odds of a binary or multilabel head. Labels and their order stay the same; thresholds apply to
    the new probabilities. The table and the picture compare predicted probabilities with observed frequencies, before
    and after. A label is a column or a key in the path (y=1/), and is read as by scoreline evaluate.

    \b
    Examples:
      scoreline calibrate --bundle bundles/wine --input labelled.parquet --label y bundles/wine-calibrated
      scoreline calibrate --bundle b --input labelled.csv --label y --method temperature b2
    """
    from tqdm import tqdm

    from ..pipeline.evaluation.calibrate import calibrate as fit  # here, so that --help stays light
    from ..pipeline.options import ScoreJob
    from .terminal.pictures import reliability_svg, write_picture
    from .terminal.tables import answer

    raise_again()  # a signal that came during the imports
    resolve_run_date(dates)
    bundle, input = (  # noqa: A001 - the option's name
        dated(path, dates["run_date"], option) for path, option in ((bundle, "--bundle"), (input, "--input"))
    )
    score_job = ScoreJob(
        bundle=bundle, input=input, output="", run_id="", csv=dialect_of(job), format=format, device=device, trust=trust
    )
    with tqdm(unit=" rows", unit_scale=True, disable=None, leave=False) as bar:
        report = fit(score_job, label, new_bundle, head=head, method=method, advance=bar.update)
    path = Path(picture or f"{new_bundle.rstrip('/')}.svg")
    curves = reliability_svg(f"Reliability of {bundle}", [("before", report.before), ("after", report.after)])
    try:
        write_picture(path, curves)
    except StorageError as error:
        raise StorageError(f"the bundle {new_bundle!r} was written, but {error}") from error
    answer(_as_json(report, path) if as_json else _shown(report, new_bundle, path))
    return 0


def _shown(report: "CalibrationReport", out: str, picture: Path) -> str:
    from .terminal.tables import table

    before, after = report.before, report.after
    bins = len(before.counts)
    rows = [
        [
            f"{at / bins:.1f} to {(at + 1) / bins:.1f}",
            *(cell for found in (before, after) for cell in _bin(found, at)),
        ]
        for at in range(bins)
    ]
    measures = [
        ["calibration error", f"{before.error:.4f}", f"{after.error:.4f}"],
        ["log loss", f"{before.log_loss:.4f}", f"{after.log_loss:.4f}"],
        ["Brier score", f"{before.brier:.4f}", f"{after.brier:.4f}"],
    ]
    worse = ""
    if after.log_loss > before.log_loss:
        worse = "\n\nthe log loss did not decrease: there are too few rows, or they differ from the training data"
    skipped = f", {report.skipped:,} without a label or a score skipped" if report.skipped else ""
    return (
        table(["probability", "rows", "predicted", "observed", "rows after", "predicted", "observed"], rows)
        + "\n\n"
        + table([f"{counted(report.rows, 'row')}{skipped}", "before", "after"], measures)
        + worse
        + f"\n\n{report.numbers}\nwrote {out} and {picture}\n{report.digest}\nnext: scoreline check --bundle {out}"
    )


def _bin(found: "Reliability", at: int) -> list[str]:
    if not found.counts[at]:
        return ["0", "", ""]
    return [f"{found.counts[at]:,}", f"{found.predicted[at]:.3f}", f"{found.observed[at]:.3f}"]


def _as_json(report: "CalibrationReport", picture: Path) -> str:
    def plain(found: "Reliability") -> dict[str, Any]:
        return {
            "calibration_error": found.error,
            "log_loss": found.log_loss,
            "brier": found.brier,
            "rows": found.counts.tolist(),
            "predicted": found.predicted.tolist(),
            "observed": found.observed.tolist(),
        }

    shown = {"digest": report.digest, "rows": report.rows, "skipped": report.skipped, "fitted": report.numbers}
    return json.dumps(shown | {"before": plain(report.before), "after": plain(report.after), "picture": str(picture)})
