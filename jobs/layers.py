"""`scoreline layers`: what a model consists of."""

import json

import click


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def layers(bundle: str, as_json: bool) -> int:
    """List every step of a bundle's model, in order, with the shape of what it gives for a row.

    Any of them can be written beside the predictions: `scoreline score --hidden LAYER`, by its name, or by what it
    calls. Before the activation stands the step before it.

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
    for place, listed in enumerate(found):
        if len(found) > 1:
            answer(f"member {place}")
        if not listed:
            sequence = any(entry.max_steps is not None for entry in manifest.inputs)
            answer(
                "what its layers give is as long as each sequence, so none can be written for every row"
                if sequence
                else "its layers cannot be named: only models kept as data have names for them"
            )
            continue
        rows = [[one["name"], one["calls"], " × ".join(map(str, one["shape"])) or "1"] for one in listed]
        answer(table(["layer", "calls", "numbers per row"], rows))
    return 0
