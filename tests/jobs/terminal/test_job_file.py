"""Errors in job files name the setting, the value and the rule, in the product's own words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Result


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("keys = 5", "keys: 5 is not a valid value"),
        ("bundle = ''", "bundle: is empty; give it a value, or remove the line"),
        ("input = ''", "input: is empty"),
        ("output = ''", "output: is empty"),
        ("device = ''", "device: is empty"),
        ("run_id = ''", "run_id: is empty"),
        ("probabilities = 'x'", "probabilities: 'x' is not one of 'columns', 'list' or 'none'"),
        ("dedupe = 'yes'", "dedupe: 'yes' is neither true nor false"),
        ("top_k = 0", "top_k: 0 is too small; the limit is 1"),
        ("run_date = 5", "run_date: 5 is not a date; use YYYY-MM-DD, today, yesterday, -2"),
        ("run_date = true", "run_date: True is not a date; use 2026-11-24"),
        ("trust = ['sha256:zz']", "trust: 'sha256:zz' is not a digest"),
        ("threshold = {yes = 0.3}", "threshold: {'yes': 0.3} is not a valid value"),
        ("hidden = 'a'", "hidden: 'a' is not a list; write ['a']"),
        ("[csv]\nnulls = 'NA'", "csv.nulls: 'NA' is not a list; write ['NA']"),
        ("csv = 5", "csv: 5 is not a valid value"),
        ("[csv]\nquote = '\"\"'", "csv.quote: '\"\"' is not a single ASCII character"),
        ("[csv]\nquota = 'x'", "'quota' is not a setting of [csv]; did you mean quote?"),
        ("[storage]\naws_regoin = 'x'", "'aws_regoin' is not a setting of [storage]; did you mean aws_region?"),
        ("[storage]\nAWS_REGION = 'x'", "'AWS_REGION' is not a setting of [storage]; did you mean aws_region?"),
        (
            "[storage]\naws_secret_access_key = 'x'",
            "is not a setting of [storage]; secrets are passed in the environment",
        ),
        ('[storage]\naws_region = "a\\u0000"', "storage.aws_region: 'a\\x00' contains a NUL byte"),
        ("[storage]\naws_region = ''", "storage.aws_region: '' is not a valid value"),
        ("formt = 'csv'", "'formt' is not an option of scoreline score; did you mean format?"),
    ],
)
def test_wrong_lines(tmp_path: Path, scoreline: Callable[..., Result], line: str, message: str) -> None:
    """One line each, without a class of the product's own or of a library."""
    (tmp_path / "job.toml").write_text(line + "\n")
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "i", "--output", tmp_path / "o"]
    result = scoreline("score", *words, "--job", tmp_path / "job.toml")
    assert result.code == 78
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not [word for word in ("Input should", "constrained", "CsvSection", "pydantic") if word in result.err]
