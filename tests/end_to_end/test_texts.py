"""Models of text, end to end: from a column of text to the same scores as the tokenizer and the model alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.errors import BundleError
from torch import Tensor, nn

from conftest import Example, Result
from scoreline import Multiclass, Scorer, Table, Tagging, Tokens, save_bundle
from text_tokenizers import (
    KINDS,
    SENTENCES,
    WORDS,
    Reader,
    need_tokenizers,
    odd_pairs,
    odd_texts,
    own_tokenizer,
    probabilities,
    reader,
    scored,
    tokenizer_json,
)

need_tokenizers()
pytestmark = pytest.mark.usefixtures("one_core")

Command = Callable[..., Result]
LABELS = Multiclass(["a", "b", "c"])
CLOSE = 1e-5
SAMPLE = pa.table(odd_pairs(60), ["text", "other"])


class Masked(nn.Module):
    """The same model with another kind of mask, or with none."""

    def __init__(self, inner: Reader, mask: str | None) -> None:
        super().__init__()
        self.inner, self.mask = inner, mask

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        if self.mask == "padding":
            given = ~given
        elif self.mask == "lengths":
            given = torch.ones_like(x).cumsum(1) <= given.unsqueeze(1)
        return self.inner(x, given)


class Unmasked(nn.Module):
    """The same model without a mask."""

    def __init__(self, inner: Reader) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, torch.ones_like(x))


class Exported(Reader):
    """The same model with a test of a shape, which needs torch.export."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if input_ids.shape[1] > 1 << 20:
            raise ValueError("too long")
        return self.read(input_ids, attention_mask, None)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A file with a tokenizer."""
    path = tmp_path / "wordpiece.json"
    path.write_text(tokenizer_json("wordpiece"))
    return path


def saved(path: Path, model: nn.Module, columns: Any = "text", *, kind: str = "wordpiece", **fields: Any) -> Path:
    """A bundle of a model of text."""
    source = path.with_suffix(".json")
    source.write_text(tokenizer_json(kind))
    spec = Tokens(columns, tokenizer=source, **{"longest": 40, "mask": "attention", **fields})
    save_bundle(path, model, inputs={"input_ids": spec}, task=LABELS, sample=SAMPLE)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_tokenizer_and_the_model(tmp_path: Path, kind: str) -> None:
    """For hundreds of odd texts, in blocks of any size."""
    model, texts, own = reader(), odd_texts(300), own_tokenizer(kind, 40)
    bundle = saved(tmp_path / "b", model, kind=kind)
    expected = probabilities(model, [own.encode(text) for text in texts])
    for rows in (None, 7):
        got = scored(Scorer.load(bundle, device="cpu", batch_rows=rows).score_table(pa.table({"text": texts})))
        torch.testing.assert_close(got, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("mask", ["attention", "real", "padding", "lengths", None])
def test_masks(tmp_path: Path, mask: str | None) -> None:
    """Every kind of mask, and texts of the same length together where there is none."""
    inner, texts, own = reader(), odd_texts(200), own_tokenizer("wordpiece", 40)
    model = Unmasked(inner).eval() if mask is None else Masked(inner, mask).eval()
    bundle = saved(tmp_path / "b", model, mask=mask)
    got = scored(Scorer.load(bundle, device="cpu").score_table(pa.table({"text": texts})))
    expected = probabilities(inner, [own.encode(text) for text in texts])
    torch.testing.assert_close(got, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_with_types(tmp_path: Path, kind: str) -> None:
    model, own = reader(types=True), own_tokenizer(kind, 40)
    bundle = saved(tmp_path / "b", model, ["text", "other"], kind=kind, types=True, pad=3)
    pairs = pa.table(odd_pairs(300), ["text", "other"])
    rows = zip(*(pairs.column(name).to_pylist() for name in pairs.schema.names), strict=True)
    expected = probabilities(model, [own.encode(*row) for row in rows], types=True)
    got = scored(Scorer.load(bundle, device="cpu").score_table(pairs))
    torch.testing.assert_close(got, expected, rtol=0, atol=CLOSE)
    (entry,) = json.loads((bundle / "bundle.json").read_text())["inputs"]
    assert (entry["pad"], entry["pad_type"], entry["columns"]) == (3, 0, ["text", "other"])


def test_an_exported_graph(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model, texts, own = Exported().eval(), odd_texts(200), own_tokenizer("bpe", 40)
    bundle = saved(tmp_path / "b", model, kind="bpe")
    got = scored(Scorer.load(bundle, device="cpu").score_table(pa.table({"text": texts})))
    torch.testing.assert_close(
        got, probabilities(model, [own.encode(text) for text in texts]), rtol=0, atol=CLOSE
    )  # fmt: skip


def test_a_run(tmp_path: Path, scoreline: Command) -> None:
    """Null texts are rejects, texts that are cut are counted, and the version of the library is recorded."""
    texts = [*SENTENCES, "", None, "a " * 60] * 9
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), tmp_path / "in.parquet", row_group_size=50)
    bundle = saved(tmp_path / "b", reader(), longest=30)
    words = ["--bundle", bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    result = scoreline("score", *words, "--max-rejects", "9", "--batch-size", "16")
    assert result.code == 0, result.err
    own = own_tokenizer("wordpiece", 30)
    cut = sum(bool(own.encode(text).overflowing) for text in texts if text is not None)
    found = result.event("texts_cut")
    assert (found["column"], found["cut"], found["texts"], found["longest"]) == ("text", cut, len(texts) - 9, 30)
    assert "tokenize" in result.event("run_ended")["stages"]
    record = json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())
    assert "tokenizers" in record["versions"]
    got = pq.read_table(tmp_path / "out" / "in.parquet")
    kept = [text for text in texts if text is not None]
    assert got.column("id").to_pylist() == [row for row, text in enumerate(texts) if text is not None]
    expected = probabilities(reader(), [own.encode(text) for text in kept])
    torch.testing.assert_close(scored(got), expected, rtol=0, atol=CLOSE)
    assert scoreline("verify", tmp_path / "out").code == 0
    checked = scoreline("check", *words[:4])
    assert "int64 [rows, up to 30 steps], padded, with a mask (attention); longer texts are cut" in " ".join(
        checked.out.split()
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dedupe"], "--dedupe is for tables, and input 'input_ids' consists of texts; leave it out"),
        (["--explain", "occlusion"], "--explain is for tables, and input 'input_ids' consists of texts"),
        (["--hidden", "end"], "--hidden"),
    ],
)
def test_options_for_tables(tmp_path: Path, scoreline: Command, flags: list[str], message: str) -> None:
    bundle = saved(tmp_path / "b", reader())
    pq.write_table(SAMPLE, tmp_path / "in.parquet")
    result = scoreline(
        "score", "--bundle", bundle, "--input", tmp_path / "in.parquet", "--output", tmp_path / "o", *flags
    )
    assert result.code == 2
    assert message in result.message


def test_a_csv_file(tmp_path: Path, scoreline: Command) -> None:
    """An empty cell of a CSV file is a missing text."""
    (tmp_path / "in.csv").write_text('id,text\n1,"sea, shells"\n2,\n3,👍🏽\n')
    bundle = saved(tmp_path / "b", reader())
    words = ["--bundle", bundle, "--input", tmp_path / "in.csv", "--output", tmp_path / "out", "--max-rejects", "1"]
    assert scoreline("score", *words).code == 0
    own = own_tokenizer("wordpiece", 40)
    expected = probabilities(reader(), [own.encode(text) for text in ("sea, shells", "👍🏽")])
    got = pq.read_table(next((tmp_path / "out").glob("*.parquet")))
    torch.testing.assert_close(scored(got), expected, rtol=0, atol=CLOSE)


def test_text_beside_a_table(tmp_path: Path, tokenizer: Path) -> None:
    """A table, and two texts that share a tokenizer, and one with another."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.three, self.row = reader(), reader(), reader(), nn.Linear(1, 3)

        def forward(self, row: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            one, two, three = (
                part.read(x, torch.ones_like(x), None)
                for part, x in zip((self.one, self.two, self.three), (a, b, c))  # noqa: B905
            )
            return self.row(row) + one - two + 0.5 * three

    model = Both().eval()
    inputs = {
        "row": Table(["number"]),
        "a": Tokens("text", tokenizer=tokenizer, longest=20),
        "b": Tokens("other", tokenizer=tokenizer, longest=30),
        "c": Tokens("text", tokenizer=own_tokenizer("bpe", 9), longest=9),
    }
    given = SAMPLE.append_column("number", pa.array([float(n) for n in range(SAMPLE.num_rows)]))
    save_bundle(tmp_path / "b", model, inputs=inputs, task=LABELS, sample=given)
    entries = json.loads((tmp_path / "b" / "bundle.json").read_text())["inputs"]
    assert [entry.get("tokenizer") for entry in entries] == [
        None, "tokenizer.json", "tokenizer.json", "tokenizer-1.json",
    ]  # fmt: skip
    got = scored(Scorer.load(tmp_path / "b", device="cpu").score_table(given))
    own = own_tokenizer("wordpiece", 20), own_tokenizer("wordpiece", 30), own_tokenizer("bpe", 9)
    for row, line in enumerate(given.to_pylist()):
        texts = [[one.encode(line[name]).ids] for one, name in zip(own, ("text", "other", "text"), strict=True)]
        with torch.inference_mode():
            expected = model(torch.tensor([[line["number"]]]), *map(torch.tensor, texts)).softmax(1)[0]
        torch.testing.assert_close(got[row], expected, rtol=0, atol=CLOSE)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A bundle of a model that takes types, and the model."""
    model = reader(types=True)
    return saved(tmp_path_factory.mktemp("typed") / "b", model, types=True), model


@pytest.mark.usefixtures("cuda")
def test_on_a_gpu(typed: tuple[Path, nn.Module]) -> None:
    """Tokens and types in pinned memory, also where rows are rejected in between."""
    (bundle, model), own = typed, own_tokenizer("wordpiece", 40)
    texts = [*odd_texts(100), None, "a" * (2 << 20), "fox"]
    rows, rejects = Scorer.load(bundle, device="cuda").score_table(pa.table({"text": texts}), with_rejects=True)
    assert [reject["row_number"] for reject in rejects.column("reject").to_pylist()] == [100, 101]
    kept = [text for text in texts if text is not None and len(text) < 1 << 20]
    expected = probabilities(model, [own.encode(text) for text in kept], types=True)
    torch.testing.assert_close(scored(rows), expected, rtol=0, atol=CLOSE)


def test_a_label_for_each_token(tmp_path: Path) -> None:
    """Tagging: one label for each token, special tokens included."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.end = nn.Embedding(WORDS, 8), nn.Linear(8, 3)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.end(self.words(input_ids)) * attention_mask.unsqueeze(-1)

    torch.manual_seed(0)
    model, own, texts = Tagger().eval(), own_tokenizer("unigram", 40), odd_texts(50)
    spec = Tokens("text", tokenizer=own, longest=40, mask="attention")
    save_bundle(tmp_path / "b", model, inputs={"input_ids": spec}, task=Tagging(["x", "y", "z"]), sample=SAMPLE)
    rows = Scorer.load(tmp_path / "b", device="cpu").score_table(pa.table({"text": texts}))
    for text, tags in zip(texts, rows.column("prediction").to_pylist(), strict=True):
        one = own.encode(text)
        with torch.inference_mode():
            raw = model(torch.tensor([one.ids]), torch.tensor([one.attention_mask]))[0]
        assert tags == [["x", "y", "z"][index] for index in raw.argmax(1).tolist()]


def test_a_frame(tmp_path: Path) -> None:
    """Of pandas, with its own type of text, also a categorical one."""
    bundle = saved(tmp_path / "b", reader())
    frame = pd.DataFrame({"text": SENTENCES})
    own = own_tokenizer("wordpiece", 40)
    expected = probabilities(reader(), [own.encode(text) for text in SENTENCES])
    for given in (frame, frame.astype("category"), frame.astype("string")):
        got = Scorer.load(bundle, device="cpu").score_frame(given)
        found = torch.tensor(got[[f"probability_{label}" for label in "abc"]].to_numpy())
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=CLOSE)


def test_a_tokenizer_of_more_words_than_the_model(tmp_path: Path) -> None:
    """A token outside the model's Embedding is a reject that names the column."""
    tokenizer = own_tokenizer("wordpiece", 40)
    tokenizer.add_tokens([f"brandnew{n}" for n in range(WORDS)])
    spec = Tokens("text", tokenizer=tokenizer, longest=40, mask="attention")
    save_bundle(tmp_path / "b", reader(), inputs={"input_ids": spec}, task=LABELS, sample=SAMPLE)
    scorer = Scorer.load(tmp_path / "b", device="cpu")
    rows, rejects = scorer.score_table(pa.table({"text": ["fox", f"brandnew{WORDS - 1} fox"]}), with_rejects=True)
    assert rows.num_rows == 1
    reason = rejects.column("reject")[0].as_py()
    assert (reason["stage"], reason["column"]) == ("scale", "text")
    assert reason["reason"] == f"has a value outside the embedding's range 0–{WORDS - 1}"


def test_a_tokenizer_that_was_changed(tmp_path: Path) -> None:
    bundle = saved(tmp_path / "b", reader())
    path = bundle / "tokenizer.json"
    path.write_text(path.read_text().replace('"longest_match"', '"x"') + " ")
    with pytest.raises(BundleError, match=r"tokenizer\.json is not the file that the bundle was saved with"):
        Scorer.load(bundle)


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("features", {"nulls": "keep"}, "input 'input_ids' takes text without nulls, which 'text' is not"),
        ("features", {"dtype": "float64"}, "input 'input_ids' takes text without nulls, which 'text' is not"),
        ("inputs", {"tokenizer": "other.json"}, "no digest for 'other.json'"),
        ("inputs", {"tokenizer": "../tokenizer.json"}, "tokenizer: String should match pattern"),
        ("inputs", {"tokenizer": "graph.json"}, "graph.json is not a tokenizer.json: "),
        ("inputs", {"longest": 2}, "adds 2 special tokens to each text"),
    ],
)
def test_a_forged_description(tmp_path: Path, part: str, fields: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "b", reader()) / "bundle.json"
    described = json.loads(path.read_text())
    described[part][0] |= fields
    path.write_text(json.dumps(described))
    with pytest.raises(BundleError) as caught:
        Scorer.load(path.parent, device="cpu")
    assert message in str(caught.value)


def test_a_pack_file(tmp_path: Path, tokenizer: Path, scoreline: Command) -> None:
    """The tokenizer is found beside pack.toml."""
    pq.write_table(SAMPLE, tmp_path / "sample.parquet")
    torch.save(reader().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "pack.toml").write_text(
        'sample = "sample.parquet"\ntask = {kind = "multiclass", labels = ["a", "b", "c"]}\n'
        'model = {weights = "weights.pt", factory = "text_tokenizers:reader"}\n'
        '[inputs.input_ids]\nkind = "text"\ncolumns = "text"\n'
        f'tokenizer = "{tokenizer.name}"\nlongest = 40\nmask = "attention"\n'
    )
    done = scoreline("pack", tmp_path / "pack.toml", tmp_path / "b", "--allow-import")
    assert done.code == 0, done.message
    got = scored(Scorer.load(tmp_path / "b", device="cpu").score_table(SAMPLE.select(["text"])))
    own = own_tokenizer("wordpiece", 40)
    expected = probabilities(reader(), [own.encode(text) for text in SAMPLE.column("text").to_pylist()])
    torch.testing.assert_close(got, expected, rtol=0, atol=CLOSE)


def test_libraries_are_imported_where_a_bundle_needs_them(tmp_path: Path, iris: Example, iris_file: Path) -> None:
    """Neither for a table, scored or saved, nor for a run of a text bundle in which nothing is left to score, nor by
    verify."""
    bundle = saved(tmp_path / "b", reader())
    pq.write_table(SAMPLE, tmp_path / "texts.parquet")

    def modules(*commands: list[Any]) -> list[set[str]]:
        """The libraries that one process has imported after each of some commands."""
        code = (
            "import json, sys\nfrom scoreline.jobs.cli import run\nimport scoreline\n"
            "for words in json.loads(sys.argv[1]):\n"
            "    code = run(words)\n"
            "    if 'torch' in sys.modules: scoreline.save_bundle\n"
            "    print('modules', *{'duckdb', 'tokenizers', 'torch'} & set(sys.modules))\n"
            "    if code: sys.exit(code)"
        )
        words = json.dumps([[str(word) for word in command] for command in commands])
        done = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "parallelism" not in done.stderr  # the library warns where a process with threads is forked
        return [set(line.split()[1:]) for line in done.stdout.splitlines() if line.startswith("modules")]

    table = ["score", "--bundle", iris.bundle, "--input", iris_file, "--output", tmp_path / "iris"]
    text = ["score", "--bundle", bundle, "--input", tmp_path / "texts.parquet", "--output", tmp_path / "out"]
    assert modules(table, text) == [{"torch"}, {"tokenizers", "torch"}]
    assert modules(text, ["verify", tmp_path / "out"]) == [set(), set()]
