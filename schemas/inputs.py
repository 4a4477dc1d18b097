"""The inputs of a bundle: tables, images, sequences and text, and the raw features that they are made from."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from .arrow_types import ArrowType
from .base import FileName, Schema
from .steps import Name

#: The longest SQL text of an expression.
MAX_SQL = 10_000
#: Pixels along one side of an image.
Side = Annotated[int, Field(ge=1, le=1 << 14)]


class Feature(Schema):
    """One raw input column. Numbers of any type are converted to float64 before any step; an `integer` is a category,
    and stays an exact int64; `text` stays text. An `image` is given by its bytes or its path; `numbers`, `integers` and
    `words` are lists; a `raw` column has the Arrow type `arrow`, and only expressions read it. `nulls`: whether a
    missing value rejects its row, or is kept because a step replaces it; nulls in raw columns are always kept."""

    name: Name
    dtype: Literal[
        "float64", "float32", "int64", "bool", "integer", "text", "image", "numbers", "integers", "words", "raw"
    ] = "float64"
    nulls: Literal["reject", "keep"] = "reject"
    arrow: ArrowType | None = None

    @model_validator(mode="after")
    def _has_one_type(self) -> Self:
        if (self.arrow is not None) != (self.dtype == "raw"):
            raise ValueError(f"feature {self.name!r} must have an Arrow type if it is raw, and only then")
        return self


class Expression(Feature):
    """A feature that is the result of a SQL expression over the raw columns of its row."""

    dtype: Literal["float64", "float32", "int64", "bool", "integer", "text"] = "float64"
    sql: str = Field(min_length=1, max_length=MAX_SQL)


class Input(Schema):
    """One input of the model: the base of all kinds."""

    kind: str
    name: Name
    columns: list[Name] = Field(min_length=1)

    @property
    def arguments(self) -> list[str]:
        """The arguments of the model for this input, in order."""
        return [self.name]

    @property
    def prepared(self) -> list[str]:
        """The columns that its tensor is filled from."""
        return self.columns

    @property
    def max_steps(self) -> int | None:
        """The largest number of steps of a row; None if rows have no steps."""
        return None

    @property
    def takes_integers(self) -> bool:
        """Whether the model takes int64 (tokens or indices), which has no gradient."""
        return False


class TableInput(Input):
    """One tensor of the model, `[rows, columns]`: the columns after the steps, in this order."""

    kind: Literal["table"] = "table"
    dtype: Literal["float32", "int64"] = "float32"
    #: Whether the model needs contiguous rows, as `x.view(-1, 2)` does.
    contiguous: bool = False

    @property
    def numbers(self) -> int:
        """The number of values of a row."""
        return len(self.columns)

    @property
    def takes_integers(self) -> bool:
        """Whether its dtype is int64."""
        return self.dtype == "int64"


class ImageInput(Input):
    """Images as one tensor of the model, float32 `[rows, channels, height, width]`.

    An image is rotated by its EXIF orientation, converted to greyscale or RGB, and resized: its shorter side to
    `resize` pixels, followed by a center crop of `size`; or, without `resize`, stretched to `size`. A pixel is
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
        """The number of values of a row."""
        return self.channels * self.size[0] * self.size[1]


class StepInput(Input):
    """An input whose rows have different numbers of steps.

    With a `mask`, rows of similar length are batched together, padded with `pad` at their end, and the next argument
    of the model tells which steps are real: bool `[rows, steps]`, true for real steps (`real`) or for padding
    (`padding`), or int64 `[rows]` (`lengths`). Without a mask, only rows of the same length are batched together.
    """

    dtype: Literal["float32", "int64"] = "int64"
    longest: int = Field(ge=1, le=1 << 20)
    mask: Literal["real", "padding", "lengths", "attention"] | None = None
    pad: int = 0

    @property
    def numbers(self) -> int:
        """The largest number of values of a row."""
        return self.longest * len(self.columns)

    @property
    def mask_name(self) -> str:
        """The argument of its mask, if it has one."""
        return f"{self.name}_mask"

    @property
    def arguments(self) -> list[str]:
        """Its own name, and that of its mask."""
        return [self.name, *([self.mask_name] if self.mask is not None else [])]

    @property
    def takes_integers(self) -> bool:
        """Whether it consists of tokens."""
        return self.dtype == "int64"

    @property
    def max_steps(self) -> int:
        """The longest row."""
        return self.longest


class SequenceInput(StepInput):
    """Lists as a tensor of the model: int64 tokens `[rows, steps]`, or float32 `[rows, steps, columns]`, where the
    lists of a row are equally long. Rows with lists longer than `longest` are rejected."""

    kind: Literal["sequence"] = "sequence"
    mask: Literal["real", "padding", "lengths"] | None = None

    @model_validator(mode="after")
    def _tokens_alone(self) -> Self:
        if self.dtype == "int64" and len(self.columns) > 1:
            raise ValueError(f"input {self.name!r} takes tokens of one column, not of {len(self.columns)}")
        return self


class TextInput(StepInput):
    """Text as int64 tokens `[rows, steps]`, by a tokenizer of Hugging Face's `tokenizers`. Two columns are encoded as
    pairs. A mask may also be int64 `[rows, steps]`, 1 for real steps and 0 for padding (`attention`). With `types`, the
    last argument is the type of each token, int64 `[rows, steps]`.

    The arguments of an input called `input_ids` have the names that Hugging Face's models use.
    """

    kind: Literal["text"] = "text"
    dtype: Literal["int64"] = "int64"
    columns: list[Name] = Field(min_length=1, max_length=2)
    #: The file with the tokenizer, a tokenizer.json.
    tokenizer: FileName
    mask: Literal["real", "padding", "lengths", "attention"] | None = None
    types: bool = False
    #: The type of padding.
    pad_type: int = 0
    #: Whether the tokenizer adds its special tokens, such as `[CLS]`.
    special_tokens: bool = True
    #: What happens to texts with more tokens than `longest`.
    too_long: Literal["cut", "reject"] = "cut"

    @property
    def numbers(self) -> int:
        """The largest number of values of a row: its tokens, and their types."""
        return self.longest * (2 if self.types else 1)

    @property
    def mask_name(self) -> str:
        """The argument of its mask, if it has one."""
        return "attention_mask" if self.name == "input_ids" else f"{self.name}_mask"

    @property
    def arguments(self) -> list[str]:
        """Its own name, that of its mask, and that of the types."""
        types = "token_type_ids" if self.name == "input_ids" else f"{self.name}_types"
        return [*super().arguments, *([types] if self.types else [])]

    @property
    def prepared(self) -> list[str]:
        """The column of tokens that its text becomes."""
        return [f"{self.name}#tokens"]


def _kind(given: Any) -> str:
    """The kind of an input; older bundles only have tables and do not name the kind."""
    return str(given.get("kind", "table") if isinstance(given, dict) else getattr(given, "kind", ""))


AnyInput = Annotated[
    Annotated[TableInput, Tag("table")]
    | Annotated[ImageInput, Tag("image")]
    | Annotated[SequenceInput, Tag("sequence")]
    | Annotated[TextInput, Tag("text")],
    Discriminator(_kind),
]
