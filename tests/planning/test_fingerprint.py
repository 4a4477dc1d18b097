"""The fingerprint of a part: its input, rows, bundle, and the options that are on. `test_option_table.py` has every
option of the table."""

import json
from fractions import Fraction
from typing import Any

import pytest
from scoreline.pipeline.options import ColumnOptions, CsvDialect, Explain, ScoreJob
from scoreline.pipeline.planning.fingerprint import (
    Fingerprints,
    dialect_of,
    dialect_option,
    options_of,
    recorded_options,
)
from scoreline.pipeline.records import Partition

from receipts import DIGEST, fingerprint_of

PARQUET = Partition(path="/data/a/b.parquet", name="a/b.parquet", size=10, mtime_ns=20, format="parquet", inode=5)
CSV = Partition(path="/data/b.csv", name="b.csv", size=10, mtime_ns=20, format="csv")
SEMICOLON = CsvDialect(delimiter=";", nulls=("NA", "-"))


def job(**changes: Any) -> ScoreJob:
    return ScoreJob(**{"bundle": "b", "input": "i", "output": "o", "run_id": "r", **changes})


def test_what_it_consists_of() -> None:
    """The name, size and time of the input, the first row and the bundle; not where the input is."""
    found = Fingerprints(DIGEST, job(run_id="another", output="elsewhere", bundle="moved")).of(PARQUET, 4096)
    expected = fingerprint_of(source="a/b.parquet", size=10, mtime_ns=20, first_row=4096, options={})
    assert found == expected


def test_optional_stages() -> None:
    """By their names, if they are on and change values; dedupe changes none."""
    columns = ColumnOptions(hidden=("fc1",), explain=Explain(method="lime", share=Fraction(1, 4)))
    assert options_of(job(columns=columns, dedupe=True), "parquet") == {
        "hidden": '["fc1"]', "explain": "lime 1/4 of rows",
    }  # fmt: skip


def test_the_dialect_matters_for_csv_files_alone() -> None:
    """Only the fields that differ from the default."""
    assert options_of(job(csv=SEMICOLON), "parquet") == {}
    assert json.loads(options_of(job(csv=SEMICOLON), "csv")["csv"]) == {"delimiter": ";", "nulls": ["NA", "-"]}
    assert options_of(job(csv=CsvDialect()), "csv") == {}


@pytest.mark.parametrize(
    "dialect",
    [
        CsvDialect(),
        SEMICOLON,
        CsvDialect(quote="", escape="\\", decimal=",", encoding="latin-1"),
        CsvDialect(columns=("ä", "b;c")),
        CsvDialect(columns=()),
    ],
)
def test_the_dialect_is_read_back(dialect: CsvDialect) -> None:
    """From the fingerprint of a part."""
    option = dialect_option(dialect)
    assert (option is None) == (dialect == CsvDialect())
    assert dialect_of(fingerprint_of(options={} if option is None else {"csv": option})) == dialect


def test_equal_dialects_are_written_equally() -> None:
    """In the order of the fields' names, however they were given."""
    assert dialect_option(CsvDialect(quote="'", decimal=",")) == '{"decimal": ",", "quote": "\'"}'


def test_recorded_options() -> None:
    """run.json has the seed, explanations and dialect of a run as well."""
    columns = ColumnOptions(explain=Explain(method="shapley", target="yes"))
    found = recorded_options(job(seed=7, csv=SEMICOLON, columns=columns))
    assert (found["seed"], found["explain"]) == (7, "shapley for yes")
    assert found["csv"] == '{"delimiter": ";", "nulls": ["NA", "-"]}'
