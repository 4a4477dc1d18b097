"""A scaler from the numbers of a file: every accepted set of names has the meaning that scikit-learn gives it."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoreline.pipeline.saving.parameters import Kind, read_parameters
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from scoreline import BundleError

RNG = np.random.default_rng(5)
DATA = RNG.normal([3, -40, 0.1, 7], [2, 9, 0.01, 0], size=(60, 4))  # the last column is constant
LOW, HIGH = DATA.min(0), DATA.max(0)
STANDARD, ROBUST = StandardScaler().fit(DATA), RobustScaler().fit(DATA)
MINMAX, MAXABS = MinMaxScaler().fit(DATA), MaxAbsScaler().fit(DATA)
RANGED = MinMaxScaler(feature_range=(-1, 3), clip=True).fit(DATA)


def npz(numbers: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **numbers)
    return buffer.getvalue()


def as_json(numbers: dict[str, Any]) -> bytes:
    return json.dumps({name: np.asarray(value).tolist() for name, value in numbers.items()}).encode()


WRITES: dict[str, Callable[[dict[str, Any]], bytes]] = {"s.npz": npz, "s.json": as_json}
ONES = [1.0, 1.0]
IQR = np.subtract(*np.percentile(DATA, [75, 25], axis=0))
ACCEPTED: list[tuple[Kind, dict[str, Any], Any]] = [
    ("standard", {"mean": STANDARD.mean_, "scale": STANDARD.scale_}, STANDARD),
    ("standard", {"mean_": STANDARD.mean_, "scale_": STANDARD.scale_, "var_": STANDARD.var_}, STANDARD),
    ("standard", {"mean": DATA.mean(0), "std": DATA.std(0)}, STANDARD),
    ("standard", {"mean": DATA.mean(0, keepdims=True), "std": DATA.std(0, keepdims=True)}, STANDARD),
    ("standard", {"mean": DATA.mean(0), "var": DATA.var(0)}, STANDARD),
    ("robust", {"center_": ROBUST.center_, "scale_": ROBUST.scale_}, ROBUST),
    ("robust", {"median": np.median(DATA, 0), "iqr": IQR}, ROBUST),
    ("minmax", {"min_": MINMAX.min_, "scale_": MINMAX.scale_}, MINMAX),
    ("minmax", {"data_min": LOW, "data_max": HIGH}, MINMAX),
    ("minmax", {"data_min_": LOW, "data_max_": HIGH}, MINMAX),
    ("minmax", {"min": LOW, "max": HIGH}, MINMAX),
    ("minmax", {"min": LOW, "max": HIGH, "feature_range": [-1, 3], "clip": True}, RANGED),
    (
        "minmax",
        {
            "min_": RANGED.min_, "scale_": RANGED.scale_, "data_min_": RANGED.data_min_,
            "data_max_": RANGED.data_max_, "data_range_": RANGED.data_range_, "feature_range": [-1, 3], "clip": True,
        },
        RANGED,
    ),
    ("maxabs", {"scale_": MAXABS.scale_}, MAXABS),
    ("maxabs", {"max_abs_": MAXABS.max_abs_}, MAXABS),
]  # fmt: skip


@pytest.mark.parametrize("file", WRITES)
@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: f"{case[0]}:{'+'.join(case[1])}")
def test_every_accepted_set_equals_scikit_learn(case: tuple[Kind, dict[str, Any], Any], file: str) -> None:
    """In both directions, with constant columns, and values outside the fitted data."""
    kind, numbers, fitted = case
    read = read_parameters(WRITES[file](numbers), file, kind)
    values = np.concatenate([DATA, DATA * 3 - 5])
    np.testing.assert_allclose(read.transform(values), fitted.transform(values), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(read.inverse_transform(values), fitted.inverse_transform(values), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("file", WRITES)
@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: f"{case[0]}:{'+'.join(case[1])}")
def test_the_kind_is_that_of_the_numbers(case: tuple[Kind, dict[str, Any], Any], file: str) -> None:
    """A scale alone has no kind; every other set of names has one."""
    kind, numbers, _ = case
    if set(numbers) == {"scale_"}:
        with pytest.raises(
            BundleError, match=r"scale_, which are not the numbers of a scaler; .*scale with kind = maxabs"
        ):
            read_parameters(WRITES[file](numbers), file, None)
    else:
        assert read_parameters(WRITES[file](numbers), file, None).kind == kind


STATISTICS = pd.DataFrame(DATA, columns=["a", "b", "c", "d"]).agg(["mean", "std", "min", "max"])
NUMBERS = STATISTICS.loc[["mean", "std"]].replace(0.0, 1.0)


@pytest.mark.parametrize(
    "text",
    [NUMBERS.T.to_json(double_precision=15), NUMBERS.to_json(double_precision=15)],
    ids=["by number", "by column"],
)
def test_numbers_by_the_name_of_their_column(text: str) -> None:
    """As pandas writes tables; the scaler is bound by these names."""
    read = read_parameters(text.encode(), "s.json", None)
    assert (read.kind, read.columns) == ("standard", ("a", "b", "c", "d"))
    expected = (DATA - NUMBERS.loc["mean"].to_numpy()) / NUMBERS.loc["std"].to_numpy()
    np.testing.assert_allclose(read.transform(DATA), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("key", ["feature_names_in_", "feature_names", "features", "columns"])
def test_names_of_columns(key: str) -> None:
    """Beside the numbers; there must be one for each."""
    numbers = {"mean": [1.0, 2.0], "std": [1.0, 2.0]}
    assert read_parameters(json.dumps({**numbers, key: ["u", "v"]}).encode(), "s.json", None).columns == ("u", "v")
    with pytest.raises(BundleError, match=f"names 1 column in {key}, but has numbers for 2"):
        read_parameters(json.dumps({**numbers, key: ["u"]}).encode(), "s.json", None)


def test_numbers_of_two_kinds() -> None:
    """The kind decides; without it, the message has the meaning of each."""
    text = STATISTICS.drop(columns="d").to_json(double_precision=15).encode()
    with pytest.raises(BundleError) as caught:
        read_parameters(text, "s.json", None)
    assert str(caught.value) == (
        "s.json has mean, std, min, max: the numbers of 2 kinds of scaler; add to the spec, under"
        ' [scaler]: kind = "standard" for (x - mean) / std or kind = "minmax" for (x - min) / (max - min)'
    )
    low = STATISTICS.loc["min"].to_numpy()[:3]
    np.testing.assert_allclose(read_parameters(text, "s.json", "minmax").transform(low[None]), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({}, "has nothing, which are not"),
        (
            {"mu": ONES, "sigma": ONES},
            "has mu, sigma, which are not the numbers of a scaler; accepted are mean and scale",
        ),
        ({"min": ONES, "scale": ONES}, "has min, scale, which are not the numbers of a scaler"),
        ({"kind": "zscore", "mean": ONES, "std": ONES}, "kind 'zscore' is not one of 'standard', 'robust', 'minmax'"),
        ({"a": {"mean": 1.0, "std": 1.0}, "b": {"mean": 1.0}}, "'b' lacks 'std', which others of its entries have"),
        ({"mean": {"a": 1.0}, "std": {"b": 1.0}}, "'mean' lacks 'b', which others of its entries have"),
        ({"mean": {"a": [1.0, 2.0]}, "std": {"a": [1.0, 2.0]}}, "have different lengths|names 1 column"),
    ],
)
def test_numbers_of_no_kind(numbers: dict[str, Any], message: str) -> None:
    """One line, which lists every accepted set of names with its meaning."""
    with pytest.raises(BundleError, match=message) as caught:
        read_parameters(json.dumps(numbers).encode(), "s.json", None)
    assert "\n" not in str(caught.value)
    if "accepted" in str(caught.value):
        meanings = (
            "mean and var: (x - mean) / sqrt(var)",
            "min_ and scale_: x * scale_ + min_",
            "max_abs: x / max_abs",
        )
        assert all(meaning in str(caught.value) for meaning in meanings)


REFUSED: list[tuple[Kind, dict[str, Any], str]] = [
    ("minmax", {"min": ONES, "scale": ONES}, "min_ and scale_, or data_min and data_max, or min and max"),
    ("minmax", {"min": ONES, "max": ONES, "scale": ONES}, "'min' and 'scale', which is ambiguous"),
    ("minmax", {"min_": ONES, "scale": ONES}, "lacks the numbers of a minmax scaler"),
    ("minmax", {"min_": ONES, "max_": ONES}, "min_ and scale_, or data_min and data_max, or min and max"),
    ("minmax", {"data_min": ONES, "data_max": [2.0, 0.5]}, "data_max of column 1 is 0.5, below its data_min 1"),
    ("minmax", {"min": [3.0], "max": [2.0]}, "max of column 0 is 2, below its min 3"),
    ("minmax", {"min": ONES, "max": ONES, "feature_range": [1, 1]}, "not a range"),
    ("standard", {"mean": ONES}, "mean and scale, or mean and std, or mean and var"),
    ("standard", {"mean": ONES, "scale": [1.0]}, "have different lengths: mean has 2, scale has 1"),
    ("standard", {"mean": [ONES, ONES], "scale": [ONES, ONES]}, r"the shape \[2, 2\]"),
    ("standard", {"mean": ONES, "std": [1.0, -1.0]}, "std of column 1 is -1, below 0"),
    ("standard", {"mean": ONES, "scale": [1.0, float("nan")]}, "not finite"),
    ("standard", {"mean": ONES, "scale": ONES, "with_mean": False}, "with_mean is false"),
    ("robust", {"mean": ONES, "scale": ONES}, "center and scale, or median and iqr"),
    ("maxabs", {"max": ONES}, "scale, or max_abs"),
]


@pytest.mark.parametrize("file", WRITES)
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}:{'+'.join(case[1])}")
def test_ambiguous_or_inconsistent_numbers_are_refused(case: tuple[Kind, dict[str, Any], str], file: str) -> None:
    """With every accepted set of names, in one line."""
    kind, numbers, message = case
    with pytest.raises(BundleError, match=message) as caught:
        read_parameters(WRITES[file](numbers), file, kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"mean": [1e400], "scale": [1]}', '{"mean": [1%s], "scale": [1]}' % ("0" * 400)])
def test_numbers_outside_float64_are_refused(text: str) -> None:
    """Infinity, or an integer that is too large for a float."""
    with pytest.raises(BundleError):
        read_parameters(text.encode(), "s.json", "standard")
