"""Malformed job files and specs are reported in one line, without a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Result

Command = Callable[..., Result]
DIGITS = "9" * 5000
STRANGE = {
    "lists": ("keys = " + "[" * 5000 + "]" * 5000, "nested deeper than 16"),
    "inline tables": ("csv = " + "{a = " * 3000 + "1" + "}" * 3000, "nested deeper than 16"),
    "dotted keys": (".".join(["heads"] * 2_000) + " = 1", "nested deeper than 16"),
    "a dotted table": ("[" + ".".join(["heads"] * 2_000) + "]\nx = 1", "nested deeper than 16"),
    "digits": (f"threshold = {DIGITS}", "more than 64 bits"),
    "a hexadecimal number": ("threshold = 0x" + "f" * 6000, "more than 64 bits"),
    "an integer in a list": (f"threshold = [0.5, {2**63}]", "more than 64 bits"),
    "latin-1": ("prefix = 'é'".encode("latin-1"), "byte 10 is not UTF-8"),
    "utf-16": ("prefix = 'a'".encode("utf-16"), "byte 0 is not UTF-8"),
    "not toml": ("prefix = = 1", "not TOML"),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("command", [["score", "--job"], ["pack"]])
def test_malformed_files_are_refused(scoreline: Command, tmp_path: Path, command: list[str], name: str) -> None:
    """The message names the file, for any depth and size."""
    content, says = STRANGE[name]
    (tmp_path / "a.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    out = [] if command != ["pack"] else [tmp_path / "bundle"]
    result = scoreline(*command, tmp_path / "a.toml", *out)
    assert result.code == 78, result.err
    assert "a.toml" in result.message
    assert says in result.message
    assert len(result.message) < 500
    assert "Traceback" not in result.err


def test_a_byte_order_mark(scoreline: Command, tmp_path: Path) -> None:
    """Windows editors write it; it is skipped."""
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbfbundle = "nowhere"\n')
    result = scoreline("check", "--job", tmp_path / "a.toml")
    assert "nowhere" in result.message
    (tmp_path / "b.toml").write_bytes(b'\xef\xbb\xbffeatures = ["a"]\n')
    assert "lacks 'task'" in scoreline("pack", tmp_path / "b.toml", tmp_path / "out").message


@pytest.mark.parametrize("name", ["max_rejects", "explain_rows"])
@pytest.mark.parametrize("unit", ["", "%"])
def test_numbers_of_thousands_of_digits_in_text(scoreline: Command, tmp_path: Path, name: str, unit: str) -> None:
    """Python limits the digits of numbers."""
    (tmp_path / "a.toml").write_text(f"{name} = '{DIGITS}{unit}'")
    result = scoreline("score", "--job", tmp_path / "a.toml")
    assert result.code == 78, result.err
    assert name in result.message
