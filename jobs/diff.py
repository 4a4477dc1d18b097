"""`scoreline diff`: compares the predictions of two outputs."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..pipeline.errors import DataError, UsageError, counted
from ..pipeline.options import RejectBudget
from ..pipeline.planning.option_values import reject_budget
from .terminal.options import Parsed, picture_option

if TYPE_CHECKING:
    from ..pipeline.monitoring.changes import ChangeHistogram, Changes, Mover
    from ..pipeline.monitoring.diff import Difference

#: Labels of a table of all pairs; with more, only the most frequent pairs are listed.
MOST_LABELS = 12
#: Rows of every table.
MOST_SHOWN = 20
_BARS = " ▁▂▃▄▅▆▇█"


@click.command(context_settings={"show_default": True})
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--on", metavar="KEY", help="Align rows by this key column, not by input and row number.")
@click.option("--head", metavar="NAME", help="Head to compare, if the bundles have several.")
@click.option(
    "--label",
    multiple=True,
    metavar="COLUMN",
    help="Also evaluate both against the true labels in this key column; repeat it as for scoreline evaluate.",
)
@click.option(
    "--max-flips",
    type=Parsed(reject_budget, "max_flips"),
    metavar="100|1%",
    help="End with 65 if more rows have another label.",
)
@click.option(
    "--movers", type=click.IntRange(min=0), default=10, metavar="N", help="Number of largest changes to list."
)
@picture_option("Also draw the changes as histograms.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def diff(
    first: str,
    second: str,
    on: str | None,
    head: str | None,
    label: tuple[str, ...],
    max_flips: RejectBudget | None,
    **shown: Any,
) -> int:
    """Compare the predictions of two outputs: how they moved from A to B.

    Shows the rows whose label is another one, the changes of probabilities or numbers (B minus A), the inputs that
    changed most, and the largest movers. Rows are aligned by input and row number, across rejects and other split
    sizes; with --on, by a key column.

    \b
    Examples:
      scoreline diff scored/champion scored/challenger
      scoreline diff scored/2026-11-23 scored/2026-11-24 --on customer_id
      scoreline diff champion/ challenger/ --label y --max-flips 1%
    """
    from tqdm import tqdm

    from ..pipeline.monitoring.diff import compare  # here, so that --help stays light
    from .terminal.pictures import changes_svg, write_picture
    from .terminal.tables import answer

    with tqdm(unit=" rows", unit_scale=True, disable=None, leave=False) as bar:
        found = compare(first, second, on=on, head=head, num_movers=shown["movers"], advance=bar.update)
        measured = [dict(_evaluated(output, label, head)) for output in (first, second)] if label else None
    changes = found.changes
    if max_flips is not None and not changes.columns.labels:
        raise UsageError(f"--max-flips is for tasks with labels, not for a {found.task}; leave it out")
    if shown["picture"] is not None:
        write_picture(Path(shown["picture"]), changes_svg(f"Changes from {first} to {second}", changes.numbers))
    if shown["as_json"]:
        answer(json.dumps(_plain(found, measured), indent=1, default=str))
    else:
        answer("\n".join(_tables(found, (first, second), measured)))
    if max_flips is not None and changes.flipped > max_flips.allowed(changes.rows):
        raise DataError(
            f"{counted(changes.flipped, 'row')} of {changes.rows:,} have another label ({_share(changes)}), {max_flips}"
            " allowed; look at the changes, or allow more with --max-flips"
        )
    return 0


def _evaluated(output: str, labels: Sequence[str], head: str | None) -> Iterator[tuple[str, float]]:
    from ..pipeline.evaluation.evaluate import evaluate
    from ..pipeline.evaluation.measures import measures, single_numbers

    return single_numbers(measures(evaluate(output, labels, head=head)))


def _share(changes: "Changes") -> str:
    return f"{changes.flipped / max(1, changes.rows):.2%}"


def _plain(found: "Difference", measured: list[dict[str, float]] | None) -> dict[str, Any]:
    changes, unmatched = found.changes, found.unmatched
    return {
        "task": found.task,
        "bundles": found.bundles,
        "rows": changes.rows,
        "only_in_first": {"rows": unmatched.first_rows, "inputs": unmatched.first_sources},
        "only_in_second": {"rows": unmatched.second_rows, "inputs": unmatched.second_sources},
        "flipped": changes.flipped if changes.columns.labels else None,
        "labels": {
            name: [{"first": one, "second": other, "rows": rows} for (one, other), rows in pairs.most_common()]
            for name, pairs in changes.pairs.items()
        },
        "numbers": [
            {
                "column": one.name,
                "rows": one.rows,
                "unchanged": one.unchanged,
                "mean": one.mean,
                "mean_absolute": one.mean_absolute,
                "largest": one.largest,
                "histogram": {
                    "from": -one.histogram.reach,
                    "to": one.histogram.reach,
                    "rows": one.histogram.counts.tolist(),
                },
            }
            for one in changes.numbers
        ],
        "inputs": [
            {"source": source, "rows": one.rows, "flipped": one.flipped, "mean_change": one.total / max(1, one.rows)}
            for source, one in changes.by_source.items()
        ],
        "movers": [_mover(one) for one in changes.movers],
        "evaluation": None if measured is None else {"first": measured[0], "second": measured[1]},
    }


def _mover(one: "Mover") -> dict[str, Any]:
    return {
        "source": one.source, "row_or_key": one.where, "column": one.column, "first": one.first, "second": one.second,
        "change": one.change, "first_label": one.before, "second_label": one.after,
    }  # fmt: skip


def _tables(found: "Difference", names: tuple[str, str], measured: list[dict[str, float]] | None) -> Iterator[str]:
    from .terminal.tables import table

    changes, unmatched = found.changes, found.unmatched
    yield f"{counted(changes.rows, 'row')} in both"
    for name, number, sources in (
        (names[0], unmatched.first_rows, unmatched.first_sources),
        (names[1], unmatched.second_rows, unmatched.second_sources),
    ):
        if number:
            inputs = f", of which {counted(len(sources), 'whole input')}" if sources else ""
            yield f"{counted(number, 'row')} only in {name}{inputs}"
    if changes.columns.labels:
        yield f"{counted(changes.flipped, 'row')} with another label ({_share(changes)})"
    yield from chain(_label_tables(changes), _number_table(changes), _source_table(changes), _mover_table(changes))
    if measured is not None:
        rows = [
            [name, f"{one:.6g}", f"{other:.6g}", f"{other - one:+.3g}"]
            for name, one in measured[0].items()
            if (other := measured[1].get(name)) is not None
        ]
        yield "\n" + table(["measure", "A", "B", "B − A"], rows)


def _label_tables(changes: "Changes") -> Iterator[str]:
    """All pairs of labels as a matrix, or the most frequent pairs of different ones."""
    from .terminal.tables import table

    for name, pairs in changes.pairs.items():
        labels = list(dict.fromkeys(label for pair in pairs for label in pair))
        if len(labels) <= MOST_LABELS:
            labels.sort(key=str)
            rows = [[str(one), *(f"{pairs[one, other]:,}" for other in labels)] for one in labels]
            yield f"\n{name}\n" + table(["A \\ B", *map(str, labels)], rows)
            continue
        flips = [(pair, rows) for pair, rows in pairs.most_common() if pair[0] != pair[1]]
        rows = [[str(one), str(other), f"{number:,}"] for (one, other), number in flips[:MOST_SHOWN]]
        yield f"\n{name}\n" + table(["A", "B", "rows"], rows)


def _number_table(changes: "Changes") -> Iterator[str]:
    from .terminal.tables import table

    moved = sorted(changes.numbers, key=lambda one: -one.mean_absolute)[:MOST_SHOWN]
    rows = [
        [
            one.name, f"{one.mean:+.3g}", f"{one.mean_absolute:.3g}", f"{one.largest:+.3g}",
            f"{one.unchanged / max(1, one.rows):.1%}", f"±{one.histogram.reach:g}", _bars(one.histogram),
        ]
        for one in moved
    ]  # fmt: skip
    if rows:
        header = ["column", "mean change", "mean absolute", "largest", "unchanged", "from … to", "changes"]
        yield "\n" + table(header, rows)


def _bars(histogram: "ChangeHistogram") -> str:
    """The histogram as text: pairs of bins, from the lowest to the highest change."""
    pairs = histogram.counts.reshape(-1, 2).sum(axis=1)
    highest = max(1, int(pairs.max()))
    return "".join(_BARS[-(-int(count) * (len(_BARS) - 1) // highest)] for count in pairs)


def _source_table(changes: "Changes") -> Iterator[str]:
    from .terminal.tables import table

    if len(changes.by_source) < 2:
        return
    sources = [
        (source, one, one.flipped / max(1, one.rows), one.total / max(1, one.rows))
        for source, one in changes.by_source.items()
    ]
    sources.sort(key=lambda found: (-found[2], -found[3]))
    rows = [
        [source, f"{one.rows:,}", f"{flipped:.2%}", f"{moved:.3g}"]
        for source, one, flipped, moved in sources[:MOST_SHOWN]
    ]
    yield "\n" + table(["input", "rows", "other label", "mean absolute"], rows)
    if len(sources) > MOST_SHOWN:
        yield f"and {counted(len(sources) - MOST_SHOWN, 'more input')}; pass --json for all"


def _mover_table(changes: "Changes") -> Iterator[str]:
    from .terminal.tables import table

    rows = [
        [
            one.source, str(one.where), one.column, f"{one.first:.4g}", f"{one.second:.4g}", f"{one.change:+.3g}",
            one.before or "", one.after or "",
        ]
        for one in changes.movers
    ]  # fmt: skip
    if rows:
        yield "\n" + table(["input", "row or key", "column", "A", "B", "change", "label A", "label B"], rows)
