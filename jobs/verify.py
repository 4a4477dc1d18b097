"""`scoreline verify`: reads an output back and checks it."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import DataError, listed, printable
from .terminal.paths import PathText

if TYPE_CHECKING:
    from ..pipeline.evaluation.verify import Verdict

#: Changed inputs to name; --json has all.
MOST_NAMES = 5


@click.command()
@click.argument("output", metavar="OUT", type=PathText())
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def verify(output: str, as_json: bool) -> int:
    """Read an output back and check it against its own records.

    Checks every part's digest, page checksums and receipt; that rows in equal rows scored plus rows rejected; the
    rejects; the keys and their order against the input, unless it has changed or is gone; and that there are no foreign
    files. Exits with 0, with 65 and the first problem, or with 66 for what is no output.

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
            *((name.replace("_", " "), _found(verdict, name)) for name in verdict.recorded),
            ("inputs whose keys were compared", f"{verdict.keys_compared:,}"),
            ("inputs changed or missing", f"{len(verdict.changed_inputs):,}"),
            ("orphaned parts", f"{len(verdict.orphaned_parts):,}"),
            ("problems", f"{len(verdict.problems):,}"),
        ]
        answer(table(["verified", "found"], rows))
        if verdict.changed_inputs:
            names = listed(verdict.changed_inputs, MOST_NAMES)
            answer(f"  changed or missing since they were scored: {printable(names)}")
        for problem in verdict.problems:
            answer(f"  {printable(problem)}")
    if verdict.problems:
        more = f" (and {len(verdict.problems) - 1:,} more)" if len(verdict.problems) > 1 else ""
        raise DataError(f"{verdict.problems[0]}{more}")
    return 0


def _found(verdict: "Verdict", name: str) -> str:
    """A number that was found, and the recorded one if it is another."""
    found, recorded = getattr(verdict, name), verdict.recorded[name]
    return f"{found:,}" if found == recorded else f"{found:,} of {recorded:,}"
