"""Docstrings as Markdown."""

from tools.reference.docstrings import as_markdown

DOCSTRING = """Save a model. It
is not changed.

    save("b", model)

Args:
    path: the folder; an
        older one is replaced.
    model: a module.

Returns:
    The digest.

Raises:
    BundleError, UsageError: it cannot be saved."""


def test_every_part() -> None:
    """A paragraph, an example, and sections with and without names."""
    assert as_markdown(DOCSTRING).split("\n\n") == [
        "Save a model. It is not changed.",
        '```python\nsave("b", model)\n```',
        "**Arguments:**",
        "- `path`: the folder; an older one is replaced.\n- `model`: a module.",
        "**Returns:**",
        "The digest.",
        "**Raises:**",
        "- `BundleError, UsageError`: it cannot be saved.",
        "",
    ]
