"""`scoreline importance`: lists the most important features of an output."""

import json
from pathlib import Path

import click

from ..pipeline.errors import counted
from .terminal.options import picture_option
from .terminal.paths import PathText


@click.command(context_settings={"show_default": True})
@click.argument("output", metavar="OUT", type=PathText())
@click.option("--top", type=click.IntRange(min=1), default=20, metavar="N", help="Number of features to list.")
@picture_option("Also draw them as a bar chart.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with all features instead of a table.")
def importance(output: str, top: int, picture: str | None, as_json: bool) -> int:
    """List the features of an output by how much they contributed to its scores.

    Reads the attributions that scoreline score --explain has written. For each feature, it shows the mean of their
    absolute values, by which the features are sorted; their mean, whose sign tells whether the feature raises or lowers
    the score; and the largest absolute value.

    \b
    Examples:
      scoreline importance scored/
      scoreline importance scored/ --picture importance.svg
    """
    from ..pipeline.evaluation.importance import importance as read  # here, so that --help stays light
    from .terminal.pictures import importance_svg, write_picture
    from .terminal.tables import answer, table

    found = read(output)
    shown = found.features[:top]
    if picture is not None:
        title = f"Mean absolute attribution ({found.method}, {counted(found.rows, 'row')})"
        write_picture(Path(picture), importance_svg(title, shown))
    if as_json:
        features = [
            {"feature": one.feature, "mean_absolute": one.mean_absolute, "mean": one.mean, "largest": one.largest}
            for one in found.features
        ]
        report = {"method": found.method, "rows": found.rows, "largest_gap": found.largest_gap, "features": features}
        answer(json.dumps(report, indent=1))
        return 0
    if not found.rows:
        answer(f"{found.method}: no row was selected for explanation; use a larger --explain-rows")
        return 0
    gap = "" if found.largest_gap is None else f"; they sum to the difference in score within {found.largest_gap:.2g}"
    answer(f"{found.method}: {counted(found.rows, 'row')} explained{gap}\n")
    cells = [[one.feature, f"{one.mean_absolute:.4g}", f"{one.mean:+.4g}", f"{one.largest:.4g}"] for one in shown]
    answer(table(["feature", "mean absolute", "mean", "largest absolute"], cells))
    return 0
