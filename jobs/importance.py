"""`scoreline importance`: which features told the most."""

import json
from pathlib import Path

import click


@click.command(context_settings={"show_default": True})
@click.argument("output", metavar="OUT")
@click.option("--top", type=click.IntRange(min=1), default=20, metavar="N", help="Features to list.")
@click.option("--picture", metavar="FILE.svg", help="Also draw them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all features, instead of a table.")
def importance(output: str, top: int, picture: str | None, as_json: bool) -> int:
    """List the features of an output by what they have added to the scores of its rows.

    Reads what `scoreline score --explain` has written: of each feature the mean size of its attributions, and their
    mean, which says whether it speaks for or against.

    \b
    Examples:
      scoreline importance scored/
      scoreline importance scored/ --picture telling.svg
    """
    from ..pipeline.evaluation.importance import importance as read  # here, so that --help stays light
    from .terminal.pictures import importance_svg, write_picture
    from .terminal.tables import answer, table

    found = read(output)
    shown = found.features[:top]
    if picture is not None:
        title = f"Mean size of attributions ({found.method}, {found.rows:,} rows)"
        write_picture(Path(picture), importance_svg(title, shown))
    if as_json:
        features = [
            {"feature": one.feature, "mean_absolute": one.mean_absolute, "mean": one.mean, "largest": one.largest}
            for one in found.features
        ]
        said = {"method": found.method, "rows": found.rows, "largest_gap": found.largest_gap, "features": features}
        answer(json.dumps(said, indent=1))
        return 0
    if not found.rows:
        answer(f"{found.method}: no row was drawn to be explained; draw more with --explain-rows")
        return 0
    gap = "" if found.largest_gap is None else f"; they sum to the difference in score within {found.largest_gap:.2g}"
    answer(f"{found.method}: {found.rows:,} rows explained{gap}\n")
    rows = [[one.feature, f"{one.mean_absolute:.4g}", f"{one.mean:+.4g}", f"{one.largest:.4g}"] for one in shown]
    answer(table(["feature", "mean size", "mean", "largest"], rows))
    return 0
