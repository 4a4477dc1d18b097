"""What is refused of a tokenizer.json."""

import base64
import json
import os
from typing import Any

import pytest
from scoreline.pipeline.errors import BundleError
from scoreline.pipeline.features import tokenizer
from scoreline.pipeline.features.tokenizer import PARALLELISM, load_tokenizer, one_thread_per_call
from scoreline.schemas.inputs import TextInput

from text_tokenizers import need_tokenizers, tokenizer_json

need_tokenizers()

ENTRY = TextInput(name="ids", columns=["text"], tokenizer="tokenizer.json", longest=4)
TEMPLATE = {"type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}]}
REPEATING: dict[str, Any] = {**TEMPLATE, "special_tokens": {}}


def changed(**parts: Any) -> bytes:
    """The tokenizer.json of WordPiece with other parts."""
    return json.dumps({**json.loads(tokenizer_json("wordpiece")), **parts}).encode()


def replacing(pattern: str) -> bytes:
    """The tokenizer.json of WordPiece with a regular expression."""
    return changed(normalizer={"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"})


#: Each group calls the one before twice: compiling the last one would take days.
CALLS = "(?<n0>a)" + "".join(f"(?<n{at}>\\g<n{at - 1}>\\g<n{at - 1}>)" for at in range(1, 60))


def charsmap(longest: int) -> str:
    """A table that replaces a character by a text of this length."""
    return base64.b64encode((4).to_bytes(4, "little") + bytes(4) + b"x" * longest + b"\0").decode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "tokenizer.json is not a tokenizer.json: EOF"),
        (b"\x80\x04N.", "tokenizer.json is not a tokenizer.json: "),
        (b"[" * 1_000_000, "tokenizer.json is not a tokenizer.json: "),
        (b'{"model": ' + b'{"a": ' * 1_000_000, "recursion limit exceeded"),
        (changed(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "Cannot parse precompiled"),
        (
            changed(normalizer={"type": "Replace", "pattern": {"Regex": "(("}, "content": "a"}),
            "Oniguruma error",
        ),
        (
            changed(normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 1_000}),
            "its normalizer can make a text 1,000 times longer; the limit is 128 times",
        ),
        (
            changed(
                normalizer={
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"Regex": "a"}, "content": "aa"}] * 20,
                }
            ),
            "its normalizer can make a text 1,048,576 times longer",
        ),
        (
            changed(
                pre_tokenizer={
                    "type": "Sequence",
                    "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}] * 8,
                }
            ),
            "can make a text 256 times longer",
        ),
        (
            changed(
                post_processor={
                    **TEMPLATE,
                    "single": [{"SpecialToken": {"id": "X", "type_id": 0}}],
                    "special_tokens": {},
                }
            ),
            "cannot encode '': ",
        ),
        (
            changed(post_processor={**REPEATING, "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 3000}),
            "its post_processor repeats a text 3,000 times; the limit is 4 times",
        ),
        (
            changed(
                post_processor={
                    "type": "Sequence",
                    "processors": [{**REPEATING, "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2}] * 3,
                }
            ),
            "repeats a text 8 times",
        ),
        (
            changed(
                post_processor={
                    **TEMPLATE,
                    "single": [{"SpecialToken": {"id": "X", "type_id": 0}}] * 4,
                    "special_tokens": {"X": {"id": "X", "ids": [1], "tokens": ["X"]}},
                }
            ),
            "adds 4 special tokens to each text, which leaves no room for others among longest 4; raise longest",
        ),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=r"^tokenizer.json") as caught:
        load_tokenizer(data, ENTRY)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer", "decoder"])
@pytest.mark.parametrize(
    ("spelled", "pattern", "message"),
    [
        ('"Regex":', r"\p{L}" * 1_000_000, "its regular expressions have more than 8,192 bytes together"),
        (
            '"Regex" :\n',
            CALLS,
            r"calls a group by \g, which may take hours to compile; write the group again instead: (?<n",
        ),
        (r'"\u0052egex": ', CALLS, "calls a group by"),
    ],
)
def test_patterns_are_refused_before_they_are_compiled(part: str, spelled: str, pattern: str, message: str) -> None:
    """In every part, whatever the spelling of the file."""
    replace = {"type": "Replace", "pattern": {"KEY": pattern}, "content": "x"}
    split = {"type": "Split", "pattern": {"KEY": pattern}, "behavior": "Removed", "invert": False}
    data = changed(**{part: split if part == "pre_tokenizer" else replace}).replace(b'"KEY":', spelled.encode())
    for written in (data, data.replace(rb"\\g", rb"\u005c\u0067")):
        with pytest.raises(BundleError) as caught:
            load_tokenizer(written, ENTRY)
        assert message in str(caught.value)
        assert len(str(caught.value)) < 400


def test_many_patterns_are_counted_together() -> None:
    replace = {"type": "Replace", "pattern": {"Regex": r"\p{L}" * 500}, "content": "x"}
    with pytest.raises(BundleError, match="have more than 8,192 bytes together"):
        load_tokenizer(changed(normalizer={"type": "Sequence", "normalizers": [replace] * 4}), ENTRY)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a{1000}){1000}",
        "((a{0,100000}){100000}){100000}",
        "a{100000}",
        "(?i)" + "ss" * 4000,
        r"\\g<a>",
        "(?<=(a|bb))c",
    ],
)
def test_repetitions_are_not_unrolled(pattern: str) -> None:
    """They are compiled to loops, which take no memory."""
    assert load_tokenizer(replacing(pattern), ENTRY).encode("a").ids


def test_a_word_of_the_vocabulary_is_not_a_pattern() -> None:
    parts = json.loads(tokenizer_json("wordpiece"))
    parts["model"]["vocab"] |= {"Regex": 1_000, '"Regex": "': 1_001}
    load_tokenizer(json.dumps(parts).encode(), ENTRY)


def test_long_words_and_tokens_are_refused() -> None:
    """The time of a text would grow with their length."""
    from tokenizers import Tokenizer, models

    wordpiece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]", max_input_chars_per_word=10**9))
    with pytest.raises(BundleError, match=r"max_input_chars_per_word 1,000,000,000 is above the limit of 1,000"):
        load_tokenizer(wordpiece.to_str().encode(), ENTRY)
    unigram = Tokenizer(models.Unigram([("a", -1.0), ("a" * 2000, -2.0)], unk_id=0))
    with pytest.raises(BundleError, match=r"a token has 2,000 characters, above the limit of 1,000"):
        load_tokenizer(unigram.to_str().encode(), ENTRY)


def test_random_tokens_are_refused() -> None:
    parts = json.loads(tokenizer_json("bpe"))
    parts["model"]["dropout"] = 0.1
    with pytest.raises(BundleError, match=r"dropout 0\.1 draws random numbers"):
        load_tokenizer(json.dumps(parts).encode(), ENTRY)


def test_a_file_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "MAX_FILE_BYTES", 10)
    with pytest.raises(BundleError, match=r"tokenizer.json has 11 bytes, above the limit of 10"):
        load_tokenizer(b" " * 11, ENTRY)


def test_replacements_of_a_table_are_bounded() -> None:
    """The part that the library parses is not reached with a table of other sizes."""
    assert tokenizer._longest_replacement(charsmap(300)) == 300


def test_padding_of_the_file_is_not_applied() -> None:
    """A padding of ten billion tokens would take all memory."""
    parts = json.loads(tokenizer_json("wordpiece"))
    parts["padding"]["strategy"] = {"Fixed": 10_000_000_000}
    assert len(load_tokenizer(json.dumps(parts).encode(), ENTRY).encode("a")) == 3


def test_a_setting_of_the_user_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARALLELISM, "true")
    with one_thread_per_call():
        assert os.environ[PARALLELISM] == "true"
    assert os.environ[PARALLELISM] == "true"
    monkeypatch.delenv(PARALLELISM)
    with one_thread_per_call():
        assert os.environ[PARALLELISM] == "false"
    assert PARALLELISM not in os.environ


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(BundleError, match=r"install tokenizers with: pip install 'scoreline\[text\]'"):
        load_tokenizer(b"{}", ENTRY)
