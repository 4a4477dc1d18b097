"""Targets of `--threshold` and `--explain-target`: every head and label has a name, and no name is ambiguous."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoreline.pipeline.bundle.targets import find_target, names_of, quoted
from scoreline.pipeline.errors import UsageError
from torch import nn

from conftest import Result
from scoreline import Binary, Multilabel, save_bundle

Command = Callable[..., Result]
X = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 3)), columns=list("uvw"))


class Two(nn.Module):
    """A head with two labels, and one more head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tags, self.other = nn.Linear(3, 2), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tags(x), self.other(x)


def probabilities(model: nn.Module) -> np.ndarray:
    """The probabilities `[rows, 3]` by plain torch."""
    with torch.no_grad():
        found = torch.sigmoid(torch.cat(model(torch.from_numpy(X.to_numpy(np.float32).copy())), dim=1))
    return np.asarray(found)


def scored(scoreline: Command, folder: Path, *words: object) -> pd.DataFrame:
    X.to_parquet(folder / "x.parquet", index=False)
    done = scoreline("score", "--bundle", folder / "b", "--input", folder / "x.parquet", "--output", folder / "out",
                     *words, "--keys", "none")  # fmt: skip
    assert done.code == 0, done.err
    (part,) = (folder / "out").glob("*.parquet")
    return pq.read_table(part).to_pandas()


def test_a_head_and_a_label_with_the_same_name(tmp_path: Path, scoreline: Command) -> None:
    """`a.b` is refused; quoted names set each of them, on the command line and in a job file."""
    model = Two().eval()
    heads = {"a": Multilabel(["b", " c"], output=0), "a.b": Binary(["no", "yes"], output=1)}
    save_bundle(tmp_path / "b", model, features=list("uvw"), task=heads, sample=X)
    p = probabilities(model)
    X.to_parquet(tmp_path / "x.parquet", index=False)
    words = ["--bundle", tmp_path / "b", "--input", tmp_path / "x.parquet", "--output", tmp_path / "none"]
    for flags in (["--threshold", "a.b=0.9"], ["--explain", "occlusion", "--explain-target", "a.b"]):
        refused = scoreline("score", *words, *flags)
        assert refused.code == 2
        assert "'a.b' could mean 2 things; write \"a\".\"b\" for label 'b' of head 'a'" in refused.message
        assert "or \"a.b\" for head 'a.b'" in refused.message
    job = tmp_path / "job.toml"
    job.write_text("""threshold = ['a."b"=0.9', '"a"." c" = 0.8', '"a.b"=0.1']""")
    named = ["--threshold", 'a."b"=0.9', "--threshold", "a.' c'=0.8", "--threshold", '"a.b"=0.1']
    for flags in (named, ["--job", job]):
        got = scored(scoreline, tmp_path, *flags)
        for column, index, limit in (("a_prediction_b", 0, 0.9), ("a_prediction_ c", 1, 0.8)):
            np.testing.assert_array_equal(got[column], p[:, index] > limit)
        np.testing.assert_array_equal(got["a.b_prediction"] == "yes", p[:, 2] > 0.1)
    message = scoreline("score", *words, "--threshold", "a.c=0.5").message
    assert """one of a, "a"."b", a. c, "a.b\"""" in message


def test_a_label_that_begins_with_a_space(tmp_path: Path, scoreline: Command) -> None:
    """It is named in quotes, as is the empty label."""
    model = nn.Linear(3, 3).eval()
    labels = [" a", "a", ""]
    save_bundle(tmp_path / "b", model, features=list("uvw"), task=Multilabel(labels), sample=X)
    with torch.no_grad():
        p = torch.sigmoid(model(torch.from_numpy(X.to_numpy(np.float32).copy()))).numpy()
    got = scored(scoreline, tmp_path, "--threshold", '" a"=0.7', "--threshold", " a = 0.2", "--threshold", '""=0.9')
    for index, (label, limit) in enumerate(zip(labels, (0.7, 0.2, 0.9), strict=True)):
        np.testing.assert_array_equal(got[f"prediction_{label}"], p[:, index] > limit)
    for target, label in (('" a"', 0), ("a", 1), ('""', 2)):
        got = scored(scoreline, tmp_path, "--explain", "occlusion", "--explain-target", target)
        with torch.no_grad():
            middle = X.apply(lambda column: np.sort(column)[(len(column) - 1) // 2])
            wanted = (X - middle) * model.weight[label].numpy()
        got = got[[f"attribution_{name}" for name in "uvw"]]
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_invalid_quotes(tmp_path: Path, scoreline: Command) -> None:
    """They are refused, with examples of valid ones."""
    for text in ('"a=0.5', '"a" "b"=0.5', 'a."b=0.5', "\"a\"\n'b'=0.5"):
        done = scoreline("score", "--bundle", "b", "--input", "i", "--output", "o", "--threshold", text)
        assert (done.code, "is not a TOML key" in done.err) == (2, True), done.err


def test_labels_that_are_not_text_in_a_job_file(tmp_path: Path, scoreline: Command) -> None:
    """Numbers, true and false."""
    for labels, text in (([0.5, 1.5], "1.5"), ([False, True], "true"), ([3, 4], "4")):
        save_bundle(tmp_path / "b", nn.Linear(3, 1), features=list("uvw"), task=Binary(labels), sample=X)
        (tmp_path / "job.toml").write_text(f'explain = "occlusion"\nexplain_target = {text}\n')
        assert "attribution_u" in scored(scoreline, tmp_path, "--job", tmp_path / "job.toml")


PARTS = st.text(alphabet="ab.\"' \\é\x7f\n", max_size=3)
TARGETS = st.lists(st.one_of(st.tuples(PARTS), st.tuples(PARTS, PARTS)), min_size=1, max_size=5, unique=True)


def is_bare(name: str) -> bool:
    """Whether the name is accepted without quotes."""
    return name[:1] not in ("'", '"') and '."' not in name and ".'" not in name and name.strip() == name != ""


@given(TARGETS)
def test_every_target_has_an_unambiguous_name(targets: list[Any]) -> None:
    """Names listed in messages are accepted, and an unquoted name never silently selects another target."""
    for name, target in zip(names_of(targets), targets, strict=True):
        assert find_target(name, targets, "--x") == target
        assert find_target(quoted(target), targets, "--x") == target
        plain = ".".join(target)
        if sum(".".join(other) == plain for other in targets) > 1 and is_bare(plain):
            with pytest.raises(UsageError, match="could mean"):
                find_target(plain, targets, "--x")
