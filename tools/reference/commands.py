"""The commands, from click."""

import inspect
import re
from importlib import import_module

import click

from .markdown import code, table


def command_section(name: str) -> str:
    """The usage, help, arguments and options of a command."""
    command: click.Command = getattr(import_module(f"scoreline.jobs.{name}"), name)
    context = click.Context(command, info_name=f"scoreline {name}")
    usage = f"```text\nscoreline {name} {' '.join(command.collect_usage_pieces(context))}\n```\n\n"
    rows = _rows(command, context)
    return usage + _help(command) + (table(("option", "default", "meaning"), rows) if rows else "")


def _help(command: click.Command) -> str:
    r"""The help text: paragraphs, and those behind click's mark for verbatim text (`\b`) as code."""
    parts = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            parts.append(_verbatim(paragraph.removeprefix("\b\n")))
        else:
            parts.append(f"{_linked(' '.join(paragraph.split()))}\n\n")
    return "".join(parts)


def _verbatim(text: str) -> str:
    heading, _, rest = text.partition("\n")
    if heading.endswith(":") and rest:
        return f"{heading}\n\n```text\n{inspect.cleandoc(rest)}\n```\n\n"
    return f"```text\n{inspect.cleandoc(text)}\n```\n\n"


def _linked(text: str) -> str:
    """Flags as inline code, since Markdown turns two dashes into one in some renderers."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", text)


def _rows(command: click.Command, context: click.Context) -> list[tuple[str, str, str]]:
    rows = []
    for option in command.get_params(context):
        if not isinstance(option, click.Option) or "--help" in option.opts:
            continue
        names = " / ".join(
            [", ".join(option.opts), *([", ".join(option.secondary_opts)] if option.secondary_opts else [])]
        )
        value = "" if option.is_flag else " " + _metavar(option, context)
        help_text, _, shown = (option.help or "").partition("  [default: ")
        rows.append((code(names + value), _default(option, shown.removesuffix("]")), _linked(help_text)))
    return rows


def _metavar(option: click.Option, context: click.Context) -> str:
    """The metavar, without the brackets that Click puts around that of a choice."""
    found = option.make_metavar(context)
    return found[1:-1] if isinstance(option.type, click.Choice) else found


def _default(option: click.Option, shown: str) -> str:
    if option.required:
        return "required"
    if shown or option.is_flag or option.multiple:
        return shown
    default = option.to_info_dict()["default"]
    return code(default) if isinstance(default, str | int | float) and default != "" else ""
