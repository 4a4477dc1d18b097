"""What expressions may contain, judged by the parsed tree."""

from functools import cache

import pytest

duckdb = pytest.importorskip("duckdb")

from scoreline.pipeline.features.expressions.duckdb_connection import connect  # noqa: E402
from scoreline.pipeline.features.expressions.judge import Judged, judge  # noqa: E402
from scoreline.pipeline.features.expressions.sizes import FIXED, OF_ROW  # noqa: E402
from scoreline.pipeline.features.expressions.tree import RefusedError  # noqa: E402

COLUMNS = {**dict.fromkeys(["ts", "amount", "k", "id", "ID"], FIXED), **dict.fromkeys(["city", "l", "s"], OF_ROW)}


#: One connection for all tests: to open it takes longer than to judge.
shared_connection = cache(connect)


def judged(sql: str) -> Judged:
    """Judge over `COLUMNS`."""
    return judge(shared_connection(), sql, COLUMNS)


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("hour(ts)", "ts"),
        ("ln(amount + 1)", "amount"),
        ("lower(trim(city))", "city"),
        ("CASE WHEN amount > k THEN 1 ELSE 0 END", "amount k"),
        ("CASE city WHEN 'a' THEN 1 END", "city"),
        ("[x * 2 for x in l]", "l"),
        ("len([x for x in l if x > k])", "l k"),
        ("list_transform(l, lambda x: x + 1)[1]", "l"),
        ("list_filter(l, x -> x IS NOT NULL)", "l"),
        ("s.a.b", "s"),
        ("s['a']", "s"),
        ("l[1:2]", "l"),
        ("date_diff('day', ts, TIMESTAMP '2020-01-01')", "ts"),
        ("extract(dow FROM ts)", "ts"),
        ("ts AT TIME ZONE 'Europe/Berlin'", "ts"),
        ("age(ts, TIMESTAMP '2020-01-01')", "ts"),
        ("hour(ts - INTERVAL 3 HOURS)", "ts"),
        ("strftime(ts, '%Y-%m')", "ts"),
        ("regexp_extract(city, '([a-z]+)', 1)", "city"),
        ("city LIKE 'B%' OR city NOT IN ('a', 'b')", "city"),
        ("coalesce(nullif(trim(city), ''), 'none')", "city"),
        ("lpad(city, 8, '0') || '-' || amount::VARCHAR", "city amount"),
        ("try_cast(city AS DECIMAL(10, 2))", "city"),
        ("TRY(city::INT)", "city"),
        ("amount BETWEEN 1 AND 2 AND NOT k IS NULL", "amount k"),
        ('"city" -- a comment', "city"),
        ("CITY", "city"),
        ("ID", "ID"),
        ("s->>'$.a'", "s"),
    ],
)
def test_allowed(sql: str, columns: str) -> None:
    """Usual features of a row, with the columns that they read in order."""
    assert judged(sql).columns == tuple(columns.split())


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("sum(amount)", "calls sum, which is an aggregate: it mixes rows"),
        ("count(*)", "aggregate"),
        ("first(amount)", "aggregate"),
        ("sum(amount) OVER ()", "window function"),
        ("row_number() OVER (ORDER BY ts)", "window function"),
        ("(SELECT 1)", "subquery"),
        ("EXISTS (SELECT 1)", "subquery"),
        ("amount = ANY([1, 2])", "subquery"),
        ("*", "star"),
        ("COLUMNS('a.*')", "star"),
        ("$1", "parameter"),
        ("?", "parameter"),
        ("#1", "by its position"),
        ("DEFAULT", "DEFAULT"),
        ("unnest(l)", "not on the list"),
        ("grouping(amount)", "GROUPING_FUNCTION"),
        ("city COLLATE nocase", "collation"),
        ("lambda x: x", "lambda"),
        ("random()", "random"),
        ("uuid()", "random"),
        ("now()", "clock"),
        ("current_date", "clock"),
        ("age(ts)", "clock"),
        ("1 + 1", "reads no column"),
        ("nothing", "not a column of the sample"),
        ("Id", "match the case"),
        ("error(city)", "not on the list"),
        ("hash(city)", "not on the list"),
        ("my_macro(city)", "not on the list"),
        ("city::my_type", "casts to my_type"),
        ("city::JSON", "casts to JSON"),
        ("main.lower(city)", "calls main.lower"),
        ("city.lower()", "write the call without a dot"),
        ("lower(city) FILTER (WHERE amount > 1)", "filter"),
        ("list(city ORDER BY ts)", "ORDER BY"),
        ("amount AS x", "cannot be parsed"),
        ("amount LIMIT 1", "cannot be parsed"),
        ("amount UNION SELECT 1", "cannot be parsed"),
    ],
)
def test_not_of_one_row(sql: str, reason: str) -> None:
    """Constructs that mix rows, or whose value does not depend on the row alone."""
    with pytest.raises(RefusedError, match=reason.replace("(", r"\(")):
        judged(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "read_text('/etc/passwd')",
        "read_csv('/etc/passwd')",
        "(SELECT content FROM read_text('/etc/passwd'))",
        "amount) FROM read_csv('/etc/passwd'",
        "amount) FROM (SELECT 1",
        "amount) AS x, (k",
        "amount; DROP TABLE x",
        "amount); INSTALL httpfs; SELECT (1",
        "''; COPY x TO '/tmp/y'",
        "1); ATTACH '/tmp/x.db'; SELECT (1",
        "getenv('HOME')",
        "current_setting('threads')",
        "getvariable('x')",
        "nextval('s')",
        "query('SELECT 1')",
        "version()",
        "current_user",
        "txid_current()",
        "sleep_ms(1000)",
        "write_log(city)",
        "setseed(0.5)",
        "amount /* not closed",
        "'not closed",
        '"not closed',
        "amount)",
        "(amount",
        "",
        "-- nothing",
        "amount\x00",
    ],
)
def test_hostile(sql: str) -> None:
    """Access to files, settings and the session, and texts that would continue the statement around them."""
    with pytest.raises(RefusedError):
        judged(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "repeat(city, 1000000000)",
        "repeat(city, k)",
        "range(k)",
        "range(1000000000)",
        "generate_series(1, 1000000000)",
        "lpad(city, 1000000000, 'x')",
        "rpad(city, k, 'x')",
        "list_resize(l, 1000000000)",
        "list_reduce(l, (a, b) -> a || b)",
        "list_transform(l, x -> list_transform(l, y -> x + y))",
        "[[[y for y in range(1000)] for z in range(1000)] for x in range(1000)]",
        "[city for x in l]",
        "[repeat('x', 100) for x in repeat(l, 100)]",
        "replace(replace(replace(city, 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa'), 'a', 'aaaaaaaaaa')",
        "replace(city, 'a', city)",
        "regexp_replace(city, '', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' || k, 'g')",
        "string_split(string_split(city, '')::VARCHAR, '')",
        "format('{:1000000000}', city)",
        "printf('%1000000000d', k)",
        "bar(k, 0, 1, 1000000000)",
        "levenshtein(city, city)",
        "list_aggregate(l, 'histogram')",
        "city LIKE '%a%a%a%a%b'",
        "city LIKE city",
        "regexp_matches(city, city)",
        "to_base(k, 2, 1000000000)",
        "factorial(k)::BIGNUM",
        f"concat({', '.join(['city'] * 600)})",
        f"concat('{'x' * 20_000}', city)",
    ],
)
def test_too_large_or_slow(sql: str) -> None:
    """Values whose bytes or time the row does not bound."""
    with pytest.raises(RefusedError):
        judged(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "(" * 5_000 + "amount" + ")" * 5_000,
        "amount" + " + 1" * 5_000,
        "NOT " * 5_000 + "true",
        "- " * 5_000 + "amount",
        "[" * 5_000 + "amount" + "]" * 5_000,
        "abs(" * 5_000 + "amount" + ")" * 5_000,
        "CASE WHEN true THEN " * 2_000 + "amount" + " END" * 2_000,
        "amount" + "::INT" * 5_000,
        "city" + ".lower()" * 3_000,
    ],
)
def test_deep_nesting(sql: str) -> None:
    """Nested beyond the limit of DuckDB's parser or of Python's JSON."""
    with pytest.raises(RefusedError, match=r"depth limit|nested too deeply|calls city"):
        judged(sql)


def test_unknown_fields_are_refused() -> None:
    """A node with a field that this version does not know is refused, not ignored."""
    from scoreline.pipeline.features.expressions.tree import kind_of_node

    node = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": ["a"]}
    assert kind_of_node(node) == "COLUMN_REF"
    with pytest.raises(RefusedError, match="uses at_clause"):
        kind_of_node({**node, "at_clause": {"unit": "VERSION"}})


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("nullif(nullif(amount, 1), 2)", "calls nullif within nullif"),
        ("split_part(lower(split_part(city, 'a', 1)), 'b', 1)", "calls split_part within split_part"),
        ("len(list_transform([1.5], lambda v: nullif(v, 1))) + nullif(amount, 2)", None),
        (f"struct_pack({'n' * 65} := amount)::VARCHAR", "names a field of a struct with more than 64 characters"),
    ],
)
def test_what_grows_when_it_is_written_out(sql: str, reason: str | None) -> None:
    """Macros of DuckDB that use an argument several times, and names that become text."""
    if reason is None:
        judged(sql)
        return
    with pytest.raises(RefusedError, match=reason):
        judged(sql)
