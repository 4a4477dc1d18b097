"""`scoreline evaluate`: compares an output with the true labels."""

import json
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import UsageError, counted
from .terminal.paths import PathText

if TYPE_CHECKING:
    from ..pipeline.evaluation.evaluators import Evaluation
    from ..pipeline.evaluation.metrics import ClassMetrics

MOST_SHOWN = 20


@click.command()
@click.argument("output", metavar="OUT", type=PathText())
@click.option(
    "--label",
    multiple=True,
    required=True,
    metavar="COLUMN",
    help="Column of the true label: a key of OUT, or a column of --labels. Repeat it, in order, for several labels or"
    " targets.",
)
@click.option("--labels", type=PathText(), metavar="FILE", help="Read --label from this Parquet or CSV file.")
@click.option("--on", metavar="KEY", help="Key column that joins OUT and --labels.")
@click.option("--head", metavar="NAME", help="Head to evaluate, if the bundle has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def evaluate(
    output: str, label: tuple[str, ...], labels: str | None, on: str | None, head: str | None, as_json: bool
) -> int:
    """Evaluate the predictions of a finished run against the true labels.

    For classes: accuracy, log loss, AUC, Brier score, F1 of each label, the confusion matrix. For regression: MAE,
    RMSE, R²; for quantiles, pinball loss and coverage. Where a regression flags rows above a threshold, the labels are
    yes or no (1, 0), and the measures those of two classes. The numbers equal scikit-learn's on the same rows. Rows
    without a label (null, NaN, or an empty text that is not a label of the bundle) are counted and skipped; any other
    value that is not a label is refused. Keys are compared exactly: text does not join with numbers, nor a naive time
    with a zoned one; the cells of a CSV are read in the type of the output's key. --label and --on can also be keys in
    OUT's path (y=1/).

    \b
    Examples:
      scoreline evaluate scored/ --label y
      scoreline evaluate scored/ --label y --labels truth.parquet --on customer_id
      scoreline evaluate scored/ --label x --label y --json  # two targets, in the bundle's order
    """
    from tqdm import tqdm

    from ..pipeline.evaluation.evaluate import evaluate as evaluate_output  # here, so that --help stays light
    from ..pipeline.evaluation.label_file import LabelFile
    from ..pipeline.evaluation.measures import measures
    from .terminal.tables import answer

    if (labels is None) != (on is None):
        raise UsageError("--labels FILE and --on KEY must be used together")
    joined = None if labels is None or on is None else LabelFile(path=labels, on=on)
    with tqdm(unit=" rows", unit_scale=True, disable=None, leave=False) as bar:
        found = evaluate_output(output, label, head=head, joined=joined, advance=bar.update)
    answer(json.dumps(measures(found), indent=1) if as_json else _shown(found))
    return 0


def _shown(found: "Evaluation") -> str:
    from .terminal.tables import table

    skipped = f", {found.unlabelled:,} without a label skipped" if found.unlabelled else ""
    lines = [f"{found.head.task}: {counted(found.rows, found.unit)}{skipped}", ""]
    if found.classes is not None:
        lines += _class_tables(found.classes, [_readable(name) for name in found.names])
    if found.labels:
        lines += [
            f"all labels right in {found.exact_rows / max(1, found.rows):.4f} of the rows",
            "",
            table(
                ["label", "positive", "accuracy", "F1", "AUC", "log loss", "Brier"],
                [
                    [
                        _readable(name),
                        f"{int(m.confusion[1].sum()):,}",
                        f"{m.accuracy:.4f}",
                        f"{m.f1[1]:.4f}",
                        *_probable(m),
                    ]
                    for name, m in found.labels.items()
                ],
            ),
        ]
    if found.targets:
        rows = [[n, f"{m.mae:.6g}", f"{m.rmse:.6g}", f"{m.r2:.4f}", f"{m.bias:.4g}"] for n, m in found.targets.items()]
        lines.append(table(["prediction", "MAE", "RMSE", "R²", "bias"], rows))
    if found.quantiles:
        rows = [[n, f"{m.quantile:g}", f"{m.coverage:.4f}", f"{m.pinball:.6g}"] for n, m in found.quantiles.items()]
        lines.append(table(["column", "quantile", "coverage", "pinball loss"], rows))
    return "\n".join(lines)


def _readable(label: str) -> str:
    """A label in a table: in quotes where it would be blank or look like another."""
    return label if label and label == label.strip() else repr(label)


def _probable(metrics: "ClassMetrics") -> list[str]:
    aucs = metrics.aucs()
    if not aucs or metrics.log_loss is None or metrics.brier is None:
        return ["", "", ""]
    return [f"{aucs[0].value:.4f}", f"{metrics.log_loss:.4f}", f"{metrics.brier:.4f}"]


def _class_tables(metrics: "ClassMetrics", labels: list[str]) -> list[str]:
    from ..pipeline.evaluation.metrics import macro
    from .terminal.tables import table

    aucs = metrics.aucs()
    rows = [["accuracy", f"{metrics.accuracy:.4f}"], ["F1, mean of the labels that occur", f"{metrics.f1_macro:.4f}"]]
    if aucs:
        bound = max(auc.bound for auc in aucs)
        within = f" (within {bound:.1g})" if bound else ""
        name = "AUC" if len(aucs) == 1 else "AUC, one against the rest"
        rows.append([name, f"{macro([auc.value for auc in aucs]):.4f}{within}"])
    if metrics.log_loss is not None and metrics.brier is not None:
        rows += [["log loss", f"{metrics.log_loss:.4f}"], ["Brier score", f"{metrics.brier:.4f}"]]
    lines = [table(["measure", "value"], rows), ""]
    counts = metrics.confusion
    by_auc = ["", f"{aucs[0].value:.4f}"] if len(aucs) == 1 else [f"{auc.value:.4f}" for auc in aucs]
    shown = [
        [
            label,
            f"{int(counts[at].sum()):,}",
            f"{int(counts[:, at].sum()):,}",
            f"{counts[at, at] / max(1, counts[:, at].sum()):.4f}",
            f"{counts[at, at] / max(1, counts[at].sum()):.4f}",
            f"{metrics.f1[at]:.4f}",
            by_auc[at] if by_auc else "",
        ]
        for at, label in enumerate(labels[:MOST_SHOWN])
    ]
    lines.append(table(["label", "actual", "predicted", "precision", "recall", "F1", "AUC"], shown))
    if len(labels) <= MOST_SHOWN:
        matrix = [[label, *(f"{count:,}" for count in counts[at].tolist())] for at, label in enumerate(labels)]
        lines += ["", table(["actual \\ predicted", *labels], matrix)]
    else:
        lines.append(f"and {counted(len(labels) - MOST_SHOWN, 'more label')}; pass --json for all of them")
    return lines
