"""`scoreline verify`: reads an output back and checks it."""

import json
from dataclasses import asdict

import click

from ..pipeline.errors import DataError
from .terminal.paths import PathText


@click.command()
@click.argument("output", metavar="OUT", type=PathText())
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def verify(output: str, as_json: bool) -> int:
    """Read an output back and check it against its own records.

    Checks every part's digest, page checksums and receipt; that rows in equal rows scored plus rows rejected; the
    rejects; the keys and their order against the input, if it still exists; and that there are no foreign files. Exits
    with 0, or with 65 and the first problem.

    \b
    Example:
      scoreline verify scored/
    """
    from ..pipeline.evaluation.verify import verify as verify_output  # here, so that --help stays light
    from .terminal.tables import answer, table

    verdict = verify_output(output)
    if as_json:
        answer(json.dumps(asdict(verdict), indent=1))
    else:
        rows = [
            ("parts", f"{verdict.parts:,}"),
            ("rows in", f"{verdict.rows_in:,}"),
            ("rows scored", f"{verdict.rows_scored:,}"),
            ("rows rejected", f"{verdict.rows_rejected:,}"),
            ("inputs whose keys were compared", f"{verdict.keys_compared:,}"),
            ("inputs changed or missing", f"{verdict.inputs_gone:,}"),
            ("orphaned parts", f"{len(verdict.orphaned_parts):,}"),
            ("problems", f"{len(verdict.problems):,}"),
        ]
        answer(table(["verified", "found"], rows))
        for problem in verdict.problems:
            answer(f"  {problem}")
    if verdict.problems:
        more = f" (and {len(verdict.problems) - 1:,} more)" if len(verdict.problems) > 1 else ""
        raise DataError(f"{verdict.problems[0]}{more}")
    return 0
