"""The options of `scoreline score`, from `pipeline/planning/option_table.py`."""

from scoreline.pipeline.planning.option import Option
from scoreline.pipeline.planning.option_table import OPTIONS

from .markdown import code, table

EFFECTS = {"rescored": "rescored", "last bits": "kept", "none": ""}


def options_section() -> str:
    """One table for each group of options."""
    parts = []
    for group in dict.fromkeys(option.group for option in OPTIONS):
        header = ("flag", "environment variable", "job file", "default", "meaning", "existing parts")
        rows = [_row(option) for option in OPTIONS if option.group == group]
        parts.append(f"## {group}\n\n{table(header, rows)}\n")
    return "".join(parts)


def variables_section() -> str:
    """The environment variable of each option."""
    rows = [(code(option.variable), code(option.flag)) for option in OPTIONS]
    return table(("variable", "flag"), [*rows, ("`SCORELINE_JOB`", "`--job`")])


def _row(option: Option) -> tuple[str, ...]:
    placeholder = " " + (option.metavar or "|".join(option.choices)) if not option.switch else ""
    line = f"{option.name} = {'true' if option.switch else '[…]' if option.multiple else '…'}"
    default = code(_as_toml(option.default)) if option.default is not None else option.shown_default
    return (
        code(option.flag + placeholder),
        code(option.variable),
        code(line),
        "required" if option.required else default,
        option.help,
        EFFECTS[option.effect],
    )


def _as_toml(default: str | bool | None) -> str:
    return str(default).lower() if isinstance(default, bool) else f'"{default}"'
