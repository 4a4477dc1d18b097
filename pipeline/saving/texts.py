"""Specs of text → the inputs of a bundle, their tokenizer.json files, and the tokens of a sample by the user's own
tokenizer. Independent of models.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ...schemas.inputs import TextInput
from ...schemas.specs.inputs import AnyInputSpec, Tokens
from ..errors import BundleError, one_line
from ..features.text_encoder import TextEncoder, open_encoders
from ..features.tokenizer import MAX_FILE_BYTES, load_tokenizer, parse_tokenizer, require_tokenizers
from ..records import Sequences
from ..storage.plain_files import read_plain

#: Tokens for padding, in tokenizers that do not say which one it is.
PADS = ("[PAD]", "<pad>", "<|pad|>")
#: A text, or a pair of texts → its tokens and their types.
Own = Callable[[Sequence[str]], tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundTexts:
    """`inputs`, the user's `own` tokenizers, and the encoders of a run, by the names of the inputs; `files`: the
    tokenizers as data."""

    inputs: Mapping[str, TextInput] = field(default_factory=dict)
    own: Mapping[str, Own] = field(default_factory=dict)
    made: Mapping[str, TextEncoder] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def encoders(self) -> list[TextEncoder]:
        """Encoders that are built from the files, as a run builds them."""
        return list(self.made.values())

    def reference(self, entry: TextInput, batch: pa.RecordBatch) -> Sequences:
        """The tokens of rows, one row at a time, by the user's own tokenizer.

        Raises:
            BundleError: the tokenizer as data gives other tokens.
        """
        rows = zip(*(batch.column(name).to_pylist() for name in entry.columns), strict=True)
        found = [self.own[entry.name](row) for row in rows]
        ids = torch.tensor([token for tokens, _ in found for token in tokens], dtype=torch.int64)
        types = torch.tensor([kind for _, kinds in found for kind in kinds], dtype=torch.int64)
        offsets = torch.tensor(np.cumsum([0, *(len(tokens) for tokens, _ in found)]), dtype=torch.int64)
        values = torch.stack([ids, types], dim=1) if entry.types else ids
        columns = {name: batch.column(name).cast(pa.large_string()) for name in entry.columns}
        made = self.made[entry.name].encode(columns).tokens
        if not np.array_equal(made.offsets, offsets) or not np.array_equal(made.values, values):
            raise BundleError(
                f"input {entry.name!r}: the tokenizer gives other tokens when it is called than its tokenizer.json"
                " does; pass the path of the tokenizer.json whose tokens the model was trained with"
            )
        return Sequences(values=values, offsets=offsets)


def bind_texts(specs: Mapping[str, AnyInputSpec]) -> BoundTexts:
    """The inputs of text among these specs, with their tokenizers. Inputs with the same tokenizer share a file.

    Raises:
        BundleError: a tokenizer that cannot be read, is not data, or does not suit its input.
    """
    inputs, own, files = dict[str, TextInput](), dict[str, Own](), dict[str, bytes]()
    for name, spec in specs.items():
        if not isinstance(spec, Tokens):
            continue
        data = _data(spec, name)
        file = next((known for known, content in files.items() if content == data), None)
        file = file or ("tokenizer.json" if not files else f"tokenizer-{len(files)}.json")
        files[file] = data
        inputs[name] = _input(name, spec, file, data)
        own[name] = _own(spec, inputs[name], data)
    made = open_encoders(list(inputs.values()), files.__getitem__)
    return BoundTexts(inputs=inputs, own=own, made=dict(zip(inputs, made, strict=True)), files=files)


def _data(spec: Tokens, name: str) -> bytes:
    """The tokenizer.json of a spec."""
    source = spec.tokenizer
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise BundleError(f"tokenizer {str(path)!r} has more than {MAX_FILE_BYTES:,} bytes")
            return read_plain(path)
        except OSError as error:
            raise BundleError(f"tokenizer {str(path)!r} cannot be read: {error.strerror}") from error
    require_tokenizers()
    backend: Any = getattr(source, "backend_tokenizer", source)
    if getattr(backend, "encode_special_tokens", False) or getattr(source, "split_special_tokens", False):
        raise BundleError(
            f"input {name!r}: the tokenizer splits special tokens in texts, which a tokenizer.json does not store;"
            " set split_special_tokens (encode_special_tokens) to false"
        )
    try:
        data: str = backend.to_str()
    except Exception as error:  # a component written in Python
        raise BundleError(f"input {name!r}: the tokenizer cannot be saved as data: {one_line(error)}") from error
    if backend is source:
        return data.encode()
    tokenizer = parse_tokenizer(data.encode(), "the tokenizer")
    # transformers sets these at each call, by its own attributes
    tokenizer.enable_truncation(spec.longest, strategy="longest_first", direction=source.truncation_side)
    tokenizer.no_padding()
    if source.pad_token_id is not None:
        tokenizer.enable_padding(
            pad_id=source.pad_token_id, pad_type_id=source.pad_token_type_id, pad_token=str(source.pad_token)
        )
    return tokenizer.to_str().encode()


def _input(name: str, spec: Tokens, file: str, data: bytes) -> TextInput:
    if spec.pad is not None and spec.mask is None:
        raise BundleError(
            f"input {name!r}: pad: {spec.pad} has no effect without mask, since only texts with the same number of"
            " tokens are batched together; set mask as well, or leave pad out"
        )
    tokenizer = parse_tokenizer(data, f"input {name!r}: tokenizer")
    padding = tokenizer.padding or {}
    found = [token for token in map(tokenizer.token_to_id, PADS) if token is not None]
    pad = padding.get("pad_id", found[0] if found else 0) if spec.pad is None else spec.pad
    return TextInput(
        name=name,
        columns=list(spec.columns),
        tokenizer=file,
        longest=spec.longest,
        mask=spec.mask,
        types=spec.types,
        pad=pad if spec.mask is not None else 0,
        pad_type=padding.get("pad_type_id", 0) if spec.types else 0,
        special_tokens=spec.special_tokens,
        too_long=spec.too_long,
    )


def _own(spec: Tokens, entry: TextInput, data: bytes) -> Own:
    source = spec.tokenizer
    if hasattr(source, "backend_tokenizer"):
        return lambda texts: _called(source, entry, texts)
    tokenizer = load_tokenizer(data, entry)

    def encode(texts: Sequence[str]) -> tuple[Sequence[int], Sequence[int]]:
        pair = texts[1] if len(texts) == 2 else None
        found = tokenizer.encode(texts[0], pair, add_special_tokens=entry.special_tokens)
        return found.ids, found.type_ids

    return encode


def _called(tokenizer: Any, entry: TextInput, texts: Sequence[str]) -> tuple[Sequence[int], Sequence[int]]:
    """The result of a tokenizer of transformers."""
    cut = entry.too_long == "cut"
    found = tokenizer(
        *texts,
        truncation=cut,
        max_length=entry.longest if cut else None,
        padding=False,
        add_special_tokens=entry.special_tokens,
        return_token_type_ids=True,
    )
    return found["input_ids"], found["token_type_ids"]
