"""`scoreline layers`: lists the layers of a bundle's model."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .terminal.paths import PathText

if TYPE_CHECKING:
    from ..schemas.members import LayerRecord


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=PathText())
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def layers(bundle: str, as_json: bool) -> int:
    """List every layer of a bundle's model, in order, with the shape of its output for one row.

    Layers have the names of the model's modules, as in named_modules(); a module that is called several times has a
    name for each call. The output of any layer can be written beside the predictions: scoreline score --hidden LAYER,
    where LAYER is a name of the first column. The last column is the name of the column that is written. The values
    before an activation are the output of the layer above it.

    \b
    Example:
      scoreline layers bundles/wine
    """
    from ..pipeline.bundle.bundle import open_bundle  # here, so that --help stays light
    from ..schemas.members import GraphMember
    from .terminal.tables import answer, table

    manifest = open_bundle(bundle).manifest
    members = manifest.members
    several = len(members) > 1
    found = [
        _listed(member.layers, index if several else None) if isinstance(member, GraphMember) else []
        for index, member in enumerate(members)
    ]
    if as_json:
        answer(json.dumps(found, indent=1))
        return 0
    for index, listed in enumerate(found):
        if several:
            answer(f"member {index}")
        if not listed:
            sequence = any(entry.max_steps is not None for entry in manifest.inputs)
            answer(
                "the outputs of its layers are as long as each sequence, so --hidden cannot write them"
                if sequence
                else "its layers have no names, so --hidden cannot write them: only models stored as data have names"
            )
            continue
        rows = [[one["name"], one["calls"], " × ".join(map(str, one["shape"])) or "1", one["column"]] for one in listed]
        answer(table(["layer", "calls", "numbers per row", "column"], rows))
    return 0


def _listed(layers: Sequence["LayerRecord"], member: int | None) -> list[dict[str, Any]]:
    """The layers of a member with their names and columns. `member`: its index in an ensemble."""
    from ..pipeline.bundle.layers import column_name, layer_names

    names = layer_names([(layer.name, layer.calls) for layer in layers])
    return [
        {"name": name, "calls": layer.calls, "shape": layer.shape, "column": column_name(layer.name, member)}
        for name, layer in zip(names, layers, strict=True)
    ]
