"""The accounts of a run: limits on rejects, failed inputs, and totals that add up."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.errors import PartitionError, RowsRejectedError
from scoreline.pipeline.options import RejectBudget, ScoreJob
from scoreline.pipeline.running.ledger import RunClock, open_ledger

from conftest import Example
from planned_runs import ledger, part, partition, plan, rejects

A, B = partition("a.parquet"), partition("b.parquet")
ANY = RejectBudget(count=100)


def test_what_changes_the_last_bits() -> None:
    """The kind of device, the block size, options that are on, and versions."""
    plain = ledger(plan([]), device="cuda:1").made_with()
    assert plain == {"device": "cuda", "batch_rows": "64", "torch": "2.9"}
    assert ledger(plan([]), compile=True).made_with()["compiled"] == "no"
    assert ledger(plan([]), compile=True, compiled=True).made_with()["compiled"] == "yes"
    assert ledger(plan([]), deterministic=True).made_with()["deterministic"] == "on"


class TestRejectBudget:
    """A count is checked at once, a share as soon as the number of rows is known."""

    def test_the_first_reject_is_named(self) -> None:
        """Also if flows report others before it, with its row and column."""
        found = ledger(plan([A]), max_rejects=RejectBudget(count=2))
        for rows in ((), (7, 8)):
            found.reject(rejects(*rows))
        with pytest.raises(RowsRejectedError) as raised:
            found.reject(rejects(1))
        assert str(raised.value) == (
            "a.parquet: row 1: column 'age' is null; 3 rows rejected, 2 allowed; fix the input, or allow more with"
            " --max-rejects (with 100%, scoreline rejects lists them all)"
        )

    def test_a_single_reject(self) -> None:
        """In the singular."""
        found = ledger(plan([A], num_rows=100))
        with pytest.raises(RowsRejectedError, match="; 1 row rejected, 0 allowed; "):
            found.reject(rejects(0))

    def test_an_input_that_cannot_be_read(self) -> None:
        """Is named, too: the message is the last one of the run."""
        found = ledger(plan([A, partition("b.parquet")]))
        found.fail(PartitionError("b.parquet: is empty", partition="b.parquet"))
        with pytest.raises(RowsRejectedError, match=r"; 1 row rejected, 0 allowed, and 1 input cannot be read: b\.par"):
            found.reject(rejects(0))

    def test_a_share_needs_the_number_of_rows(self) -> None:
        """Rounded down: 1% of 199 rows is 1 row."""
        share = RejectBudget(count=None, share=Fraction(1, 100))
        for num_rows in (None, 200):
            ledger(plan([A], num_rows=num_rows), max_rejects=share).reject(rejects(3, 4))
        with pytest.raises(RowsRejectedError, match="2 rows rejected, 1% of 199 rows allowed"):
            ledger(plan([A], num_rows=199), max_rejects=share).reject(rejects(3, 4))

    def test_rejects_of_kept_parts_count(self) -> None:
        """Their rows were not read by this run, so the message names the file of rejects."""
        found = ledger(plan([A]))
        found.keep(A, part("a.parquet", rejected=2))
        with pytest.raises(
            RowsRejectedError, match=r"^2 rows rejected, .* \(the first are in '_rejects/a\.arrow'\); fix"
        ):
            found.reject(rejects())

    def test_rejects_of_a_failed_partition_do_not_count(self) -> None:
        """Those of its current split."""
        found = ledger(plan([A]), max_rejects=RejectBudget(count=2))
        found.reject(rejects(1, 2))
        assert found.fail(PartitionError("a.parquet: broken", partition="a.parquet"), rejected=2)
        found.reject(rejects(3, 4))
        assert found.rejected == 2
        assert not found.fail(PartitionError("a.parquet: again", partition="a.parquet"))
        assert found.errors == {"a.parquet": "a.parquet: broken"}


def test_the_number_of_rows() -> None:
    """Rows to score and rows of kept parts; unknown if a file does not record it."""
    kept = {A: [part("a-00000.parquet", scored=90, rejected=10), part("a-00001.parquet", split=1, scored=5)]}
    assert ledger(plan([A, B], kept=kept, num_rows=40)).num_rows == 145
    assert ledger(plan([A, B], kept=kept, num_rows=None)).num_rows is None


class TestFinalLimits:
    """Every input was read, and the rejects are within the budget."""

    def test_no_problem(self) -> None:
        """Nothing is raised."""
        found = ledger(plan([A]))
        found.publish(A, part("a.parquet"))
        found.check_final_limits()

    @pytest.mark.parametrize(
        ("failed", "text"),
        [([A], "(1 of 2 inputs could not be read; the others are published)"), ([A, B], "(2 of 2 inputs could not")],
    )
    def test_inputs_that_failed(self, failed: list[object], text: str) -> None:
        """The first is named, with the number of all."""
        found = ledger(plan([A, B]))
        for one in (A, B):
            if one in failed:
                found.fail(PartitionError(f"{one.name}: broken", partition=one.name))
        with pytest.raises(PartitionError) as raised:
            found.check_final_limits()
        assert str(raised.value).startswith(f"a.parquet: broken {text}")
        assert ("others" in str(raised.value)) == (len(failed) == 1)
        assert raised.value.partition == "a.parquet"

    def test_a_share_of_all_rows(self) -> None:
        """Those that were read, including kept parts."""
        found = ledger(plan([A]), max_rejects=RejectBudget(count=None, share=Fraction(1, 10)))
        found.keep(A, part("a-00000.parquet", scored=9, rejected=1))
        found.check_final_limits()
        found.keep(A, part("a-00001.parquet", split=1, scored=8, rejected=2))
        with pytest.raises(RowsRejectedError, match="3 rows rejected, 10% of 20 rows allowed"):
            found.check_final_limits()


def test_records_are_in_the_order_of_the_input() -> None:
    """And parts in the order of splits; inputs without an outcome have no record."""
    found = ledger(plan([A, B, partition("c.parquet")]))
    found.fail(PartitionError("b.parquet: broken", partition="b.parquet"))
    found.publish(A, part("a-00001.parquet", split=1, scored=3))
    found.keep(A, part("a-00000.parquet", scored=7, rejected=1, kept=True))
    first, second = found.record().partitions
    assert (first.source, first.error, [one.split for one in first.parts]) == ("a.parquet", None, [0, 1])
    assert (second.source, second.error, second.parts) == ("b.parquet", "b.parquet: broken", [])
    manifest = found.manifest(None)
    assert (manifest.inputs, manifest.inputs_failed, manifest.parts, manifest.parts_kept) == (2, 1, 2, 1)
    assert (manifest.rows_in, manifest.rows_kept, manifest.rows_scored_kept) == (11, 8, 7)


counts = st.tuples(st.integers(0, 99), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=20)
@given(st.lists(counts, max_size=6), st.floats(0, 9))
def test_the_manifest_adds_up(rows: list[tuple[int, int, int]], waited_s: float) -> None:
    """Rows in = scored + rejected; start-up, waits and the rest are the wall time."""
    found = ledger(plan([A, B]))
    for split, (scored, rejected, outside) in enumerate(rows):
        record = part(f"{split}.parquet", split=split, scored=scored, rejected=rejected, out_of_bounds=outside)
        found.publish((A, B)[split % 2], record)
    found.clock.times["forward"].waiting_s = waited_s
    found.startup_s = 0.25
    manifest = found.manifest(None)
    assert manifest.rows_scored == sum(scored for scored, _, _ in rows)
    assert manifest.rows_in == manifest.rows_scored + manifest.rows_rejected
    assert manifest.rows_out_of_bounds == sum(outside for _, _, outside in rows)
    waits = sum(spent.waiting_s for spent in manifest.stages.values())
    assert manifest.startup_s + waits + manifest.other_s == pytest.approx(manifest.wall_s)
    assert list(manifest.stages) == ["discover", "read", "forward"]


def test_the_status_of_a_run() -> None:
    """It is running until it ends; an error is recorded as text."""
    found = ledger(plan([A]))
    assert found.manifest(None, ended=False).status == "running"
    assert found.manifest(None).status == "success"
    failed = found.manifest(ValueError("no room"), ended=False)
    assert (failed.status, failed.error) == ("failed", "no room")
    assert (failed.root, failed.input, failed.options["split_rows"], failed.options["batch_rows"]) == (
        "/in", "/in", 100, 64,
    )  # fmt: skip


def test_a_run_with_nothing_to_score(iris: Example) -> None:
    """Has no device and no golden rows, but the bundle, its heads and the stages of its line."""
    job = ScoreJob(bundle=str(iris.bundle), input="/in", output="/out", run_id="one", dedupe=True, compile=True)
    bundle = open_bundle(str(iris.bundle))
    found = open_ledger(job, plan([A]), bundle, None, RunClock())
    assert (found.device, found.block_rows, found.compiled) == ("none", 0, False)
    assert (found.bundle.digest, found.bundle.golden_rows) == (bundle.digest, None)
    assert found.heads[0].labels == iris.labels
    assert "dedupe" in found.stage_names
    assert found.startup_s >= 0


class TestAccounts:
    """What workers have counted adds up to what one process would have counted."""

    def test_they_are_added(self) -> None:
        """Parts by input, rejects with the first in order, times, and the errors of inputs that had not failed."""
        first, second = ledger(plan([B]), max_rejects=ANY), ledger(plan([A, B]), max_rejects=ANY)
        first.publish(B, part("b.parquet", split=1))
        first.fail(PartitionError("b.parquet: broken", partition="b.parquet"))
        second.reject(rejects(4, 5))
        second.publish(A, part("a.parquet", rejected=2))
        second.publish(B, part("b.parquet"))
        second.fail(PartitionError("b.parquet: also broken", partition="b.parquet"))
        second.clock.times["read"].busy_s = second.clock.times["read"].waiting_s = 4.0
        whole = ledger(plan([A, B], num_rows=100), max_rejects=RejectBudget(count=1))
        errors = [str(error) for one in (first, second) for error in whole.add_accounts(one.accounts(), 0.5)]
        assert errors == ["b.parquet: broken"]
        assert [(one.source, len(one.parts)) for one in whole.record().partitions] == [
            ("a.parquet", 1), ("b.parquet", 2),
        ]  # fmt: skip
        assert (whole.clock.times["read"].busy_s, whole.clock.times["read"].waiting_s) == (4.0, 2.0)
        with pytest.raises(RowsRejectedError, match=r"^a\.parquet: row 4: .*; 2 rows rejected, 1 allowed"):
            whole.check_reject_budget()
