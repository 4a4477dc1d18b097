"""Models with image inputs: with a table, two images, ensembles, other formats, hidden layers."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import torch
from scoreline.pipeline.errors import UntrustedBundleError
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from image_models import LABELS, PHOTOS, PREPARED, Cnn, Saved, Score, check, logits, pixels, write
from scoreline import Ensemble, Image, Model, Multiclass, Regression, Scorer, Table, save_bundle

pytestmark = pytest.mark.usefixtures("one_core")


class WithFacts(Cnn):
    """The same with columns of a table."""

    def __init__(self) -> None:
        super().__init__(facts=2, seed=4)

    def forward(self, photo: Tensor, facts: Tensor) -> Tensor:  # type: ignore[override]
        seen = self.mean(self.pool(self.act(self.norm(self.conv(photo))))).flatten(1)
        return self.out(torch.cat([seen, facts], dim=1))


def make_cnn() -> Cnn:
    """The factory that an import path names."""
    return Cnn()


def test_images_beside_a_table(score: Score, tmp_path: Path) -> None:
    """Each input is an argument of its own; rows with a bad image or a bad number are rejected; columns may be in
    another order in the file."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"age": rng.normal(50, 20, 30), "height": rng.normal(170, 10, 30)})
    scaler, model = StandardScaler().fit(frame), WithFacts()
    sample = pa.table({"age": frame["age"], "photo": pa.array(PHOTOS, pa.binary()), "height": frame["height"]})
    save_bundle(
        tmp_path / "b",
        model,
        inputs={"photo": Image("photo", **PREPARED["rgb"]), "facts": Table(["age", "height"])},
        task=Multiclass(LABELS),
        scaler=[(scaler, ["age", "height"])],
        sample=sample,
    )
    cells = [b"broken" if index in (3, 4) else data for index, data in enumerate(PHOTOS)]
    ages = [None if index in (4, 20) else age for index, age in enumerate(frame["age"])]
    write(tmp_path / "in" / "a.parquet", pa.array(cells, pa.binary()), height=frame["height"], age=pa.array(ages))
    done = score(tmp_path / "b", "--max-rejects", "3", "--batch-size", "7")
    assert done.code == 0, done.message
    facts = torch.tensor(scaler.transform(frame), dtype=torch.float32)
    kept = [index for index in range(30) if index not in (3, 4, 20)]
    wanted = logits(model, [PHOTOS[index] for index in kept], facts[kept], **PREPARED["rgb"])
    check(pq.read_table(tmp_path / "out" / "a.parquet"), wanted, ids=kept)


def test_two_images_of_a_row(score: Score, tmp_path: Path) -> None:
    """Each is prepared in its own way; if both are broken, the first gives the reason."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.back = Cnn(3, seed=1), Cnn(1, seed=2)

        def forward(self, front: Tensor, back: Tensor) -> Tensor:
            return self.front(front) - self.back(back)

    model = Both().eval()
    front, back = pa.array(PHOTOS, pa.binary()), pa.array(PHOTOS[::-1], pa.binary())
    save_bundle(
        tmp_path / "b",
        model,
        inputs={"front": Image("front", **PREPARED["rgb"]), "back": Image("back", **PREPARED["grey"])},
        task=Multiclass(LABELS),
        sample=pa.table({"back": back, "front": front}),
    )
    cells = [b"x" if index in (2, 9) else data for index, data in enumerate(PHOTOS)]
    others = [b"" if index in (9, 15) else data for index, data in enumerate(PHOTOS[::-1])]
    table = pa.table({"back": pa.array(others, pa.binary()), "id": np.arange(30), "front": pa.array(cells)})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    assert score(tmp_path / "b", "--max-rejects", "3").code == 0
    kept = [index for index in range(30) if index not in (2, 9, 15)]
    wanted = logits(model.front, [PHOTOS[index] for index in kept], **PREPARED["rgb"]) - logits(
        model.back, [PHOTOS[::-1][index] for index in kept], **PREPARED["grey"]
    )
    check(pq.read_table(tmp_path / "out" / "a.parquet"), wanted, ids=kept)
    with pyarrow.ipc.open_file(tmp_path / "out" / "_rejects" / "a.arrow") as file:
        reasons = file.read_all()["reject"].to_pylist()
    assert [(one["row_number"], one["column"]) for one in reasons] == [(2, "front"), (9, "front"), (15, "back")]


def test_hidden_layers_of_an_image_model(saved: dict[str, Saved], score: Score, scoreline: Any, tmp_path: Path) -> None:
    """The outputs of the user's own layers, flattened; rejected rows have none."""
    cells = [None if index == 7 else data for index, data in enumerate(PHOTOS)]
    write(tmp_path / "in" / "a.parquet", pa.array(cells, pa.binary()))
    listed = scoreline("layers", saved["rgb"].bundle, "--json")
    assert {"conv", "norm", "pool", "mean", "out"} <= {one["calls"] for one in json.loads(listed.out)[0]}
    words = ("--hidden", "mean", "--hidden", "norm", "--max-rejects", "1")
    done = score(saved["rgb"].bundle, *words)
    assert done.code == 0, done.message
    rows, model = pq.read_table(tmp_path / "out" / "a.parquet"), saved["rgb"].model
    assert isinstance(model, Cnn)
    good = [data for data in cells if data is not None]
    with torch.no_grad():
        batch = torch.stack([pixels(data, **PREPARED["rgb"]) for data in good])
        norm = model.norm(model.conv(batch))
        mean = model.mean(model.pool(model.act(norm)))
    for name, wanted in (("norm", norm), ("mean", mean)):
        got = np.stack(rows[f"hidden_{name}"].to_numpy())
        np.testing.assert_allclose(got, wanted.flatten(1).numpy(), rtol=1e-5, atol=1e-5)


def test_an_ensemble_of_two(score: Score, tmp_path: Path) -> None:
    """The mean of the members' probabilities, and their standard deviation."""
    models = [Cnn(seed=1), Cnn(seed=2)]
    sample = pa.table({"photo": pa.array(PHOTOS, pa.binary())})
    save_bundle(
        tmp_path / "b",
        Ensemble(models),
        inputs=Image("photo", **PREPARED["rgb"]),
        task=Multiclass(LABELS),
        sample=sample,
    )
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    assert score(tmp_path / "b").code == 0
    each = [logits(model, PHOTOS, **PREPARED["rgb"]).softmax(dim=1) for model in models]
    check(pq.read_table(tmp_path / "out" / "a.parquet"), ((each[0] + each[1]) / 2).log())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "import", "pt2"])
def test_models_of_other_formats(score: Score, tmp_path: Path, kind: str) -> None:
    """Saved in the format of the user; a bundle that contains code scores if it is trusted."""
    model: Any = Cnn()
    example = torch.zeros(5, 3, 12, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporters
        batch = torch.export.Dim("batch", min=2)
        match kind:
            case "onnx":
                given: Any = tmp_path / "m.onnx"
                shapes = ({0: batch},)
                torch.onnx.export(
                    model, (example,), input_names=["photo"], dynamo=True, verbose=False, dynamic_shapes=shapes
                ).save(str(given))
            case "torchscript":
                given = tmp_path / "m.pt"
                torch.jit.trace(model, example).save(str(given))
            case "pt2":
                given = tmp_path / "m.pt2"
                torch.export.save(torch.export.export(model, (example,), dynamic_shapes=({0: batch},)), given)
            case _:
                sys.modules["scoreline_image_factory"] = sys.modules[__name__]
                given = ("scoreline_image_factory:make_cnn", model.state_dict())
    save_bundle(
        tmp_path / "b",
        given,
        inputs=Image("photo", **PREPARED["rgb"]),
        task=Multiclass(LABELS),
        sample=pa.table({"photo": pa.array(PHOTOS, pa.binary())}),
    )
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    words: list[object] = []
    if kind != "onnx":
        with pytest.raises(UntrustedBundleError) as caught:
            Scorer.load(tmp_path / "b", device="cpu")
        words = ["--trust", str(caught.value).split("--trust ")[1][:71]]
        assert score(tmp_path / "b").code == 78
    done = score(tmp_path / "b", *words)
    assert done.code == 0, done.message
    check(pq.read_table(tmp_path / "out" / "a.parquet"), logits(model, PHOTOS, **PREPARED["rgb"]))


def test_a_regression_on_images(score: Score, tmp_path: Path) -> None:
    """Two targets, in their original units; the inputs as one dict."""

    class ByName(Cnn):
        def forward(self, given: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
            return super().forward(given["photo"])

    model, target = ByName(outputs=2).eval(), StandardScaler().fit([[100.0, 3.0], [300.0, 4.0]])
    save_bundle(
        tmp_path / "b",
        Model(model, call="dict"),
        inputs=Image("photo", size=[12, 16]),
        task=Regression(["weight", "age"], scaler=target),
        sample=pa.table({"photo": pa.array(PHOTOS, pa.binary())}),
    )
    write(tmp_path / "in" / "a.parquet", pa.array(PHOTOS, pa.binary()))
    assert score(tmp_path / "b", "--batch-size", "4").code == 0
    rows = pq.read_table(tmp_path / "out" / "a.parquet")
    with torch.no_grad():
        raw = torch.cat([model({"photo": pixels(data, size=(12, 16))[None]}) for data in PHOTOS])
    wanted = target.inverse_transform(raw.double().numpy())
    got = np.stack([rows[f"prediction_{name}"].to_numpy() for name in ("weight", "age")], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
