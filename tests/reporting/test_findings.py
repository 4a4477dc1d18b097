"""What the page says of a run: each finding where it applies, the worst first."""

from dataclasses import replace
from typing import Any

import pytest
from scoreline.pipeline.reporting.findings import find, headline
from scoreline.pipeline.reporting.page import LEVELS, Finding
from scoreline.pipeline.reporting.run_facts import RunFacts

from reported_runs import entry, facts, manifest, profile

QUIET: dict[str, Any] = {"failed": (), "problems": ()}


def titles(known: RunFacts) -> dict[str, Finding]:
    """The findings by title."""
    return {one.title: one for one in find(known)}


def test_worst_first() -> None:
    """With the levels in order; the headline names the first."""
    found = find(facts())
    ranks = [LEVELS.index(one.level) for one in found]
    assert ranks == sorted(ranks, reverse=True)
    assert {"alarm", "warning", "ok"} <= {one.level for one in found}


def test_a_calm_run() -> None:
    """Everything is as it should be."""
    known = facts(profile=profile((0.0, 0.0)), **QUIET)
    found = titles(known)
    assert headline(find(known)) == "Completed"
    assert {one.level for one in found.values()} <= {"ok", "note"}
    assert found["Every row is accounted for"].detail.startswith("3,000 in = 2,990 scored + 10 rejected. 256 golden")
    assert "8 comparisons" not in found["The rows are like those of the reference"].detail
    assert found["The rows are like those of the reference"].detail.startswith("12 comparisons of a column")


def test_drift_in_one_input() -> None:
    """Named with its columns, and whether the run before had such rows."""
    known = facts(**QUIET)
    assert known.profile is not None
    (finding,) = [one for one in find(known) if one.level == "alarm" and "1.parquet" in one.title]
    assert finding.title == "1.parquet: drift in 1 of 3 features"
    assert finding.detail.startswith("age ")
    assert finding.detail.endswith("(PSI); unlike all rows of the run before")
    alike = known.profile.worst_partitions[0].model_copy(update={"previous_psi": {"age": 0.01}})
    again = replace(known, profile=known.profile.model_copy(update={"worst_partitions": [alike]}))
    assert titles(again)[finding.title].detail.endswith("(PSI); like all rows of the run before")
    assert headline(find(facts(profile=profile((0.0,) * 9 + (3.0,)), **QUIET))) == (
        "Completed with warnings: input drift in 9.parquet"
    )


def test_more_drift_than_is_recorded() -> None:
    """Of an input with very many columns, only the worst are recorded: the number is a lower bound."""
    known = profile()
    most = known.worst_partitions[0].model_copy(update={"red": 31})
    found = titles(facts(profile=known.model_copy(update={"worst_partitions": [most]}), **QUIET))
    assert "1.parquet: drift in at least 1 of 3 features" in found


def test_drift_in_many_inputs() -> None:
    """Three are named, the others counted, and all rows together."""
    found = titles(facts(profile=profile((3.0,) * 5), **QUIET))
    assert len([title for title in found if ": drift in" in title]) == 3
    assert "Drift in at least 5 inputs in all" in found
    assert "Drift over all inputs together in 1 column" in found


def test_a_failed_run_whose_record_is_damaged() -> None:
    """The history says that it has scored."""
    failed = facts(manifest=None, profile=None, earlier=(), later=(entry("now", exit_code=65, error="one is broken"),))
    assert headline(find(failed)) == "Failed: one is broken"
    assert "The last run failed (exit code 65)" in titles(failed)


def test_failures() -> None:
    """A failed run, one that was killed, and one that failed before it scored."""
    failed = facts(
        manifest=manifest(status="failed", error="3.parquet: cannot be read as Parquet (1 of 3)", inputs_failed=1),
    )
    assert headline(find(failed)) == "Failed: 1 of 3 inputs could not be read"
    assert not [title for title in titles(failed) if "to the end" in title]  # the run's message says it
    interrupted = facts(manifest=manifest(status="failed", error="received SIGTERM"), **QUIET)
    assert headline(find(interrupted)) == "Failed: received SIGTERM"
    assert headline(find(facts(manifest=manifest(status="running"), **QUIET))) == "Failed: not complete"
    early = titles(facts(later=(entry("later", exit_code=65, error="column 'x' is missing", rows_in=None),), **QUIET))
    title = "The last run failed before it scored a row (exit code 65); this page describes the run before"
    assert (early[title].level, early[title].detail) == ("alarm", "column 'x' is missing")
    assert "The last run" not in "".join(titles(facts(later=(entry("later"),), **QUIET)))


def test_rejects() -> None:
    """A warning if their share is more than twice that of the last run that has read all rows; with the input that has
    most of them."""
    usual = titles(facts(**QUIET))["10 rows rejected: 0.333%, 0.333% in the last successful run"]
    assert (usual.level, usual.detail) == ("note", "100% of them in 1.parquet; 1% allowed")
    before = (entry("then", rows_rejected=4), entry("interrupted", rows_in=100, rows_rejected=50, exit_code=143))
    more = titles(facts(earlier=before, **QUIET))["10 rows rejected: 0.333%, 0.133% in the last successful run"]
    assert more.level == "warning"


@pytest.mark.parametrize(
    ("wall_s", "walls", "level"),
    [(40.0, (10.0, 11.0, 90.0), "warning"), (12.0, (10.0, 11.0, 90.0), "ok"), (3.0, (1.0, 1.0, 1.0), "ok")],
)
def test_slower(wall_s: float, walls: tuple[float, ...], level: str) -> None:
    """In comparison with the median of several runs, by row, and by seconds that matter."""
    runs = tuple(entry(f"{number}", wall_s=wall, rows_read=6000) for number, wall in enumerate(walls))
    own = manifest(wall_s=wall_s, rows_in=6000)
    (found,) = [one for one in find(facts(earlier=runs, manifest=own, **QUIET)) if "usual" in one.title]
    assert found.level == level
    assert f"where {walls[1]:.1f} s are usual" in found.title.replace("1.00 s", "1.0 s")


def test_too_few_runs_to_compare() -> None:
    """Two are not enough, nor are runs that failed, had nothing to do, or read far fewer rows."""
    others = [entry("a", exit_code=65), entry("b", rows_read=0), entry("c", rows_read=100), entry("d"), entry("e")]
    known = facts(earlier=tuple(others), manifest=manifest(wall_s=99.0))
    assert not [one for one in find(known) if "usual" in one.title]


def test_what_is_not_measured() -> None:
    """No reference, no profile, parts without one, orphaned parts, ignored files, unreadable records."""
    assert "save it again" in titles(facts(profile=None, **QUIET))["Drift was not measured"].detail
    off = facts(profile=None, manifest=manifest(options={"profile": "off"}), **QUIET)
    assert "--no-profile" in titles(off)["Drift was not measured"].detail
    known = facts()
    assert known.profile is not None
    partly = replace(known, profile=known.profile.model_copy(update={"unprofiled_parts": 1}))
    assert "1 part of earlier runs without a profile" in titles(partly)
    left = titles(facts(manifest=manifest(orphaned_parts=2, ignored=5, first_ignored=list("abcde"))))
    assert left["5 files ignored"].detail == "a, b, c and 2 more files"
    assert "2 parts of inputs that are not part of this run" in left
    assert left["A record of the run cannot be read"].detail == "history.jsonl cannot be read"


def test_labels() -> None:
    """The most frequent label now, in the run before and in the reference; a warning if the run before differs."""
    known = profile((0.0, 0.0))
    city = known.columns[2].model_copy(update={"role": "output", "name": "prediction"})
    found = titles(facts(profile=known.model_copy(update={"columns": [city]}), **QUIET))
    (title,) = [one for one in found if one.startswith("prediction: Bonn for ")]
    assert found[title].level == "ok"
    assert city.previous_drift is not None
    moved = city.model_copy(update={"previous_drift": city.previous_drift.model_copy(update={"level": "yellow"})})
    found = titles(facts(profile=known.model_copy(update={"columns": [moved]}), **QUIET))
    assert found[title].level == "warning"


def test_a_run_without_rows() -> None:
    """Nothing is like the reference, nor unlike it; where no part has a profile, that alone is said."""
    empty = profile((0.0, 0.0)).model_copy(
        update={"sampled": 0, "rows": 0, "worst_partitions": [], "unprofiled_parts": 0}
    )
    found = titles(facts(profile=empty, **QUIET))
    assert found["No rows to compare with the reference"].level == "note"
    assert "The rows are like those of the reference" not in found
    unprofiled = titles(facts(profile=empty.model_copy(update={"unprofiled_parts": 2}), **QUIET))
    assert not {"No rows to compare with the reference", "The rows are like those of the reference"} & set(unprofiled)
