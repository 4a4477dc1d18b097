"""The inputs of a bundle: tables, images and sequences, and the features they take."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from .base import Schema
from .steps import Name

#: Pixels along one side of an image.
Side = Annotated[int, Field(ge=1, le=1 << 14)]


class Feature(Schema):
    """One raw input column. Numbers of any type are taken as float64 before any step; `text` stays text. An `image` is
    its bytes or its path; `numbers` and `words` are lists of such. `nulls`: whether a missing value rejects its row, or
    a step has a value for it."""

    name: Name
    dtype: Literal["float64", "float32", "int64", "bool", "text", "image", "numbers", "words"] = "float64"
    nulls: Literal["reject", "keep"] = "reject"


class Input(Schema):
    """One input of the model: what every kind of it has."""

    kind: str
    name: Name
    columns: list[Name] = Field(min_length=1)

    @property
    def arguments(self) -> list[str]:
        """What the model takes for it, in order."""
        return [self.name]

    @property
    def max_steps(self) -> int | None:
        """The most steps of a row; None where rows have none."""
        return None

    @property
    def takes_integers(self) -> bool:
        """Whether the model takes int64, tokens or indices, which have no gradient."""
        return False


class TableInput(Input):
    """One tensor of the model, `[rows, columns]`: which columns make it, after the steps, in which order."""

    kind: Literal["table"] = "table"
    dtype: Literal["float32", "int64"] = "float32"
    #: Whether the model needs the rows one behind the other in memory, as `x.view(-1, 2)` does.
    contiguous: bool = False

    @property
    def numbers(self) -> int:
        """How many a row has."""
        return len(self.columns)

    @property
    def takes_integers(self) -> bool:
        """Whether it is int64."""
        return self.dtype == "int64"


class ImageInput(Input):
    """Images as one tensor of the model, float32 `[rows, channels, height, width]`.

    An image is turned as its EXIF says, converted to grey or RGB and resized: so that its shorter side has `resize`
    pixels, and then cut to the middle `size`, or, without `resize`, stretched to `size`. A pixel is
    `(value / 255 − mean) / std`, by channel.
    """

    kind: Literal["image"] = "image"
    columns: list[Name] = Field(min_length=1, max_length=1)
    #: Height and width.
    size: tuple[Side, Side]
    resize: Side | None = None
    channels: Literal[1, 3] = 3
    mean: list[float] = []
    std: list[float] = []
    interpolation: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    exif: bool = True

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (0, self.channels):
                raise ValueError(f"{name} has {len(numbers)} numbers for {self.channels} channels")
        if any(not deviation > 0 for deviation in self.std):
            raise ValueError(f"std: {min(self.std):g} is not above 0")
        if self.resize is not None and self.resize < max(self.size):
            size = f"{self.size[0]} × {self.size[1]}"
            raise ValueError(f"resize {self.resize} is less than the size {size} that is cut out afterwards")
        return self

    @property
    def numbers(self) -> int:
        """How many a row has."""
        return self.channels * self.size[0] * self.size[1]


class SequenceInput(Input):
    """Lists as tensors of the model: int64 tokens `[rows, steps]`, or float32 `[rows, steps, columns]`, lists that are
    equally long side by side.

    With a `mask`, lists of about the same length go through the model together, padded with `pad` at their end, and an
    argument behind this one says which steps are there: bool `[rows, steps]`, true where a step is (`real`) or where
    none is (`padding`), or int64 `[rows]` (`lengths`). Without, only lists of the same length go through together.
    """

    kind: Literal["sequence"] = "sequence"
    dtype: Literal["float32", "int64"] = "int64"
    #: Longer lists are rejects.
    longest: int = Field(ge=1, le=1 << 20)
    mask: Literal["real", "padding", "lengths"] | None = None
    pad: int = 0

    @model_validator(mode="after")
    def _tokens_alone(self) -> Self:
        if self.dtype == "int64" and len(self.columns) > 1:
            raise ValueError(f"input {self.name!r} takes tokens of one column, not of {len(self.columns)}")
        return self

    @property
    def numbers(self) -> int:
        """How many a row has, at most."""
        return self.longest * len(self.columns)

    @property
    def arguments(self) -> list[str]:
        """Itself, and its mask."""
        return [self.name, *([f"{self.name}_mask"] if self.mask is not None else [])]

    @property
    def takes_integers(self) -> bool:
        """Whether it is tokens."""
        return self.dtype == "int64"

    @property
    def max_steps(self) -> int:
        """The longest list."""
        return self.longest


def _kind(given: Any) -> str:
    """Older bundles have tables alone, and do not say so."""
    return str(given.get("kind", "table") if isinstance(given, dict) else getattr(given, "kind", ""))


AnyInput = Annotated[
    Annotated[TableInput, Tag("table")]
    | Annotated[ImageInput, Tag("image")]
    | Annotated[SequenceInput, Tag("sequence")],
    Discriminator(_kind),
]
