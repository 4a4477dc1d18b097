"""Feature engineering as SQL expressions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from ..inputs import MAX_SQL
from .values import Spec, shown


def sql_texts(value: Any) -> dict[str, str]:
    """The SQL texts by feature. Raises ValueError for anything else."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f'{shown(value)} does not map features to SQL, such as {{"hour": "hour(ts)"}}')
    for name, text in value.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{shown(name)} is not the name of a feature")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name}: {shown(text)} is not SQL, such as 'hour(ts)'")
        if len(text) > MAX_SQL:
            raise ValueError(f"{name}: the SQL has {len(text):,} characters; the limit is {MAX_SQL:,}")
    return dict(value)


@dataclass(frozen=True)
class Expressions(Spec):
    """Features that SQL computes from the raw columns of a row, before any transformer. DuckDB evaluates them, in
    training and in scoring alike.

        Expressions({"hour": "hour(ts)", "amount_log": "ln(amount + 1)", "city": "lower(trim(city))"})

    Args:
        sql: a SQL expression for each feature, over the columns of the file: numbers, text, dates, times, timestamps,
            decimals, lists and structs. It returns a number, a boolean or text. An expression always reads the columns
            of the file, never the result of another expression.
    """

    sql: Annotated[Mapping[str, str], BeforeValidator(sql_texts)]
