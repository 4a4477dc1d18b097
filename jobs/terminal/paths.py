"""The type of arguments and options that are paths. Independent of the options."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class PathText(click.ParamType[str]):
    """The path of a file or folder, as it is given. Shells complete it."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":  # noqa: ARG002
        """Leave the completion to the shell."""
        from click.shell_completion import CompletionItem  # only for a shell that completes a line

        return [CompletionItem(incomplete, type="file")]
