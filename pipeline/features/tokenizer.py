"""Tokenizers: the text of a tokenizer.json → a tokenizer of Hugging Face's `tokenizers`, checked before it is used. The
library is an optional dependency, imported where it is used. Independent of columns and tensors.

The file is data, and the library's parser bounds its nesting. Checked here: regular expressions that would take
gigabytes or hours to compile, what would make a small text large, what draws random numbers, and what fails on every
text. The library is written in Rust; where it panics, it raises an exception that is not a subclass of `Exception`.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...schemas.inputs import TextInput
from ..errors import BundleError, one_line, printable

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

#: The largest tokenizer.json; the largest known ones take a third of this.
MAX_FILE_BYTES = 128 << 20
#: The most bytes of all regular expressions of a tokenizer.json together, as they are written there; published ones
#: have a few hundred. A single `\p{L}` is compiled to up to 85 kB; all of them take at most 100 MB and 4 s (measured).
MAX_PATTERNS = 8_192
#: A regular expression in a tokenizer.json, by its key in every spelling that JSON allows.
_PATTERN = re.compile(
    rb'"(?:R|\\u0052)(?:e|\\u0065)(?:g|\\u0067)(?:e|\\u0065)(?:x|\\u0078)"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")'
)
#: How many times longer the normalizer may make a text; the growth of published tokenizers is below 40.
MAX_GROWTH = 128
#: How many times a post-processor may write a text.
MAX_COPIES = 4
#: The longest word that a tokenizer may take apart, and the longest token of a Unigram model, in characters.
MAX_WORD = 1_000
#: The variable that disables the threads of the library, which every call reads.
PARALLELISM = "TOKENIZERS_PARALLELISM"
#: Characters of a reason that the library gives.
MAX_REASON = 200

#: Texts, or pairs of texts.
Texts = Sequence[Any]


def require_tokenizers() -> None:
    """Raise BundleError where `tokenizers` is not installed."""
    try:
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise BundleError("the bundle takes text; install tokenizers with: pip install 'scoreline[text]'") from error


@contextmanager
def one_thread_per_call() -> Iterator[None]:
    """Let each call use the thread that it comes from: a run calls from all cores. Leaves a setting of the user."""
    if PARALLELISM in os.environ:
        yield
        return
    os.environ[PARALLELISM] = "false"
    try:
        yield
    finally:
        os.environ.pop(PARALLELISM, None)


def load_tokenizer(data: bytes, entry: TextInput) -> Tokenizer:
    """The tokenizer of an input, which cuts texts as the input describes, and does not pad.

    Args:
        data: a tokenizer.json.

    Raises:
        BundleError: the library is not installed, or cannot parse the file; or the file is refused.
    """
    tokenizer = parse_tokenizer(data, entry.tokenizer)
    _refuse(tokenizer, entry)
    tokenizer.no_padding()
    limit = tokenizer.truncation or {}
    tokenizer.no_truncation()
    if entry.too_long == "cut":
        kept = {name: limit[name] for name in ("strategy", "direction") if name in limit}
        tokenizer.enable_truncation(entry.longest, **kept)
    pair = len(entry.columns) == 2
    for text in ("", "a"):
        found = try_encode(tokenizer, [(text, text) if pair else text], special_tokens=entry.special_tokens)
        if isinstance(found, str):
            raise BundleError(f"{entry.tokenizer}: the tokenizer cannot encode {text!r}: {found}")
    return tokenizer


def parse_tokenizer(data: bytes, name: str) -> Tokenizer:
    """Parse a tokenizer.json. Raises BundleError."""
    require_tokenizers()
    from tokenizers import Tokenizer  # an optional dependency

    if len(data) > MAX_FILE_BYTES:
        raise BundleError(f"{name} has {len(data):,} bytes, above the limit of {MAX_FILE_BYTES:,} for a tokenizer")
    _refuse_patterns(data, name)
    try:
        return Tokenizer.from_buffer(data)
    except BaseException as error:
        reason = _reason(error).removeprefix("Cannot instantiate Tokenizer from buffer: ")
        raise BundleError(f"{name} is not a tokenizer.json: {reason}") from error


def try_encode(tokenizer: Tokenizer, texts: Texts, *, special_tokens: bool) -> list[Encoding] | str:
    """The encodings of texts or pairs, or why the library fails on one of them."""
    # `encode_batch_fast` leaves out the positions in the text, which take a quarter of the time or more; the tokens are
    # the same, but without a post-processor, every token of a pair has type 0
    without_types = tokenizer.post_processor is None and any(isinstance(text, tuple) for text in texts[:1])
    encode = tokenizer.encode_batch if without_types else tokenizer.encode_batch_fast
    try:
        found: list[Encoding] = encode(texts, add_special_tokens=special_tokens)
    except BaseException as error:
        return _reason(error)
    return found


def _reason(error: BaseException) -> str:
    """The library's message. Raises other errors again: a lack of memory, an interruption."""
    is_panic = type(error).__name__ == "PanicException"
    if isinstance(error, MemoryError) or not (is_panic or isinstance(error, Exception)):
        raise error
    return one_line(error)[:MAX_REASON]


def _refuse_patterns(data: bytes, name: str) -> None:
    """Raise BundleError for regular expressions that may take gigabytes or hours to compile, before they are parsed."""
    length = 0
    for found in _PATTERN.finditer(data):
        length += len(found[1]) - 2
        if length > MAX_PATTERNS:
            raise BundleError(f"{name}: its regular expressions have more than {MAX_PATTERNS:,} bytes together")
        try:
            pattern = json.loads(found[1])
        except ValueError:
            return  # the library says why
        if "\\g" in pattern.replace("\\\\", ""):  # each call of a group that makes two such calls doubles the time
            raise BundleError(
                f"{name}: a regular expression calls a group by \\g, which may take hours to compile; write the group"
                f" again instead: {printable(pattern[:MAX_REASON])}"
            )


def _refuse(tokenizer: Tokenizer, entry: TextInput) -> None:
    """Raise BundleError for a tokenizer that draws random numbers, does not fit the input, or makes texts too long."""
    model, name = tokenizer.model, entry.tokenizer
    for field in ("dropout", "alpha"):
        value = getattr(model, field, None)
        if value:
            raise BundleError(
                f"{name}: {field} {value:g} draws random numbers, so that a text would not always get the same score;"
                f" set {field} to null"
            )
    if tokenizer.encode_special_tokens:
        raise BundleError(f"{name}: encode_special_tokens is set, which a tokenizer.json does not store; leave it out")
    added = tokenizer.num_special_tokens_to_add(len(entry.columns) == 2) if entry.special_tokens else 0
    if added >= entry.longest:
        raise BundleError(
            f"{name} adds {added} special tokens to each text, which leaves no room for others among longest"
            f" {entry.longest}; raise longest"
        )
    _refuse_slow(tokenizer, name)
    copies = _copies(None if tokenizer.post_processor is None else json.loads(tokenizer.post_processor.__getstate__()))
    if copies > MAX_COPIES:
        raise BundleError(
            f"{name}: its post_processor repeats a text {copies:,} times; the limit is {MAX_COPIES} times"
        )
    growth = 1
    for part in (tokenizer.normalizer, tokenizer.pre_tokenizer):
        growth *= _growth(None if part is None else json.loads(part.__getstate__()))
    if growth > MAX_GROWTH:
        raise BundleError(
            f"{name}: its normalizer can make a text {growth:,} times longer; the limit is {MAX_GROWTH} times"
        )


def _refuse_slow(tokenizer: Tokenizer, name: str) -> None:
    """Raise BundleError for a model whose time grows with the length of a word times that of its longest tokens."""
    longest = getattr(tokenizer.model, "max_input_chars_per_word", None) or 0
    if longest > MAX_WORD:
        raise BundleError(f"{name}: max_input_chars_per_word {longest:,} is above the limit of {MAX_WORD:,}")
    if type(tokenizer.model).__name__ == "Unigram":
        longest = max(map(len, tokenizer.get_vocab(with_added_tokens=False)), default=0)
        if longest > MAX_WORD:
            raise BundleError(f"{name}: a token has {longest:,} characters, above the limit of {MAX_WORD:,}")


def _copies(part: Any) -> int:
    """How many times a post-processor writes a text at most."""
    if not isinstance(part, Mapping):
        return 1
    if part.get("type") == "Sequence":
        copies = 1
        for one in part.get("processors", []):
            copies *= _copies(one)
        return copies
    templates = [part.get(name) for name in ("single", "pair")] if part.get("type") == "TemplateProcessing" else []
    used: list[int] = [
        sum(isinstance(piece, Mapping) and piece.get("Sequence", {}).get("id") == text for piece in template)
        for template in templates
        if isinstance(template, list)
        for text in "AB"
    ]
    return max(used, default=1) or 1


def _growth(part: Any) -> int:
    """How many times longer a part of a tokenizer can make a text at most, but for Unicode's normal forms."""
    if isinstance(part, list):
        parts, growth = part, 1
    elif isinstance(part, Mapping):
        parts, growth = list(part.values()), _own_growth(part)
    else:
        return 1
    for one in parts:
        growth *= _growth(one)
    return growth


def _own_growth(part: Mapping[str, Any]) -> int:
    match part.get("type"):
        case "Replace":
            pattern = part.get("pattern")
            replaced = pattern.get("String") if isinstance(pattern, Mapping) else None
            return -(-_num_bytes(part.get("content")) // _num_bytes(replaced or "."))
        case "Prepend":
            return 1 + _num_bytes(part.get("prepend")) // MAX_GROWTH  # once for each word
        case "ByteLevel":
            return 2
        case "Precompiled":
            return max(1, _longest_replacement(str(part.get("precompiled_charsmap"))))
    return 1


def _num_bytes(text: Any) -> int:
    """The size of a text, at least 1."""
    return max(1, len(str(text).encode(errors="surrogatepass")))


def _longest_replacement(charsmap: str) -> int:
    """The bytes of the longest text that a character is replaced by: after the size of a trie and the trie, these
    texts, each ended by a zero byte."""
    table = base64.b64decode(charsmap)
    start = 4 + int.from_bytes(table[:4], "little")
    return max(len(text) for text in table[start:].split(b"\0"))
