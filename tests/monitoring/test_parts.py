"""The parts of an output: in order, with the numbers of their rows."""

from scoreline.pipeline.monitoring.parts import output_parts

from planned_runs import ledger, part, partition, plan


def test_parts_by_input_and_split() -> None:
    """Each begins where the one before it in its input ends."""
    small, large = partition("a.parquet"), partition("b.csv")
    records = [part("b-00001.parquet", split=1, scored=7), part("b-00000.parquet", scored=8, rejected=2, last=False)]
    found = ledger(plan([small, large]))
    found.publish(small, part("a.parquet"))
    for record in records:
        found.publish(large, record)
    parts = list(output_parts(found.record()))
    assert [(one.source, one.target, one.split, one.first_row) for one in parts] == [
        ("a.parquet", "a.parquet", 0, 0), ("b.csv", "b-00000.parquet", 0, 0), ("b.csv", "b-00001.parquet", 1, 10),
    ]  # fmt: skip
    assert [(one.rows_in, one.rows_scored, one.rows_rejected, one.rejects) for one in parts[1:]] == [
        (10, 8, 2, "_rejects/b-00000.arrow"), (7, 7, 0, None),
    ]  # fmt: skip
