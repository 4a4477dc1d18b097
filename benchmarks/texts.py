"""Texts: a run of Scoreline compared with only encoding them by the tokenizer, and with a script that also scores them,
taking turns.

    python benchmarks/texts.py --texts 200000 --rounds 5

The tokenizer is a WordPiece of 8,000 words trained on the texts; the model is the mean of an Embedding and a Linear.
Encoding alone calls the library with its own threads, 1,024 texts at a time, on texts in memory. The script pads and
scores each of these batches as well. Neither reads or writes files. Reports the median rates, and the median ratio of
the run's rate, without its start-up, to theirs.
"""

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from runs import score, timed
from scoreline.pipeline.cores import available_cores
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

import scoreline

LONGEST, AT_ONCE, WORDS = 128, 1024, 8000


class Mean(nn.Module):
    """The mean of the real tokens' vectors, and a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.end = nn.Embedding(WORDS, 32), nn.Linear(32, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        share = attention_mask.unsqueeze(-1).float()
        return self.end((self.words(input_ids) * share).sum(1) / share.sum(1))


def texts_of(number: int) -> list[str]:
    """Texts of 5 to 150 words, which occur as often as in English (Zipf)."""
    draw = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlucmfwygpbvkxqjz"))
    known = np.array(["".join(draw.choice(letters[:20], draw.integers(2, 10))) for _ in range(20_000)])
    sizes = draw.integers(5, 150, number)
    found = known[np.minimum(draw.zipf(1.2, sizes.sum()), len(known)) - 1]
    starts = np.cumsum(np.append(0, sizes))
    return [" ".join(found[start:stop]) for start, stop in pairwise(starts)]


def trained(texts: list[str]) -> Tokenizer:
    """A WordPiece tokenizer as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts[:20_000], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


def saved(folder: Path, tokenizer: Tokenizer, model: nn.Module, texts: list[str]) -> None:
    """Save a bundle, and write four files of texts."""
    spec = scoreline.Tokens("text", tokenizer=tokenizer, longest=LONGEST, mask="attention")
    task = scoreline.Multiclass(list("abcde"))
    scoreline.save_bundle(
        folder / "b", model, inputs={"input_ids": spec}, task=task, sample=pa.table({"text": texts[:32]})
    )
    (folder / "in").mkdir()
    for number in range(4):
        some = texts[number::4]
        pq.write_table(pa.table({"id": range(len(some)), "text": some}), folder / "in" / f"{number}.parquet")


def encode(tokenizer: Tokenizer, texts: list[str]) -> int:
    """Encode only, without positions in the text. Returns the number of tokens."""
    batches = (tokenizer.encode_batch_fast(texts[start : start + AT_ONCE]) for start in range(0, len(texts), AT_ONCE))
    return sum(len(one.ids) for batch in batches for one in batch)


def script(tokenizer: Tokenizer, model: nn.Module, texts: list[str]) -> int:
    """Encode, pad and score each batch. Returns the number of labels."""
    tokenizer.enable_padding()
    labels = 0
    with torch.inference_mode():
        for start in range(0, len(texts), AT_ONCE):
            batch = tokenizer.encode_batch(texts[start : start + AT_ONCE])
            ids, masks = torch.tensor([one.ids for one in batch]), torch.tensor([one.attention_mask for one in batch])
            labels += len(model(ids, masks).softmax(1).argmax(1))
    tokenizer.no_padding()
    return labels


def main() -> None:
    """Print the rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cores = available_cores().count
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    texts, model = texts_of(arguments.texts), Mean().eval()
    tokenizer = trained(texts)
    seconds: dict[str, list[float]] = {"run": [], "encode": [], "script": []}
    stages, most = [], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        saved(folder, tokenizer, model, texts)
        for number in range(arguments.rounds):
            seconds["encode"].append(timed(lambda: encode(tokenizer, texts)))
            run = score(folder, number)
            seconds["run"].append(run.seconds)
            stages.append(run.manifest["stages"]["tokenize"]["busy_s"] / cores)
            most = max(most, run.peak_mb)
            seconds["script"].append(timed(lambda: script(tokenizer, model, texts)))
    for name, taken in seconds.items():
        ratio = median(other / ours for ours, other in zip(seconds["run"], taken, strict=True))
        sys.stdout.write(
            f"{name:<7} {arguments.texts / median(taken):7.0f} texts/s; the run reaches {ratio:.2f} times that\n"
        )
    share = median(alone / stage for stage, alone in zip(stages, seconds["encode"], strict=True))
    sys.stdout.write(f"the tokenize stage reaches {share:.2f} times the rate of encoding alone, on {cores} cores\n")
    sys.stdout.write(f"peak memory {most:.0f} MB\n")


if __name__ == "__main__":
    main()
