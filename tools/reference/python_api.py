"""The public names of the package: signatures and docstrings."""

import inspect
from typing import Any

import scoreline

from .docstrings import as_markdown

#: The public names, by the section of the page in which they appear.
GROUPS: dict[str, tuple[str, ...]] = {
    "saving": ("save_bundle", "load_weights"),
    "inputs": ("Table", "Image", "Tokens", "TokenSequence", "FloatSequence", "Expressions"),
    "tasks": ("Binary", "Multiclass", "Multilabel", "Regression", "Tagging", "Generation"),
    "models": ("Model", "Ensemble"),
    "scoring": ("Scorer", "ScoredBatch"),
    "errors": (
        "ScorelineError", "BundleError", "GoldenMismatchError", "DataError", "ModelFailedError", "RowsRejectedError",
        "DeviceError",
    ),
}  # fmt: skip
#: The members that belong to the public interface, where a class has others.
MEMBERS = {"Scorer": ("load", "score_frame", "score_table", "score_batches", "features", "output_fields")}


def python_section(group: str) -> str:
    """The names of one group."""
    return "\n".join(_entry(name) for name in GROUPS[group])


def _entry(name: str) -> str:
    found = getattr(scoreline, name)
    text = f"### {name}\n\n"
    if name not in MEMBERS and not (isinstance(found, type) and issubclass(found, BaseException)):
        text += _signature(name, found)
    text += as_markdown(inspect.getdoc(found) or "")
    for member in MEMBERS.get(name, ()):
        text += f"\n#### {name}.{member}\n\n{_member(name, found, member)}"
    return text


def _member(name: str, owner: type, member: str) -> str:
    found = inspect.getattr_static(owner, member)
    if isinstance(found, property):
        return as_markdown(inspect.getdoc(found) or "")
    function = getattr(owner, member)
    return _signature(f"{name}.{member}", function) + as_markdown(inspect.getdoc(function) or "")


def _signature(name: str, found: Any) -> str:
    """The signature, one argument a line if it is long. Types of the specs are left to their docstrings."""
    parameters = [one for one in inspect.signature(found).parameters.values() if one.name not in ("self", "kind")]
    shown, keyword_only = [], False
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not keyword_only:
            shown.append("*")
            keyword_only = True
        shown.append(one.name + ("" if one.default is one.empty else f"={_default(one.default)}"))
    line = f"{name}({', '.join(shown)})"
    if len(line) > 100:
        line = f"{name}(\n" + "".join(f"    {one},\n" for one in shown) + ")"
    return f"```python\n{line}\n```\n\n"


def _default(value: Any) -> str:
    """The default, if it is short and can be read."""
    text = repr(value)
    return "…" if len(text) > 30 or text.startswith("<") else text.replace("'", '"')
