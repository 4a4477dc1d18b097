"""How tables are named as inputs."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.errors import UsageError
from scoreline.pipeline.inputs.tables.uris import TableUri, absolute_input, parse_table


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("data/", None),
        ("./delta+x", None),
        ("parquet+x", None),
        ("delta", None),
        ("delta+data/sales", TableUri("delta", "data/sales", None)),
        ("delta+s3://bucket/sales@7", TableUri("delta", "s3://bucket/sales", 7)),
        ("delta+/data/sales@7/", TableUri("delta", "/data/sales@7/", None)),
        ("delta+/data/a@1/sales", TableUri("delta", "/data/a@1/sales", None)),
        ("delta+/data/me@home@0", TableUri("delta", "/data/me@home", 0)),
        ("iceberg+sales.daily", TableUri("iceberg", "sales.daily", None, "default")),
        ("iceberg+prod:eu.sales.daily@42", TableUri("iceberg", "eu.sales.daily", 42, "prod")),
    ],
)
def test_names(where: str, expected: TableUri | None) -> None:
    """With a version or without; everything else is a path."""
    assert parse_table(where) == expected


@pytest.mark.parametrize(
    "where",
    [
        "delta+",
        "delta+@7",
        "iceberg+sales",
        "iceberg+",
        "iceberg+a.b@latest",
        "iceberg+a:b:c.d",
        "iceberg+a.",
        "iceberg+:a.b",
    ],
)
def test_invalid_names(where: str) -> None:
    """The message shows the forms."""
    with pytest.raises(UsageError, match=rf"use {where.partition('+')[0]}\+"):
        parse_table(where)


@given(
    steps=st.lists(st.sampled_from(["a", "b c", "x@7", "@", "d=é", "+"]), min_size=1, max_size=4),
    end=st.sampled_from(["", "/", "@0", "@12"]),
)
def test_any_path_becomes_absolute(steps: list[str], end: str) -> None:
    """And names the same table at the same version."""
    where = f"delta+{'/'.join(steps)}{end}"
    table, absolute = parse_table(where), parse_table(absolute_input(where))
    assert table is not None
    assert absolute is not None
    assert absolute.version == table.version
    assert absolute.name.rstrip("/") == os.path.abspath(table.name)  # noqa: PTH100 - as text
    assert absolute_input(absolute_input(where)) == absolute_input(where)


def test_what_is_absolute_already() -> None:
    """Is unchanged."""
    for where in ("iceberg+prod:a.b@7", "delta+s3://bucket/table@7", "delta+/data/t", "s3://bucket/in/"):
        assert absolute_input(where) == where
