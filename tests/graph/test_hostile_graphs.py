"""Bundles that request terabytes with a few numbers are refused with exit code 78 before they allocate them."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
from scoreline.pipeline.bundle import golden
from torch import nn

from conftest import Result
from scoreline import BundleError, Regression, Scorer, save_bundle

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4)), columns=list("abcd"))

HUGE = 10**10


def node(name: str, op: str, target: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """One node; text that begins with `@` refers to another node."""
    return {"name": name, "op": op, "target": target, "args": [ref(a) for a in args], "kwargs": kwargs}


def ref(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("@"):
        return {"node": value[1:]}
    if isinstance(value, list):
        return [ref(entry) for entry in value]
    return {"tuple": [ref(entry) for entry in value]} if isinstance(value, tuple) else value


def doubled(times: int, one: Callable[[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    """A chain of nodes, each made from the previous one."""
    return [one(f"h{at}", "@x" if not at else f"@h{at - 1}") for at in range(times)]


def layer(kind: str, *, wide: bool = True, **args: Any) -> dict[str, Any]:
    """A layer over the input, with a channel dimension where it needs one."""
    first = [node("w", "method", "unsqueeze", "@x", 1)] if wide else []
    nodes = [*first, node("y", "layer", "big", "@w" if wide else "@x")]
    return {"layers": {"big": {"type": kind, "args": args}}, "nodes": nodes}


ALL_BUT_FIRST = {"slice": [None, None, None]}

#: Many integers, and an empty tensor of which a view has a thousand million columns.
FULL = node("n", "function", "torch.full", (), 5 * 10**8, dtype={"dtype": "int64"})
EMPTY = [
    node("e", "function", "operator.getitem", "@x", {"slice": [0, 0, None]}),
    node("n", "method", "narrow", "@e", 1, 0, 1),
    node("w", "method", "expand", "@n", -1, 10**9),
]

GRAPHS: dict[str, dict[str, Any]] = {
    "list times tensor": {"nodes": [FULL, node("y", "function", "operator.mul", [1], "@n")]},
    "text times tensor": {"nodes": [FULL, node("y", "function", "operator.imul", "a", "@n")]},
    "formatted text": {"nodes": [node("y", "function", "operator.mod", "%3000000000s", "@x")]},
    "list extended by a tensor": {"nodes": [node("y", "function", "operator.iadd", [1], "@x")]},
    "sum of nothing": {"nodes": [*EMPTY, node("y", "method", "sum", "@w", 0)]},
    "mean of nothing": {"nodes": [*EMPTY, node("y", "function", "torch.mean", "@w", 0)]},
    "sum of nothing by an operator": {"nodes": [*EMPTY, node("y", "operator", "aten.sum.dim_IntList", "@w", [0])]},
    "indices of what is true": {
        "nodes": [node("o", "function", "torch.ones", [2] * 24), node("y", "function", "torch.where", "@o")]
    },
    "indices of what is true by an operator": {"nodes": [node("y", "operator", "aten.where.default", "@x")]},
    "lists within lists": {"nodes": doubled(24, lambda name, of: node(name, "function", "operator.add", [of], [of]))},
    "repeat": {"nodes": [node("y", "method", "repeat", "@x", 1, HUGE)]},
    "padding of a packed sequence": {
        "nodes": [
            node("w", "method", "unsqueeze", "@x", 1),
            node("o", "function", "torch.ones", 20),
            node("l", "method", "long", "@o"),
            node("p", "function", "rnn.pack_padded_sequence", "@w", "@l", True),
            node("y", "function", "rnn.pad_packed_sequence", "@p", True, 0.0, HUGE),
        ]
    },
    "operator repeat": {"nodes": [node("y", "operator", "aten.repeat.default", "@x", [1, HUGE])]},
    "operator pad": {"nodes": [node("y", "operator", "aten.constant_pad_nd.default", "@x", [0, HUGE])]},
    "operator zeros": {"nodes": [node("y", "operator", "aten.zeros.default", [20, HUGE])]},
    "operator arange": {"nodes": [node("y", "operator", "aten.arange.default", HUGE)]},
    "operator eye": {"nodes": [node("y", "operator", "aten.eye.m", 20, HUGE)]},
    "operator one_hot": {
        "nodes": [node("i", "method", "long", "@x"), node("y", "operator", "aten.one_hot.default", "@i", HUGE)]
    },
    "operator attention": {
        "nodes": [
            node("u", "operator", "aten.repeat.default", "@x", [1, 1 << 16]),
            node("q", "operator", "aten.reshape.default", "@u", [-1, 1 << 18, 1]),
            node("y", "operator", "aten.scaled_dot_product_attention.default", "@q", "@q", "@q"),
        ]
    },
    "operator cat": {
        "nodes": doubled(40, lambda name, last: node(name, "operator", "aten.cat.default", [last, last], 1))
    },
    "operator matmul": {
        "nodes": [
            node("a", "operator", "aten.ones.default", [1000, 1, 1, 5000]),
            node("b", "operator", "aten.ones.default", [1, 1000, 5000, 1]),
            node("y", "operator", "aten.matmul.default", "@a", "@b"),
        ]
    },
    "operator cosine_similarity": {
        "nodes": [
            node("a", "operator", "aten.ones.default", [3000, 1, 3000]),
            node("b", "operator", "aten.ones.default", [1, 3000, 3000]),
            node("y", "operator", "aten.cosine_similarity.default", "@a", "@b", 2),
        ]
    },
    "operator conv of float64": {
        "nodes": [
            node("a", "operator", "aten.ones.default", [1, 1, 400, 400], dtype={"dtype": "float64"}),
            node("b", "operator", "aten.ones.default", [1, 1, 200, 200], dtype={"dtype": "float64"}),
            node("y", "operator", "aten.conv2d.default", "@a", "@b"),
        ]
    },
    "operator einsum in another order": {
        "nodes": [
            node("a", "operator", "aten.ones.default", [300, 300]),
            node("y", "operator", "aten.einsum.default", "ij,jk,kl->il", ["@a", "@a", "@a"], path=[0, 2, 0, 1]),
        ]
    },
    "operator lstm with a small state": {
        "nodes": [
            node("a", "operator", "aten.ones.default", [3000, 5, 4]),
            node("h", "operator", "aten.ones.default", [1, 3000, 4]),
            node("c", "operator", "aten.ones.default", [1, 1, 4]),
            node("w", "operator", "aten.ones.default", [16, 4]),
            node("b", "operator", "aten.ones.default", [16]),
            node(
                *("y", "operator", "aten.lstm.input", "@a", ["@h", "@c"], ["@w", "@w", "@b", "@b"]),
                *(True, 1, 0.0, False, False, True),
            ),
        ]
    },
    "operator split_with_sizes": {
        "nodes": [
            node("a", "operator", "aten.ones.default", [0]),
            node("y", "operator", "aten.split_with_sizes.default", "@a", [0] * 70_000),
        ]
    },
    "sizes as tensors": {
        "nodes": [
            node("a", "operator", "aten.ones.default", [1]),
            node("b", "operator", "aten.mul.Tensor", "@a", HUGE),
            node("i", "method", "long", "@b"),
            node("y", "function", "torch.ones", "@i"),
        ]
    },
    "expand": {"nodes": [node("u", "method", "unsqueeze", "@x", 2), node("y", "method", "expand", "@u", -1, -1, HUGE)]},
    "pad": {"nodes": [node("y", "function", "functional.pad", "@x", (0, HUGE))]},
    "interpolate": {
        "nodes": [
            node("u", "method", "unsqueeze", "@x", 1),
            node("y", "function", "functional.interpolate", "@u", scale_factor=1e9),
        ]
    },
    "cat doubled": {"nodes": doubled(40, lambda name, x: node(name, "function", "torch.cat", [x, x], 1))},
    "stack doubled": {"nodes": doubled(40, lambda name, x: node(name, "function", "torch.stack", [x, x]))},
    "outer sums": {
        "nodes": [
            entry
            for at in range(6)
            for entry in (
                node(f"l{at}", "method", "unsqueeze", "@x" if not at else f"@h{at - 1}", 2),
                node(f"r{at}", "method", "unsqueeze", "@x" if not at else f"@h{at - 1}", 1),
                node(f"s{at}", "function", "operator.add", f"@l{at}", f"@r{at}"),
                node(f"h{at}", "method", "flatten", f"@s{at}", 1),
            )
        ]
    },
    "einsum": {
        "nodes": [
            entry
            for at in range(6)
            for entry in (
                node(f"s{at}", "function", "torch.einsum", "ri,rj->rij", *([f"@h{at - 1}" if at else "@x"] * 2)),
                node(f"h{at}", "method", "flatten", f"@s{at}", 1),
            )
        ]
    },
    "matrix products": {
        "nodes": [
            node("c", "method", "repeat", "@x", 1, 20_000),
            node("l", "method", "unsqueeze", "@c", 2),
            node("r", "method", "unsqueeze", "@c", 1),
            node("y", "function", "torch.matmul", "@l", "@r"),
        ]
    },
    "one_hot": {"nodes": [node("i", "method", "long", "@x"), node("y", "function", "functional.one_hot", "@i", HUGE)]},
    "one_hot of values": {
        "nodes": [
            node("z", "method", "mul", "@x", 0),
            node("m", "method", "add", "@z", 1e11),
            node("i", "method", "long", "@m"),
            node("y", "function", "functional.one_hot", "@i"),
        ]
    },
    "sizes of values": {
        "nodes": [
            node("z", "method", "mul", "@x", 0),
            node("m", "method", "add", "@z", 1e11),
            node("i", "method", "long", "@m"),
            node("t", "function", "operator.getitem", "@i", (0, 0)),
            node("y", "method", "repeat", "@x", 1, "@t"),
        ]
    },
    "pieces": {
        "nodes": [
            node("c", "method", "repeat", "@x", 1, 2 * 10**6),
            node("p", "method", "split", "@c", 1, 1),
            node("y", "function", "operator.getitem", "@p", 0),
        ]
    },
    "a shape doubled": {
        "nodes": [
            node("s", "attribute", "shape", "@x"),
            *[node(f"s{at}", "function", "operator.add", *([f"@s{at - 1}" if at else "@s"] * 2)) for at in range(60)],
            node("y", "method", "repeat", "@x", "@s59"),
        ]
    },
    "indices": {
        "nodes": [
            entry
            for at in range(4)
            for entry in (
                node(f"u{at}", "method", "unsqueeze", f"@h{at - 1}" if at else "@x", 1),
                node(f"h{at}", "function", "operator.getitem", f"@u{at}", (ALL_BUT_FIRST, [0] * 1000)),
            )
        ]
    },
    "many at once": {
        "nodes": [
            *[node(f"k{at}", "method", "repeat", "@x", 1, 10**6) for at in range(60)],
            node("y", "function", "torch.stack", [f"@k{at}" for at in range(60)]),
        ]
    },
    "an LSTM of ten million layers": layer("LSTM", wide=False, input_size=4, hidden_size=4, num_layers=10**7),
    "Upsample": layer("Upsample", scale_factor=1e9),
    "ConstantPad1d": layer("ConstantPad1d", padding=HUGE, value=0.0),
    "AdaptiveAvgPool1d": layer("AdaptiveAvgPool1d", output_size=HUGE),
    "LocalResponseNorm": layer("LocalResponseNorm", size=HUGE),
    "ConvTranspose1d": layer("ConvTranspose1d", in_channels=1, out_channels=1, kernel_size=1, stride=HUGE),
    "Linear": layer("Linear", wide=False, in_features=4, out_features=HUGE),
    "Embedding": layer("Embedding", wide=False, num_embeddings=HUGE, embedding_dim=HUGE),
    "too many nodes": {"nodes": doubled(66_000, lambda name, x: node(name, "method", "tanh", x))},
}

#: Contents of graph.json as text.
TEXTS = {
    "deep": '{"format": 1, "inputs": ["x"], "output": ' + '{"tuple": [' * 100_000 + "1" + "]}" * 100_000 + "}",
    "rather deep": '{"format": 1, "inputs": ["x"], "output": ' + '{"tuple": [' * 400 + "1" + "]}" * 400 + "}",
    "a number of many digits": '{"format": 1, "inputs": ["x"], "output": ' + "9" * 100_000 + "}",
    "a number beyond int64": json.dumps(
        {"inputs": ["x"], "nodes": [node("y", "method", "repeat", "@x", 1, 10**300)], "output": {"node": "y"}}
    ),
    "a float beyond all": '{"format": 1, "inputs": ["x"], "output": 1e999}',
    "nothing but brackets": "[" * 1_000_000,
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid bundle, to be tampered with."""
    folder = tmp_path_factory.mktemp("honest") / "b"
    save_bundle(folder, nn.Linear(4, 1), features=list("abcd"), task=Regression(), sample=FRAME)
    return folder


def tampered(valid: Path, folder: Path, graph: dict[str, Any] | str) -> Path:
    """The bundle with another graph and matching digests."""
    folder.mkdir(parents=True)
    if isinstance(graph, dict):
        last = graph["nodes"][-1]["name"]
        graph = json.dumps({"format": 1, "inputs": ["x"], "output": {"node": last}, **graph})
    manifest = json.loads((valid / "bundle.json").read_text())
    for name in ("golden.parquet", "reference.json"):
        (folder / name).write_bytes((valid / name).read_bytes())
    files = {
        "graph.json": graph.encode(),
        "weights.safetensors": safetensors.torch.save({}),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
        manifest["files"][name] = "sha256:" + hashlib.sha256(data).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(manifest))
    return folder


LOADS = """
import json, resource, sys, time
from scoreline import BundleError, Scorer
import torch
torch.zeros(1) + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))  # so that a failing test does not exhaust the machine
found = {}
for name in sys.argv[2:]:
    try:
        Scorer.load(sys.argv[1] + "/" + name, device="cpu")
        reason = "loaded"
    except BundleError as error:
        reason = str(error)
    except BaseException as error:
        reason = f"!{type(error).__name__}: {error}"[:300]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found[name] = [reason, (peak - before) / 1000]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_hostile_graph_is_refused_in_bounded_memory(valid: Path, tmp_path: Path) -> None:
    """With one line each, and at most 700 MB more than torch alone."""
    names = {f"{at}": name for at, name in enumerate([*GRAPHS, *TEXTS])}
    for folder, name in names.items():
        tampered(valid, tmp_path / folder, {**GRAPHS, **TEXTS}[name])
    done = subprocess.run(
        [sys.executable, "-c", LOADS, str(tmp_path), *names], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {names[folder]: reason for folder, reason in json.loads(done.stdout).items()}
    refused = {name: reason for name, (reason, _) in found.items()}
    assert not [reason for reason in refused.values() if reason.startswith(("!", "loaded")) or "\n" in reason], refused
    assert max(peak for _, peak in found.values()) < 700, found


@pytest.mark.parametrize("kind", ["rows", "dictionary", "sizes"])
def test_golden_rows_that_unpack_to_far_more_are_refused(
    kind: str, valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the footer: too many rows, a dictionary of one long value, highly compressed zeros."""
    bundle = tampered(valid, tmp_path / "b", {"nodes": [node("y", "method", "narrow", "@x", 1, 0, 1)]})
    table = pq.read_table(bundle / "golden.parquet")
    if kind == "rows":
        table = pa.concat_tables([table] * 20)
    elif kind == "dictionary":
        table = table.append_column("long", pa.array(["x" * 100_000] * len(table)))
    else:
        monkeypatch.setattr(golden, "ALWAYS_BYTES", 1 << 20)
        table = table.append_column("zeros", pa.array([bytes(1 << 18)] * len(table)))
    pq.write_table(table, bundle / "golden.parquet", use_dictionary=["long"], compression="zstd")
    manifest = json.loads((bundle / "bundle.json").read_text())
    digest = hashlib.sha256((bundle / "golden.parquet").read_bytes()).hexdigest()
    manifest["files"]["golden.parquet"] = f"sha256:{digest}"
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(
        BundleError, match={"rows": "400 rows", "dictionary": "DICTIONARY", "sizes": "decompresses"}[kind]
    ):
        Scorer.load(bundle, device="cpu")


@pytest.mark.parametrize("command", ["score", "check"])
def test_commands_exit_with_78(command: str, valid: Path, tmp_path: Path, scoreline: Callable[..., Result]) -> None:
    """The message names the node, and nothing is written."""
    bundle = tampered(valid, tmp_path / "b", GRAPHS["repeat"])
    FRAME.to_parquet(tmp_path / "in.parquet")
    output = ("--output", tmp_path / "out") if command == "score" else ()
    result = scoreline(command, "--bundle", bundle, "--input", tmp_path / "in.parquet", *output)
    assert result.code == 78, result.err
    assert "node 'y' (repeat)" in result.message
    assert not list(tmp_path.glob("out/**/*.parquet"))
