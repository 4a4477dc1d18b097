"""Pictures replace pictures, and no other file."""

from pathlib import Path

import pytest
from scoreline.jobs.terminal.pictures import importance_svg, write_picture
from scoreline.pipeline.errors import StorageError


def test_only_pictures_are_replaced(tmp_path: Path) -> None:
    """A file that is not an SVG is kept, and named."""
    svg = importance_svg("title", [])
    write_picture(tmp_path / "a.svg", svg)
    write_picture(tmp_path / "a.svg", svg)
    assert (tmp_path / "a.svg").read_text() == svg
    (tmp_path / "model.py").write_text("print()")
    with pytest.raises(StorageError, match=r"model.py' exists and is not an SVG file; choose another path"):
        write_picture(tmp_path / "model.py", svg)
    assert (tmp_path / "model.py").read_text() == "print()"
