"""`scoreline report`: prints the path of the page."""

from collections.abc import Callable
from pathlib import Path

from conftest import Result

Command = Callable[..., Result]


def test_the_path(scoreline: Command, score: Command, iris_file: Path, tmp_path: Path) -> None:
    """Of a page that exists; a folder that is not an output is refused."""
    assert score(iris_file).code == 0
    page = tmp_path / "out" / "_scoreline" / "report.html"
    page.unlink()
    result = scoreline("report", tmp_path / "out")
    assert (result.code, result.out) == (0, f"{page}\n")
    assert page.read_text().endswith("</html>\n")
    refused = scoreline("report", tmp_path)
    assert refused.code == 66
    assert "is not an output of scoreline score" in refused.message
