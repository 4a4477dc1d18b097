"""The page: tiles, rejects, stages and the commands to type next."""

import shlex

import pytest
from scoreline.pipeline.reporting.build import make_page
from scoreline.schemas.run import ShardRecord

from reported_runs import entry, facts, manifest, profile


def test_tiles() -> None:
    """With the last run that has scored all rows, and the usual time."""
    found = {tile.label: (tile.value, tile.detail) for tile in make_page(facts()).tiles}
    assert found == {
        "rows scored": ("2,990", "as many as in the last successful run"),
        "rows rejected": ("10", "0.333%, 1% allowed"),
        "inputs": ("3", "0 failed"),
        "wall time": ("10.0 s", "1.0 s of it start-up"),
        "rows a second": ("300", "on cpu"),
        "features drifted": ("1 of 3", "in an input, or over all"),
    }
    earlier = tuple(entry(name, rows_in=2000, rows_rejected=10) for name in "abc")
    more = manifest(rows_in=3000, rows_scored=1000, rows_rejected=2000)
    found = {tile.label: (tile.value, tile.detail) for tile in make_page(facts(manifest=more)).tiles}
    assert found["rows scored"] == ("1,000", "-66.6% from the last successful run")
    found = {tile.label: (tile.value, tile.detail) for tile in make_page(facts(earlier=earlier)).tiles}
    assert found["rows scored"][1] == "+50.3% from the last successful run"
    interrupted = (*earlier, entry("d", rows_in=100, exit_code=143), entry("e", rows_in=None, exit_code=65))
    assert {tile.label: tile.detail for tile in make_page(facts(earlier=interrupted)).tiles}["rows scored"][
        :6
    ] == "+50.3%"
    assert found["wall time"][1] == "usually 10.0 s"


def test_rejects_and_stages() -> None:
    """Reasons with their first rows; the bar of a stage is its share of the wall time."""
    page = make_page(facts())
    (row,) = page.rejects
    assert (row.rows, row.column, row.reason, row.examples) == (
        "10", "age", "is …, not a number", ("1.parquet row 7: x",),
    )  # fmt: skip
    assert [(one.name, one.waited, one.busy, one.bar) for one in page.stages] == [
        ("start-up", "1.00", "", 0.1), ("read", "8.00", "9.00", 0.8), ("other", "1.00", "", 0.1),
    ]  # fmt: skip
    assert make_page(facts(grouped=7)).rejects_note == "reasons of 7 rows, in the inputs with the most rejects"


@pytest.mark.parametrize("output", ["scored", "my outputs/2026-11-27", "it's; rm -rf *", "$(reboot)"])
def test_commands(output: str) -> None:
    """Each can be pasted into a shell, and names the output as it is."""
    lines = [command.line for command in make_page(facts(output=output)).commands]
    words = [shlex.split(line) for line in lines]
    assert [word[:2] for word in words if word[0] == "scoreline"] == [
        ["scoreline", "rejects"], ["scoreline", "verify"], ["scoreline", "runs"],
    ]  # fmt: skip
    assert all(word[2] == output for word in words if word[0] == "scoreline")
    assert [word[-1] for word in words if word[0] == "jq"] == [f"{output}/_scoreline/profile.json"]


def test_no_record_of_a_run() -> None:
    """A run that failed before it scored: the page says why."""
    early = entry("now", exit_code=65, error="column 'x' is missing", rows_in=None)
    page = make_page(facts(manifest=None, profile=None, earlier=(), later=(early,), groups=(), failed=(), problems=()))
    assert (page.headline, page.level) == ("Failed before scoring", "alarm")
    assert page.ended == "2026-11-26 07:00:10 UTC"
    assert page.findings[0].detail == "column 'x' is missing"
    assert (page.tiles, page.features, page.stages) == ((), (), ())


def test_shards() -> None:
    """The rows were scored by the shards, whose times are theirs; those of the manifest are those of finish."""
    shards = [
        ShardRecord(
            shard=f"{number}/2",
            run_id=str(number),
            started="",
            ended="",
            device="cpu",
            rows_in=1500,
            wall_s=60.0 * number,
        )
        for number in (1, 2)
    ]
    page = make_page(facts(manifest=manifest(shards=shards, rows_kept=3000, parts_kept=3, wall_s=9.5)))
    found = {tile.label: (tile.value, tile.detail) for tile in page.tiles}
    assert found["shards"] == ("2", "on cpu")
    assert found["longest shard"] == ("2 min 0 s", "and 9.5 s to finish")
    assert "rows a second" not in found
    assert {fact.name: fact.value for fact in page.facts}["parts"] == "3"
    (accounts,) = [one for one in page.findings if one.title == "Every row is accounted for"]
    assert accounts.detail.startswith("3,000 in = 2,990 scored + 10 rejected, by 2 shards. ")


def test_the_command_for_drift_lists_what_it_is_shown_for() -> None:
    """Columns that have drifted only over all rows, and possible drift, too."""
    known = profile((0.0, 0.0))
    calm = make_page(facts(profile=known))
    assert not any(command.line.startswith("jq") for command in calm.commands)
    column = known.columns[0]
    drifted = column.model_copy(update={"drift": column.drift.model_copy(update={"level": "yellow"})})
    page = make_page(facts(profile=known.model_copy(update={"columns": [drifted, *known.columns[1:]]})))
    (line,) = [command.line for command in page.commands if command.line.startswith("jq")]
    assert 'select(.red > 0 or .drift.level != "none")' in line


def test_a_damaged_output_has_no_time() -> None:
    """Neither a manifest nor a history says when it was made."""
    assert make_page(facts(manifest=None, profile=None, earlier=(), later=())).ended == ""


def test_kept_rows_have_no_speed() -> None:
    """A run that only completed an output read nothing."""
    known = manifest(rows_kept=3000, device="none")
    (tile,) = [one for one in make_page(facts(manifest=known)).tiles if one.label == "rows a second"]
    assert (tile.value, tile.detail) == ("0", "nothing was scored")
