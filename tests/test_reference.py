"""The generated pages of docs/ are what the code says; `make docs` writes them."""

import pytest

import reference


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_generated_pages_are_fresh(name: str) -> None:
    """Equal to what would be generated now."""
    assert (reference.DOCS / name).read_text(encoding="utf-8") == reference.PAGES[name]()
