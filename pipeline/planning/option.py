"""What the definition of an option consists of. Imports neither torch nor click."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..options import ScoreJob
from .option_values import text

#: Where the value is stored: in a field of `ScoreJob`, of its `columns`, or of its `Explain`; `command`: in none.
Part = Literal["job", "columns", "explain", "command"]
#: The effect of another value on existing parts: they are rescored; they are kept, but new parts may differ from them
#: in the last bits; or none.
Effect = Literal["rescored", "last bits", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One option. `batch_size` is the line in a job file, `--batch-size` the flag, SCORELINE_BATCH_SIZE the variable.

    `help`: one line, in the imperative. `parse`: converts the text of a user to the value; raises ValueError.
    `choices`: the allowed values, instead of `parse`. `number`: the value is an integer, which `parse` accepts as well
    as text. `switch`: `--name/--no-name`. `multiple`: may be repeated; a list in a job file. `default`: as a user would
    write it; None where there is none, and `shown_default` describes what applies then. `path`: relative to the job
    file, if it is in one. `needs_text`: an empty text in a job file is refused, as it is for a path. `part`, `field`:
    where the value is stored; `field` defaults to the name of the option. `effect`: of another value on existing parts.
    `mark`: the value as an entry of the fingerprint, None where it is off, so that a new option makes no part out of
    date. `recorded`: the value in run.json.
    """

    name: str
    group: str
    help: str
    metavar: str = ""
    parse: Callable[[Any], Any] = text
    choices: tuple[str, ...] = ()
    number: bool = False
    switch: bool = False
    multiple: bool = False
    required: bool = False
    path: bool = False
    needs_text: bool = False
    default: str | bool | None = None
    shown_default: str = ""
    part: Part = "job"
    field: str = ""
    effect: Effect = "none"
    mark: Callable[[ScoreJob], str | None] | None = None
    recorded: Callable[[ScoreJob], str | int | None] | None = None

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        name = self.name.replace("_", "-")
        return f"--{name}/--no-{name}" if self.switch else f"--{name}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"SCORELINE_{self.name.upper()}"

    @property
    def target(self) -> str:
        """The field that it sets, which is also its name in the fingerprint and in run.json."""
        return self.field or self.name

    def value(self, given: Any) -> Any:
        """The typed value of a setting in a job file, or of the default if that is None.

        Raises:
            ValueError: it is not a value of this option.
        """
        given = self.default if given is None else given
        if self.multiple:
            listed = given if isinstance(given, list | tuple) else [] if given is None else [given]
            return tuple(self.parse(one) for one in listed)
        if self.choices and given is not None and given not in self.choices:
            raise ValueError(f"{given!r} is not one of {', '.join(self.choices)}")
        if given is None or self.switch or self.choices:
            return given
        return self.parse(given)
