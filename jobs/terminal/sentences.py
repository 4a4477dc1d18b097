"""Events that people read on a terminal as sentences. In JSON they are fields."""

from collections.abc import Callable, Mapping
from typing import Any

from ...pipeline.errors import counted

Data = Mapping[str, Any]
#: Characters of a digest.
DIGEST_CHARACTERS = 19


def run_started(data: Data) -> str:
    """What the run will do."""
    to_score = sum(data["to_score"].values())
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in data["to_score"].items())
    rows = "" if data["rows"] is None else f", {counted(data['rows'], 'row')}"
    todo = f"{counted(to_score, 'split')} to score ({reasons}){rows}" if to_score else "nothing to score"
    kept = f"; {counted(data['kept'], 'split')} up to date" if data["kept"] else ""
    ignored = f"; {counted(data['ignored'], 'file')} ignored" if data["ignored"] else ""
    return (
        f"{counted(data['partitions'], 'input')} in {data['input']}: {todo}{kept}{ignored};"
        f" {counted(data['cores'], 'core')}, limited by {data['cores_limited_by']}"
    )


def bundle_loaded(data: Data) -> str:
    """What scores, and how closely it reproduces the golden rows."""
    cards = f" ({', '.join(data['cards'])})" if data["cards"] else ""
    source = "the trained model" if data["golden_source"] == "model" else "the expected predictions"
    compiled = ", compiled" if data["compiled"] else ""
    return (
        f"bundle {data['bundle']} ({data['digest'][:DIGEST_CHARACTERS]}…) on {data['device']}{cards}{compiled}:"
        f" {counted(data['golden_rows'], 'golden row')} of {source} reproduced within"
        f" {data['golden_largest_difference']:.2g}; blocks of {counted(data['batch_rows'], 'row')}"
    )


def part_columns_differ(data: Data) -> str:
    """The first difference, and what it means."""
    return f"{data['difference']}: {data['reason']}"


def split_published(data: Data) -> str:
    """Its rows; they are those of a file, unless it has several splits."""
    split = f", split {data['split']:,}" if data["split"] or not data["last"] else ""
    return f"{data['partition']}{split}: {_rows(data)}"


def partition_failed(data: Data) -> str:
    """The reason, which begins with the name of the file."""
    return str(data["reason"])


def run_ended(data: Data) -> str:
    """The rows of the output; the table of the stages follows."""
    return f"the output is complete: {_rows(data)}"


def run_failed(data: Data) -> str:
    """What remains; the error follows."""
    return f"the run has failed after {data['seconds']:,.1f} s; the parts that it has published are kept: {_rows(data)}"


def nothing_to_do(data: Data) -> str:
    """What the output has."""
    return f"the output is complete and up to date: {_rows(data)}"


def _rows(data: Data) -> str:
    rejected = f", {data['rejected']:,} rejected" if data["rejected"] else ""
    return f"{counted(data['rows'] - data['rejected'], 'row')} scored{rejected}"


#: By the name of the event.
SENTENCES: Mapping[str, Callable[[Data], str]] = {
    one.__name__: one
    for one in (
        run_started,
        bundle_loaded,
        part_columns_differ,
        split_published,
        partition_failed,
        run_ended,
        run_failed,
        nothing_to_do,
    )
}
