"""Validates the values of specs, with messages that name the value and the rule. Independent of numpy: arrays, series
and tensors are recognised by their `tolist`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

Label = bool | int | float | str


@dataclass(frozen=True)
class Spec:
    """Base of all specs. `save_bundle` and `scoreline pack` validate them, so that messages can name their place."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", revalidate_instances="always", arbitrary_types_allowed=True
    )


def plain(value: Any) -> Any:
    """Arrays, series and tensors as lists, their numbers as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def shown(value: Any, most: int = 80) -> str:
    """A value for a message, at most this long: text in quotes, lists in brackets, tables as in TOML."""
    text = _text(plain(value))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name} = {_text(entry)}' for name, entry in value.items())}}}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value) if value is None or isinstance(value, Label) else f"a {type(value).__name__}"


def _list(value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ValueError(f"{shown(value)} is not a list")
    listed = plain(value)
    return [plain(entry) for entry in (listed if isinstance(listed, list) else value)]


def _labels(value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise ValueError(f"{shown(value)} is not a list; use one, in the order of the model's outputs")
    labels = [_label(label) for label in _list(value)]
    for at, label in enumerate(labels):
        same = next((other for other in labels[:at] if other == label and str(other) != str(label)), None)
        if same is not None and type(same) is type(label):
            raise ValueError(f"{same!r} and {label!r} are equal; labels must differ by value")
    return labels


def _label(value: Any) -> Any:
    label = plain(value)
    if not isinstance(label, Label) or (isinstance(label, float) and not math.isfinite(label)):
        raise ValueError(f"{shown(label)} is not a label; labels are text, numbers or booleans")
    return label


def _targets(value: Any) -> list[str]:
    return [str(label) for label in _labels(value)]


def _yes_no(value: Any) -> bool:
    value = plain(value)
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def _number(value: Any) -> float:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is not a number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("the number is too large for a float") from error


def _in_range(value: Any, low: float, high: float, *, inside: bool = False) -> float:
    number = _number(value)
    if inside and not low < number < high:
        raise ValueError(f"{shown(value)} is not above {low} and below {high}")
    if not low <= number <= high:
        raise ValueError(f"{shown(value)} is not between {low} and {high}")
    return number


def _whole(value: Any, low: int, high: int) -> int:
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise ValueError(f"{shown(value)} is not an integer from {low} to {high}")
    return number


def between(low: float, high: float) -> BeforeValidator:
    """A number from `low` to `high`."""
    return BeforeValidator(lambda value: _in_range(value, low, high))


def whole(low: int, high: int) -> BeforeValidator:
    """A whole number from `low` to `high`; None passes, where the type allows it."""
    return BeforeValidator(lambda value: value if value is None else _whole(value, low, high))


def _name(value: Any) -> Any:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not the name of a column")
    return str(value)


def _names(value: Any) -> list[str]:
    if isinstance(value, str | bytes):
        raise ValueError(f"{shown(value)} is not a list of column names; put it in brackets")
    if hasattr(value, "columns") or hasattr(value, "column_names"):
        raise ValueError(f"a {type(value).__name__} is not a list of column names; list the names, not the values")
    if not hasattr(value, "__iter__"):
        raise ValueError(f"{shown(value)} is not a list of column names")
    return [_name(plain(name)) for name in value]


def _text_columns(value: Any) -> list[str]:
    """One or two names; a single one may stand alone."""
    names = [value] if isinstance(value, str) else _names(value)
    if len(names) > 2:
        raise ValueError(f"{shown(value)} has {len(names)} columns; a tokenizer encodes one, or pairs of two")
    return names


def _tokenizer(value: Any) -> Any:
    """A path, or an object with the methods of a tokenizer."""
    if isinstance(value, str | PathLike) or hasattr(value, "to_str") or hasattr(value, "backend_tokenizer"):
        return value
    slow = hasattr(value, "convert_tokens_to_ids")
    raise ValueError(
        f"{type(value).__name__} is a slow tokenizer without a tokenizer.json; load the fast one with use_fast=True"
        if slow
        else f"{shown(value)} is not the path of a tokenizer.json, a tokenizers.Tokenizer or a fast tokenizer of"
        " transformers"
    )


def _words(value: Any) -> list[Any]:
    """Integers, for columns of integers, or text."""
    words = _list(value)
    for word in words:
        if isinstance(word, bool) or not isinstance(word, str | int):
            raise ValueError(f"{shown(word)} is not a word; words are text or integers")
        if isinstance(word, int) and not -(2**63) <= word < 2**63:
            raise ValueError(f"{word} is beyond 64 bits with a sign; write such ids as text, to the files too")
    return _distinct(words if all(isinstance(word, int) for word in words) else [str(word) for word in words])


def _distinct(words: list[Any]) -> list[Any]:
    """The words of a vocabulary. Raises ValueError for one that appears twice."""
    seen = set()
    for word in words:
        if word in seen:
            raise ValueError(f"{word!r} appears twice; a word's token is its index, so each word must be listed once")
        seen.add(word)
    return words


def _vocabularies(value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(value)} does not map columns to lists of words")
    found = {}
    for name, words in value.items():
        if isinstance(words, str | bytes | Mapping) or not hasattr(words, "__iter__"):
            raise ValueError(f"{shown(words)} is not a list of the words of {name!r}")
        try:
            found[str(name)] = _words(words)
        except ValueError as error:
            raise ValueError(f"words of {name!r}: {error}") from error
    return found


def _output(value: Any) -> Any:
    value = plain(value)
    if value == []:
        raise ValueError("the list is empty; use the index of an output, or its key")
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, bool) or not isinstance(entry, int | str):
            raise ValueError(f"{shown(entry)} is not the index of an output in a tuple, nor its key in a dict")
        if isinstance(value, list) and value.count(entry) > 1:
            raise ValueError(f"{shown(value)} contains {entry!r} twice; list each output once")
    return value


def _one_output(value: Any) -> Any:
    if isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is a list; this task takes one output")
    return _output(value)


def _threshold(value: Any) -> Any:
    if hasattr(value, "items"):  # a mapping, or a series of pandas by its index
        numbers = list(value.items())
        if len({str(label) for label, _ in numbers}) < len(numbers):
            raise ValueError("a label is named twice")
        return {label: _in_range(number, 0, 1) for label, number in numbers}
    value = plain(value)
    return [_in_range(number, 0, 1) for number in value] if isinstance(value, list) else _in_range(value, 0, 1)


def _pair(value: Any) -> tuple[float | None, float | None]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{shown(value)} is neither a pair of low and high, nor a list of such pairs")
    low, high = (None if number is None else _number(number) for number in value)
    for name, number, nonsense in (("low", low, math.inf), ("high", high, -math.inf)):
        if number is not None and (math.isnan(number) or number == nonsense):
            raise ValueError(f"{shown(value)}: {name} is {number}; use a finite number, or None for no limit")
    if low is not None and high is not None and low > high:
        raise ValueError(f"{shown(value)}: low is above high")
    return low, high


def _bounds(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, list) and value and all(isinstance(entry, list) for entry in value):
        return [_pair(entry) for entry in value]
    return None if value is None else _pair(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; the bounds of probabilities are always 0 and 1")
    return value


def _increasing(value: Any) -> list[float]:
    numbers = [_in_range(number, 0, 1, inside=True) for number in _list(value)]
    if sorted(set(numbers)) != numbers:
        raise ValueError(f"{shown(numbers)} is not increasing; list each quantile once, in ascending order")
    return numbers


def _size(value: Any) -> tuple[int, int]:
    sides = plain(value)
    if not isinstance(sides, list) or len(sides) != 2:
        raise ValueError(f"{shown(value)} is not a pair of height and width in pixels")
    height, width = (_whole(side, 1, 1 << 14) for side in sides)
    return height, width


def _brightness(value: Any) -> list[float]:
    found = [_number(number) for number in _list(value)]
    if (wrong := next((one for one in found if not 0 <= one <= 1), None)) is not None:
        raise ValueError(f"{wrong:g} is not between 0 and 1, as pixels are; divide it by 255, as they are")
    return found


def choice(*known: Any) -> BeforeValidator:
    """One of these values; None passes, where the type allows it."""

    def validate(value: Any) -> Any:
        value = plain(value)
        if value is not None and not any(type(value) is type(one) and value == one for one in known):
            raise ValueError(f"{shown(value)} is not one of {', '.join(map(repr, known))}")
        return value

    return BeforeValidator(validate)


YesNo = Annotated[bool, BeforeValidator(_yes_no)]
OneLabel = Annotated[Label, BeforeValidator(_label)]
Labels = Annotated[Sequence[Label], BeforeValidator(_labels)]
#: The words that a model generates.
Vocabulary = Annotated[Sequence[Label], BeforeValidator(lambda value: _distinct(_labels(value)))]
Targets = Annotated[Sequence[str], BeforeValidator(_targets)]
Column = Annotated[str, BeforeValidator(_name)]
Columns = Annotated[Sequence[str], BeforeValidator(_names)]
TextColumns = Annotated[Sequence[str], BeforeValidator(_text_columns)]
TokenizerSource = Annotated[Any, BeforeValidator(_tokenizer)]
Words = Annotated[Sequence[str] | Sequence[int], BeforeValidator(_words)]
#: A word, or None.
OneWord = Annotated[str | int | None, BeforeValidator(lambda value: value if value is None else _words([value])[0])]
Vocabularies = Annotated[Mapping[str, Sequence[str] | Sequence[int]], BeforeValidator(_vocabularies)]
#: Of pixels from 0 to 1.
Brightness = Annotated[Sequence[float], BeforeValidator(_brightness)]
#: An index in the model's tuple or a key of its dict; of several, their columns side by side.
Output = Annotated[int | str | Sequence[int | str], BeforeValidator(_output)]
OneOutput = Annotated[int | str, BeforeValidator(_one_output)]
Outputs = Annotated[
    Literal["logits", "probabilities", "log_probabilities"], choice("logits", "probabilities", "log_probabilities")
]
OutOfBounds = Annotated[Literal["count", "reject"] | None, choice("count", "reject")]
Threshold = Annotated[float, Field(ge=0, le=1), between(0, 1)]
#: A number, or None.
Score = Annotated[
    float | None, Field(allow_inf_nan=False), BeforeValidator(lambda value: value if value is None else _number(value))
]
#: One number for all labels, one for each, or by label.
Thresholds = Annotated[float | Sequence[float] | Mapping[Any, float], BeforeValidator(_threshold)]
Quantiles = Annotated[Sequence[float], BeforeValidator(_increasing)]
Spread = Annotated[Literal["variance", "log_variance", "std"] | None, choice("variance", "log_variance", "std")]
#: (low, high), or such a pair for each target; None where there is no limit.
Bounds = Annotated[
    tuple[float | None, float | None] | Sequence[tuple[float | None, float | None]] | None, BeforeValidator(_bounds)
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Size = Annotated[tuple[int, int], BeforeValidator(_size)]
#: Above 0 and below 1, or None.
Share = Annotated[
    float | None, BeforeValidator(lambda value: value if value is None else _in_range(value, 0, 1, inside=True))
]
#: How forward takes several inputs.
Call = Annotated[Literal["arguments", "dict"], choice("arguments", "dict")]
Combine = Annotated[
    Literal["probability", "logit", "vote", "mean"] | None, choice("probability", "logit", "vote", "mean")
]
