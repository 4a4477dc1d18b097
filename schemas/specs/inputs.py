"""Inputs: from which columns each input tensor of a model is made, and how."""

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from .values import (
    Brightness,
    Column,
    Columns,
    OneWord,
    Size,
    Spec,
    TextColumns,
    TokenizerSource,
    Vocabularies,
    Words,
    YesNo,
    choice,
    whole,
)

Longest = Annotated[int, Field(ge=1, le=1 << 20), whole(1, 1 << 20)]
Mask = Annotated[Literal["real", "padding", "lengths"] | None, choice("real", "padding", "lengths")]
Pad = Annotated[int, whole(-(1 << 63), (1 << 63) - 1)]
TextMask = Annotated[
    Literal["real", "padding", "lengths", "attention"] | None, choice("real", "padding", "lengths", "attention")
]
Interpolation = Annotated[
    Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"],
    choice("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"),
]


@dataclass(frozen=True)
class Table(Spec):
    """Columns of numbers, and of text that a vocabulary or the scaler encodes. Forward takes float32 `[rows, columns]`,
    or int64 if they are looked up in an Embedding.

        Table(["age", "income", "city"], vocabularies={"city": ["Berlin", "Paris"]})

    Args:
        columns: in the order in which the model takes them.
        vocabularies: the words of each text column, or the ids of a column of integers; a word's token is its index.
    """

    columns: Columns
    _: KW_ONLY
    vocabularies: Vocabularies = field(default_factory=dict)
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Image(Spec):
    """A column of JPEG or PNG images, as bytes or paths. Forward takes float32
    `[rows, channels, height, width]`, `(value / 255 − mean) / std` by channel.

        Image("photo", size=(224, 224), resize=256, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])

    Args:
        column: the column with the images.
        size: height and width in pixels.
        resize: the shorter side is resized to this, followed by a center crop; without it, the image is stretched to
            `size`.
        channels: 3 (RGB) or 1 (greyscale).
        mean: by channel, of values between 0 and 1.
        std: by channel, of values between 0 and 1.
        interpolation: the name of Pillow's resampling filter.
        exif: whether the image is rotated by its EXIF orientation.
    """

    column: Column
    _: KW_ONLY
    size: Size
    resize: Annotated[int | None, whole(1, 1 << 14)] = None
    channels: Annotated[Literal[1, 3], choice(1, 3)] = 3
    mean: Brightness = ()
    std: Brightness = ()
    interpolation: Interpolation = "bilinear"
    exif: YesNo = True
    kind: Literal["image"] = "image"


@dataclass(frozen=True)
class TokenSequence(Spec):
    """A column of lists of words or of tokens (integers). Forward takes int64 `[rows, steps]`.

        TokenSequence("review", vocabulary=["<unk>", "good", "bad"], unknown="<unk>", longest=128, mask="real")

    Args:
        column: the column with the lists.
        longest: the largest number of steps; rows with longer lists are rejected.
        vocabulary: for lists of words, or of integers that are not tokens yet (ids); a word's token is its index.
        unknown: the word of the vocabulary that replaces unknown ones; without it, rows with unknown words are
            rejected.
        mask: set it if forward takes a mask after the lists; lists of different lengths are then padded: `real` (bool
            `[rows, steps]`, true for real steps), `padding` (true for padding) or `lengths` (int64 `[rows]`). Without
            it, only lists of the same length are batched together.
        pad: with a mask, the token that pads lists at their end. The mask hides it, so it may be the token of a word;
            the model's Embedding must have it.
    """

    column: Column
    _: KW_ONLY
    longest: Longest
    vocabulary: Words = ()
    unknown: OneWord = None
    mask: Mask = None
    pad: Pad = 0
    kind: Literal["tokens"] = "tokens"


@dataclass(frozen=True)
class FloatSequence(Spec):
    """Columns of lists of numbers, side by side. Forward takes float32 `[rows, steps, columns]`.

        FloatSequence(["price", "volume"], longest=64)

    Args:
        columns: one or more; the lists of a row must be equally long.
        longest: the largest number of steps; rows with longer lists are rejected.
        mask: as for `TokenSequence`.
        pad: with a mask, the integer that pads lists at their end.
    """

    columns: Columns
    _: KW_ONLY
    longest: Longest
    mask: Mask = None
    pad: Pad = 0
    kind: Literal["floats"] = "floats"


@dataclass(frozen=True)
class Tokens(Spec):
    """A column of text, which a tokenizer of Hugging Face's `tokenizers` encodes. Forward takes int64 `[rows, steps]`,
    then its mask and the types of the tokens, where they are set.

        Tokens("review", tokenizer="tokenizer.json", longest=128, mask="attention")

    Args:
        columns: a column; two are encoded as pairs.
        tokenizer: the path of a tokenizer.json, a `tokenizers.Tokenizer`, or a fast tokenizer of `transformers`.
        longest: the largest number of tokens, special tokens included; it replaces the file's own limit.
        mask: set it if forward takes a mask after the tokens; texts of different lengths are then padded: `attention`
            (int64 `[rows, steps]`, 1 for real tokens and 0 for padding, the attention_mask of Hugging Face's models),
            or as for `TokenSequence`. Without it, only texts with the same number of tokens are batched together.
        types: whether forward takes the types of the tokens as its last argument (the token_type_ids of Hugging Face's
            models).
        pad: with a mask, the token that pads texts at their end; by default that of the tokenizer, or 0.
        special_tokens: whether the tokenizer adds its special tokens, such as [CLS].
        too_long: texts with more than `longest` tokens are cut as the tokenizer cuts them (`cut`), or rejected
            (`reject`).
    """

    columns: TextColumns
    _: KW_ONLY
    tokenizer: TokenizerSource
    longest: Longest
    mask: TextMask = None
    types: YesNo = False
    pad: Annotated[int | None, whole(-(1 << 63), (1 << 63) - 1)] = None
    special_tokens: YesNo = True
    too_long: Annotated[Literal["cut", "reject"], choice("cut", "reject")] = "cut"
    kind: Literal["text"] = "text"


AnyInputSpec = Table | Image | TokenSequence | FloatSequence | Tokens
INPUTS = (Table, Image, TokenSequence, FloatSequence, Tokens)
