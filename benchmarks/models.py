"""Models of public libraries, saved as bundles, scored, and compared with the library's own predictions.

    python benchmarks/models.py                     a table; models whose library is not installed are said
    python benchmarks/models.py --only timm,rtdl    some of them
    python benchmarks/models.py --write             put the table into docs/reference/models.md

Weights are random with a fixed seed, and BatchNorm statistics are perturbed, so that no layer is an identity. Ends with
1 if a model is not kept, or a prediction differs by more than 1e-4. Needs `pip install 'scoreline[models]'`.
"""

# ruff: noqa: T201 - this prints a table, and a model imports its library when it is built

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor, nn

from scoreline import (
    FloatSequence,
    Image,
    Multiclass,
    Regression,
    Scorer,
    Table,
    Tokens,
    TokenSequence,
    load_weights,
    save_bundle,
)

ROOT = Path(__file__).parents[1]
LABELS = ["a", "b", "c", "d", "e"]
MOST = 1e-4
BEGIN, END = "<!-- models: begin -->", "<!-- models: end -->"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with rows for it. `own`: the library's own outputs for these rows, `[rows, outputs]`. `model`: what
    `save_bundle` takes; for a model that is a file, its bytes are in `file`, by the name that it is written to."""

    sample: Any
    own: Callable[[], Tensor]
    task: Any = field(default_factory=lambda: Multiclass(LABELS))
    spec: dict[str, Any]
    model: Any = None
    file: tuple[str, bytes] = ("", b"")


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    name: str
    kept: str
    difference: float | None
    seconds: float


def perturbed(model: nn.Module) -> nn.Module:
    """The model in eval mode, with statistics of BatchNorm as after training."""
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_mean is not None:
            assert layer.running_var is not None, "they are set together"
            layer.running_mean.copy_(torch.randn(layer.num_features, generator=generator) * 0.1)
            layer.running_var.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
    return model.eval()


def run(model: nn.Module, *inputs: Tensor) -> Tensor:
    """The scores of a model, out of what it returns."""
    with torch.inference_mode():
        found = model(*inputs)
    if isinstance(found, dict):
        found = found["logits"]
    return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]


def numbers(rows: int = 40, columns: int = 8, seed: int = 0) -> pd.DataFrame:
    """Normal numbers in columns x0, x1, …"""
    values = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return pd.DataFrame(values, columns=[f"x{at}" for at in range(columns)])


def table(model: nn.Module, columns: int = 8, **options: Any) -> Case:
    """A model of one table of numbers."""
    frame, model = numbers(columns=columns), perturbed(model)
    x = torch.from_numpy(frame.to_numpy())
    return Case(
        model=model, sample=frame, own=lambda: run(model, x.clone()), spec={"features": list(frame.columns)}, **options
    )


def mixed(model: nn.Module, cardinalities: Sequence[int], **options: Any) -> Case:
    """A model of a table of numbers and a table of codes."""
    frame, model = numbers(), perturbed(model)
    draw = np.random.default_rng(1)
    codes = pd.DataFrame({f"c{at}": draw.integers(0, size, len(frame)) for at, size in enumerate(cardinalities)})
    inputs = {"x_cont": Table(list(frame.columns)), "x_cat": Table(list(codes.columns))}
    given = torch.from_numpy(frame.to_numpy()), torch.from_numpy(codes.to_numpy())
    return Case(
        model=model,
        sample=pd.concat([frame, codes], axis=1),
        own=lambda: run(model, *(one.clone() for one in given)),
        spec={"inputs": inputs},
        **options,
    )


def images(model: nn.Module, size: int) -> Case:
    """A classifier of pictures, given as PNG files of exactly its size."""
    from PIL import Image as Picture

    draw, files, pixels = np.random.default_rng(0), [], []
    for _ in range(8):
        values = draw.integers(0, 256, (size, size, 3)).astype(np.uint8)
        file = io.BytesIO()
        Picture.fromarray(values).save(file, "png")
        files.append(file.getvalue())
        pixels.append(torch.from_numpy(values).permute(2, 0, 1) / 255)
    model, mean, std = perturbed(model), torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (torch.stack(pixels) - mean[:, None, None]) / std[:, None, None]
    spec = Image("photo", size=(size, size), mean=mean.tolist(), std=std.tolist())
    return Case(
        model=model, sample=pa.table({"photo": files}), own=lambda: run(model, x.clone()), spec={"inputs": {"x": spec}}
    )


def texts(model: nn.Module, words: int) -> Case:
    """A classifier of lists of tokens, with a mask of the real ones."""
    draw, model = np.random.default_rng(0), perturbed(model)
    lists = [draw.integers(1, words, draw.integers(1, 14)).tolist() for _ in range(24)]

    def own() -> Tensor:
        one = [run(model, torch.tensor([tokens]), torch.ones(1, len(tokens), dtype=torch.bool)) for tokens in lists]
        return torch.cat(one)

    spec = TokenSequence("text", longest=14, mask="real")
    return Case(model=model, sample=pa.table({"text": lists}), own=own, spec={"inputs": {"input_ids": spec}})


class Adapted(nn.Module):
    """A model of a table, from one that takes or returns something else. `call` calls it."""

    def __init__(self, inner: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.call = inner, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.inner, x)


class Forecaster(nn.Module):
    """The recurrent network of every tutorial: zeros as the first state, the last step into a Linear."""

    def __init__(self, kind: type[nn.RNNBase], outputs: int) -> None:
        super().__init__()
        self.recurrent, self.out = kind(1, 16, num_layers=2, batch_first=True), nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dim() == 3 else x.unsqueeze(-1)
        start = torch.zeros(2, x.size(0), 16).to(x.device)
        steps, _ = self.recurrent(x, (start, start.clone()) if isinstance(self.recurrent, nn.LSTM) else start)
        return self.out(steps[:, -1, :])  # type: ignore[no-any-return]


class Autoencoder(nn.Module):
    """Returns the error of its reconstruction: an anomaly score."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        self.decoder = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.mse_loss(self.decoder(self.encoder(x)), x, reduction="none").mean(dim=1)


class TwoTowers(nn.Module):
    """A recommender: the dot product of a user and an item."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(50, 8), nn.Embedding(30, 8)
        self.user, self.item = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return (self.user(self.users(ids[:, 0])) * self.item(self.items(ids[:, 1]))).sum(dim=1)


def rtdl() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Models of rtdl_revisiting_models."""
    import rtdl_revisiting_models as library

    yield "MLP", lambda: table(library.MLP(d_in=8, d_out=5, n_blocks=2, d_block=16, dropout=0.1))
    yield (
        "ResNet",
        lambda: table(
            library.ResNet(
                d_in=8,
                d_out=5,
                n_blocks=2,
                d_block=16,
                d_hidden=None,
                d_hidden_multiplier=2.0,
                dropout1=0.3,
                dropout2=0.1,
            )
        ),
    )

    def transformer(cardinalities: list[int]) -> nn.Module:
        defaults = library.FTTransformer.get_default_kwargs(n_blocks=2)
        return library.FTTransformer(n_cont_features=8, cat_cardinalities=cardinalities, d_out=5, **defaults)  # type: ignore[no-any-return]

    yield "FTTransformer, numbers and categories", lambda: mixed(transformer([4, 7]), [4, 7])


def tabm() -> Iterator[tuple[str, Callable[[], Case]]]:
    """The models of tabm; the mean over its ensemble is part of the model."""
    import tabm as library

    def mean(inner: nn.Module) -> nn.Module:
        return Adapted(inner, lambda model, x: model(x).mean(dim=1))

    for arch in ("tabm", "tabm-mini"):
        yield (
            arch,
            lambda arch=arch: table(
                mean(
                    library.TabM(
                        n_num_features=8, d_out=5, n_blocks=2, d_block=16, dropout=0.1, k=4, arch_type=arch,
                        start_scaling_init="random-signs",
                    )
                )
            ),
        )  # fmt: skip


def rtdl_num_embeddings() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Embeddings of numbers in front of an MLP."""
    import rtdl_num_embeddings as library

    def behind(embeddings: nn.Module, width: int) -> nn.Module:
        return nn.Sequential(embeddings, nn.Flatten(), nn.Linear(8 * width, 16), nn.ReLU(), nn.Linear(16, 5))

    bins = [torch.linspace(-2, 2, 6) for _ in range(8)]
    yield "LinearReLUEmbeddings", lambda: table(behind(library.LinearReLUEmbeddings(8, 6), 6))
    yield "PeriodicEmbeddings", lambda: table(behind(library.PeriodicEmbeddings(8, 6, lite=False), 6))
    yield (
        "PiecewiseLinearEmbeddings",
        lambda: table(behind(library.PiecewiseLinearEmbeddings(bins, 6, activation=True, version="B"), 6)),
    )


def pytorch_tabnet() -> Iterator[tuple[str, Callable[[], Case]]]:
    """TabNet, whose forward returns its scores and a loss."""
    from pytorch_tabnet.tab_network import TabNet

    groups = torch.eye(8)
    yield (
        "TabNet",
        lambda: table(TabNet(8, 5, n_steps=2, group_attention_matrix=groups), task=Multiclass(LABELS, output=0)),
    )


def torch_frame() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Models of PyTorch Frame, whose forward takes an object of its own, which a wrapper makes of a table."""
    from torch_frame import TensorFrame, stype
    from torch_frame.data.stats import StatType
    from torch_frame.nn import models

    names = [f"x{at}" for at in range(8)]
    statistics = {
        name: {StatType.MEAN: 0.0, StatType.STD: 1.0, StatType.QUANTILES: [-2.0, -1.0, 0.0, 1.0, 2.0]} for name in names
    }
    given = {"channels": 16, "out_channels": 5, "num_layers": 2, "col_stats": statistics}
    given["col_names_dict"] = {stype.numerical: names}

    def called(inner: nn.Module, x: Tensor) -> Tensor:
        made = inner(TensorFrame({stype.numerical: x}, {stype.numerical: names}))
        return made.mean(dim=1) if made.dim() == 3 else made  # type: ignore[no-any-return]  # Trompt: of each layer

    for name, more in (("FTTransformer", {}), ("ResNet", {}), ("MLP", {}), ("Trompt", {"num_prompts": 4})):
        yield name, lambda name=name, more=more: table(Adapted(getattr(models, name)(**given, **more), called))


def pytorch_tabular() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Models of PyTorch Tabular, whose forward takes a dict of two tables."""
    from pytorch_tabular import TabularModel, models
    from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig

    def called(inner: nn.Module, x: Tensor) -> Tensor:
        none = x.new_zeros(x.shape[0], 0).long()
        return inner({"continuous": x, "categorical": none})["logits"]  # type: ignore[no-any-return]

    def made(config: str) -> Case:
        frame = numbers().assign(y=np.arange(40) % 5)
        data = DataConfig(target=["y"], continuous_cols=list(frame.columns[:-1]), normalize_continuous_features=False)
        trainer = TrainerConfig(max_epochs=1, accelerator="cpu", progress_bar="none")
        model = TabularModel(
            data_config=data, model_config=getattr(models, config)(task="classification"),
            optimizer_config=OptimizerConfig(), trainer_config=trainer, verbose=False,
        )  # fmt: skip
        return table(Adapted(model.prepare_model(model.prepare_dataloader(frame)), called))

    for name in ("CategoryEmbedding", "FTTransformer", "AutoInt", "GANDALF", "GatedAdditiveTreeEnsemble"):
        yield name, lambda name=name: made(f"{name}ModelConfig" if name == "CategoryEmbedding" else f"{name}Config")


def torchvision() -> Iterator[tuple[str, Callable[[], Case]]]:
    """One model of each family of classifiers."""
    from torchvision import models

    sizes = {"maxvit_t": 224, "inception_v3": 96}
    for name in (
        "alexnet", "vgg11_bn", "resnet18", "resnext50_32x4d", "wide_resnet50_2", "squeezenet1_0", "densenet121",
        "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5",
        "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "convnext_tiny", "vit_b_16", "swin_t", "swin_v2_t",
        "maxvit_t",
    ):  # fmt: skip
        more = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        more |= {"image_size": 64} if name == "vit_b_16" else {}
        yield (
            name,
            lambda name=name, more=more: images(
                models.get_model(name, weights=None, num_classes=5, **more), sizes.get(name, 64)
            ),
        )


def timm() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Models of many kinds."""
    import timm as library

    for name in (
        "resnet18d", "efficientnet_lite0", "mobilenetv3_small_050", "regnety_002", "ghostnet_100", "res2net50_14w_8s",
        "convnext_atto", "poolformer_s12", "edgenext_xx_small", "mobilevit_xxs", "vit_tiny_patch16_224",
        "deit_tiny_patch16_224", "beit_base_patch16_224", "swin_tiny_patch4_window7_224", "levit_128s", "mixer_s32_224",
        "resmlp_12_224",
    ):  # fmt: skip
        size = 224 if "224" in name or name == "levit_128s" else 64
        yield name, lambda name=name, size=size: images(library.create_model(name, num_classes=5), size)


def transformers() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Classifiers of text, small ones from their configuration."""
    import transformers as library

    small = {"vocab_size": 60, "num_labels": 5}
    bert = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    yield (
        "BertForSequenceClassification",
        lambda: texts(library.BertForSequenceClassification(library.BertConfig(**small, **bert)), 60),
    )
    yield (
        "DistilBertForSequenceClassification",
        lambda: texts(
            library.DistilBertForSequenceClassification(
                library.DistilBertConfig(**small, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
            ),
            60,
        ),
    )
    yield (
        "RobertaForSequenceClassification",
        lambda: texts(
            library.RobertaForSequenceClassification(library.RobertaConfig(**small, **bert, pad_token_id=0)), 60
        ),
    )

    class Embedder(nn.Module):
        """Like the MiniLM models of sentence-transformers: the mean of the real tokens' states, here into a Linear."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = library.BertModel(library.BertConfig(vocab_size=60, **bert), add_pooling_layer=False)
            self.out = nn.Linear(16, 5)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            states = self.inner(input_ids, attention_mask).last_hidden_state
            real = attention_mask.unsqueeze(-1).to(states.dtype)
            return self.out((states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9))  # type: ignore[no-any-return]

    yield "MiniLM-like, mean of BertModel's states", lambda: texts(Embedder(), 60)

    def from_text() -> Case:
        from tokenizers import BertWordPieceTokenizer

        words = ["good", "bad", "not", "film", "book", "it", "was", "the", "a", "really", "at", "all"]
        draw = np.random.default_rng(0)
        rows = [" ".join(draw.choice(words, draw.integers(1, 20))) for _ in range(24)] + ["naïve 🙂 été"]
        tokenizer = BertWordPieceTokenizer()
        tokenizer.train_from_iterator(rows, vocab_size=60)
        tokenizer.enable_truncation(14)
        model = perturbed(library.BertForSequenceClassification(library.BertConfig(**small, **bert)))
        encoded = [tokenizer.encode(text) for text in rows]

        def own() -> Tensor:
            given = ([one.ids, one.attention_mask, one.type_ids] for one in encoded)
            return torch.cat([run(model, *(torch.tensor([numbers]) for numbers in one)) for one in given])

        spec = Tokens("text", tokenizer=tokenizer._tokenizer, longest=14, mask="attention", types=True)
        return Case(model=model, sample=pa.table({"text": rows}), own=own, spec={"inputs": {"input_ids": spec}})

    yield "BertForSequenceClassification, text by its tokenizer", from_text


def tutorials() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Models as tutorials write them, in plain PyTorch."""
    one = {"task": Regression()}
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        yield f"{kind.__name__} forecaster over 8 lags", lambda kind=kind: table(Forecaster(kind, 1), **one)

    def lists() -> Case:
        draw, model = np.random.default_rng(0), perturbed(Forecaster(nn.LSTM, 5))
        values = [draw.normal(size=draw.integers(1, 9)).tolist() for _ in range(24)]
        return Case(
            model=model,
            sample=pa.table({"x": values}),
            own=lambda: torch.cat([run(model, torch.tensor([steps])[..., None]) for steps in values]),
            spec={"inputs": {"x": FloatSequence(["x"], longest=9)}},
        )

    yield "LSTM over lists of different lengths", lists
    yield "autoencoder, error of the reconstruction", lambda: table(Autoencoder(), **one)

    def towers() -> Case:
        draw, model = np.random.default_rng(0), perturbed(TwoTowers())
        frame = pd.DataFrame({"user": draw.integers(0, 50, 40), "item": draw.integers(0, 30, 40)})
        ids = torch.from_numpy(frame.to_numpy())
        spec = {"features": ["user", "item"]}
        return Case(model=model, sample=frame, own=lambda: run(model, ids), spec=spec, **one)

    yield "two towers", towers


def skorch() -> Iterator[tuple[str, Callable[[], Case]]]:
    """A fitted net."""
    from skorch import NeuralNetClassifier

    def fitted() -> Case:
        frame, labels = numbers(), np.random.default_rng(2).integers(0, 5, 40)
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5))
        net = NeuralNetClassifier(network, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0)
        net.fit(frame.to_numpy(), labels)
        wanted = torch.from_numpy(net.predict_proba(frame.to_numpy())).log()
        return Case(model=net, sample=frame, own=lambda: wanted, spec={"features": list(frame.columns)})

    yield "NeuralNetClassifier", fitted


def lightning() -> Iterator[tuple[str, Callable[[], Case]]]:
    """A checkpoint of a training."""
    import pytorch_lightning as library

    class Lit(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5))

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.01)

    def checkpoint() -> Case:
        frame, labels, lit = numbers(), torch.from_numpy(np.random.default_rng(2).integers(0, 5, 40)), Lit()
        x = torch.from_numpy(frame.to_numpy())
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = library.Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, **quiet)
        trainer.fit(lit, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=20))
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_checkpoint(f"{folder}/last.ckpt")
            model = load_weights(Lit().network, f"{folder}/last.ckpt")
        own = lit.network.eval()
        return Case(model=model, sample=frame, own=lambda: run(own, x), spec={"features": list(frame.columns)})

    yield ".ckpt of a Trainer", checkpoint


def whole_modules() -> Iterator[tuple[str, Callable[[], Case]]]:
    """A file of `torch.save(model)`, read by `scoreline pack --allow-pickle`."""

    def pickled() -> Case:
        made = table(perturbed(nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 5))))
        file = io.BytesIO()
        torch.save(made.model, file)
        return replace(made, file=("model.pt", file.getvalue()))

    yield "torch.save(model)", pickled


def onnx_trees() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Trees as their converters write them, scored without naming an output."""
    import lightgbm
    import onnxmltools
    import skl2onnx
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    frame, labels = numbers(), np.random.default_rng(2).integers(0, 5, 40)
    kinds = [("input", FloatTensorType([None, 8]))]

    def case(fitted: Any, converted: Any) -> Case:
        own = torch.from_numpy(np.asarray(fitted.predict_proba(frame.to_numpy()))).log()
        return Case(
            file=("model.onnx", converted.SerializeToString()),
            sample=frame,
            own=lambda: own,
            spec={"features": list(frame.columns)},
        )

    def forest() -> Case:
        fitted = RandomForestClassifier(20, random_state=0).fit(frame.to_numpy(), labels)
        return case(fitted, skl2onnx.to_onnx(fitted, frame.to_numpy()[:1]))

    def boosted() -> Case:
        fitted = xgboost.XGBClassifier(n_estimators=20).fit(frame.to_numpy(), labels)
        return case(fitted, onnxmltools.convert_xgboost(fitted, initial_types=kinds))

    def leaves() -> Case:
        fitted = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, min_child_samples=2).fit(frame.to_numpy(), labels)
        return case(fitted, onnxmltools.convert_lightgbm(fitted, initial_types=kinds))

    yield "RandomForestClassifier (skl2onnx)", forest
    yield "XGBClassifier", boosted
    yield "LGBMClassifier", leaves


LIBRARIES = (
    rtdl, rtdl_num_embeddings, tabm, pytorch_tabnet, torch_frame, pytorch_tabular, tutorials, skorch, lightning,
    whole_modules, onnx_trees, transformers, torchvision, timm,
)  # fmt: skip


def compare(case: Case, folder: Path) -> tuple[str, float]:
    """How the model is kept, and the largest difference of a score."""
    name, data = case.file
    file = folder.parent / name
    if data:
        file.write_bytes(data)
    if name == "model.pt":
        packed(case, file, folder)
    else:
        save_bundle(folder, file if data else case.model, task=case.task, sample=case.sample, **case.spec)
    scorer, own = Scorer.load(folder), case.own().float()
    scores = scorer.score_frame(case.sample)
    scores = scores.to_pandas() if isinstance(scores, pa.Table) else scores
    if isinstance(case.task, Regression):
        made, wanted = scores["prediction"].to_numpy(), own.reshape(-1).numpy()
    else:
        made = scores[[f"probability_{label}" for label in LABELS]].to_numpy()
        wanted = torch.softmax(own, dim=1).numpy()
    difference = float(np.abs(made - wanted).max())
    if not (folder / "graph.json").exists():
        return "ONNX, as its converter wrote it", difference
    nodes = json.loads((folder / "graph.json").read_text())["nodes"]
    operators = sum(node["op"] == "operator" for node in nodes)
    kept = f"exported, {operators} operators among {len(nodes)} nodes" if operators else f"traced, {len(nodes)} nodes"
    return kept, difference


def packed(case: Case, file: Path, folder: Path) -> None:
    """Save a bundle of a pickle with the command, which reads it in a process of its own."""
    case.sample.to_csv(file.with_name("sample.csv"), index=False)
    spec = file.with_name("spec.toml")
    spec.write_text(
        f'features = {case.spec["features"]}\nsample = "sample.csv"\n[model]\nfile = "{file.name}"\n'
        f'[task]\nkind = "multiclass"\nlabels = {LABELS}\n'
    )
    command = [sys.executable, "-m", "scoreline", "pack", str(spec), str(folder), "--allow-pickle"]
    subprocess.run(command, check=True, capture_output=True)


def rows(only: Sequence[str]) -> Iterator[Row]:
    """Every model; of a library that is not installed, one row that says so."""
    for library in LIBRARIES:
        name = library.__name__
        if only and not any(one.split("/")[0] in name for one in only):
            continue
        try:
            cases = list(library())
        except (ImportError, RuntimeError) as error:
            yield Row(name, f"not tried: {type(error).__name__}: {error}", None, 0.0)
            continue
        for title, make in cases:
            if only and not any("/" not in one or one.split("/")[1] in title for one in only):
                continue
            before = time.perf_counter()
            torch.manual_seed(0)
            try:
                with tempfile.TemporaryDirectory() as folder:
                    kept, difference = compare(make(), Path(folder) / "bundle")
            except Exception as error:  # a row for every model
                yield Row(f"{name}: {title}", f"refused: {error}", None, time.perf_counter() - before)
                continue
            yield Row(f"{name}: {title}", kept, difference, time.perf_counter() - before)


def main() -> int:
    """Print the table, and write it where it belongs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="libraries, or LIBRARY/MODEL, separated by commas")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/models.md")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found = []
    for row in rows([one for one in args.only.split(",") if one]):
        shown = "" if row.difference is None else f"{row.difference:.1e}"
        print(f"{row.name}: {row.kept}  {shown}  {row.seconds:.0f} s", flush=True)
        found.append(f"| {row.name} | {row.kept} | {shown or '–'} |")
        failed = row.kept.startswith("refused") or (row.difference or 0.0) > MOST
        if failed:
            print("  ^ not kept, or different", flush=True)
            found[-1] += " "
    if args.write:
        page = ROOT / "docs" / "reference" / "models.md"
        text = page.read_text()
        head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
        lines = ["| model | how it is kept | largest difference |", "|---|---|---|", *(line.rstrip() for line in found)]
        page.write_text("\n".join([head, *lines, tail]))
    return int(any(line.endswith(" ") for line in found))


if __name__ == "__main__":
    sys.exit(main())
