"""`scoreline layers`: lists the layers of a bundle's model."""

import json

import click


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def layers(bundle: str, as_json: bool) -> int:
    """List every layer of a bundle's model, in order, with the shape of its output for one row.

    The output of any of them can be written beside the predictions: scoreline score --hidden LAYER, where LAYER is a
    name of the first column, or of the second if it is unique. The values before an activation are the output of the
    layer above it.

    \b
    Example:
      scoreline layers bundles/wine
    """
    from ..pipeline.bundle.bundle import open_bundle  # here, so that --help stays light
    from ..schemas.members import GraphMember
    from .terminal.tables import answer, table

    manifest = open_bundle(bundle).manifest
    members = manifest.members
    found = [
        [layer.model_dump() for layer in member.layers] if isinstance(member, GraphMember) else [] for member in members
    ]
    if as_json:
        answer(json.dumps(found, indent=1))
        return 0
    for index, listed in enumerate(found):
        if len(found) > 1:
            answer(f"member {index}")
        if not listed:
            sequence = any(entry.max_steps is not None for entry in manifest.inputs)
            answer(
                "the outputs of its layers are as long as each sequence, so --hidden cannot write them"
                if sequence
                else "its layers have no names, so --hidden cannot write them: only models stored as data have names"
            )
            continue
        rows = [[one["name"], one["calls"], " × ".join(map(str, one["shape"])) or "1"] for one in listed]
        answer(table(["layer", "calls", "numbers per row"], rows))
    return 0
