"""The generated pages of docs/ are up to date; `make docs` writes them."""

import pytest

import reference


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_generated_pages_are_up_to_date(name: str) -> None:
    """They equal what is generated now."""
    assert (reference.DOCS / name).read_text(encoding="utf-8") == reference.PAGES[name]()
