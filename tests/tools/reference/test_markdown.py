"""Tables and inline code."""

from tools.reference.markdown import code, table


def test_a_table() -> None:
    """A bar does not end a cell, and neither does a line end."""
    assert table(("a", "b"), [("x|y", "two\n  lines")]) == "| a | b |\n| --- | --- |\n| x\\|y | two lines |\n"


def test_code_with_a_bar() -> None:
    """Is HTML, which every renderer shows without a backslash."""
    assert code("--keys a|b") == "<code>--keys a&#124;b</code>"
    assert (code("--keys"), code("")) == ("`--keys`", "")
