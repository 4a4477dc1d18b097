"""`scoreline report`: writes the report of an output again."""

import click


@click.command()
@click.argument("output", metavar="OUT")
def report(output: str) -> int:
    """Write the report of an output again, and print its path.

    Every run writes it when it ends: one page that says whether the rows, the predictions and the rejects are as usual.
    This command makes it again from the other files of the output, for example if it is missing.

    \b
    Example:
      scoreline report scored/
    """
    from ..pipeline.reporting.report import write_report  # here, so that --help stays light
    from .terminal.tables import answer

    answer(write_report(output))
    return 0
