"""Linear layers by oneDNN: the same values as in float64, in every shape and layout; nothing else is replaced."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scoreline.pipeline.graph.interpreter import build
from scoreline.pipeline.graph.trace import trace
from scoreline.pipeline.model.modes import pinned
from scoreline.pipeline.model.onednn import for_few_rows, is_available, linear, use_mkl, use_onednn
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not is_available(), reason="torch has no oneDNN for this processor")


def products(run: Callable[[], object]) -> list[int]:
    """The numbers of rows that oneDNN multiplies in a run."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        run()
    events = [event for event in found.events() or [] if event.name == "mkldnn::_linear_pointwise"]
    return [int(np.prod(event.input_shapes[0][:-1])) for event in events]


@contextmanager
def no_fast_path() -> Iterator[None]:
    """Torch's fast path of encoder layers ignores some of their options."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def exact(values: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """The product in float64, and how far a sum of float32 products may be from it: a rounding for each addend."""
    x, w = values.double().numpy(), weight.double().numpy()
    b = 0.0 if bias is None else bias.double().numpy()
    magnitude = np.abs(x) @ np.abs(w).T + np.abs(b)
    return x @ w.T + b, (w.shape[1] + 2) * 2.0**-24 * magnitude


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 5000), steps=st.sampled_from([None, 1, 3]),
    width=st.integers(1, 70), outputs=st.integers(1, 70),
    with_bias=st.booleans(), by_column=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_any_shape(
    rows: int, steps: int | None, width: int, outputs: int, with_bias: bool, by_column: bool, seed: int
) -> None:
    """Rows in any number, with and without steps and bias, row by row and column by column."""
    torch.manual_seed(seed)
    shape = (rows, width) if steps is None else (rows, steps, width)
    values, weight = torch.randn(shape), torch.randn(outputs, width)
    if by_column:
        values = values.mT.contiguous().mT
    bias = torch.randn(outputs) if with_bias else None
    before = values.clone()
    with torch.inference_mode():
        found = linear(values, weight, bias)
    wanted, tolerance = exact(values, weight, bias)
    assert found.shape == (*shape[:-1], outputs)
    assert (np.abs(found.numpy() - wanted) <= tolerance).all()
    assert torch.equal(values, before)


class TestRows:
    """oneDNN keeps a kernel for each number of rows: there are few."""

    def test_a_full_pass_is_one_product(self) -> None:
        with torch.inference_mode():
            assert products(lambda: linear(torch.randn(30, 8192).T[:4096], torch.randn(128, 30))) == [4096]

    def test_other_numbers_are_a_few_powers_of_two(self) -> None:
        weight = torch.randn(128, 128)
        with torch.inference_mode():
            assert products(lambda: linear(torch.randn(64, 128), weight)) == [64]
            assert products(lambda: linear(torch.randn(1000, 128), weight)) == [512, 256, 128]
            assert products(lambda: linear(torch.randn(4093, 128), weight)) == [2048, 1024, 512]

    def test_few_numbers_take_longer_than_they_save(self) -> None:
        with torch.inference_mode():
            assert products(lambda: linear(torch.randn(100, 30), torch.randn(5, 30))) == []

    def test_few_rows_where_they_stand_for_many(self) -> None:
        """As golden rows do; only in this thread, and only then."""
        values, weight = torch.randn(7, 30), torch.randn(5, 30)
        with torch.inference_mode(), for_few_rows():
            assert products(lambda: linear(values, weight)) == [4, 2, 1]
            with ThreadPoolExecutor() as pool:
                other = pool.submit(lambda: products(lambda: functional.linear(values, weight)))
                assert other.result() == []
        with torch.inference_mode():
            assert products(lambda: linear(values, weight)) == []


class TestAsTorchComputesIt:
    """What oneDNN cannot multiply, or would change."""

    def test_values_that_are_not_finite_stay_in_their_rows(self) -> None:
        values = torch.ones(1024, 64)
        values[3, 5], values[7, 1] = float("nan"), float("inf")
        with torch.inference_mode():
            found = linear(values, torch.ones(64, 64))
        assert found[3].isnan().all()
        assert found[7].isposinf().all()
        assert found.isfinite().all(dim=1).sum() == 1022

    @pytest.mark.parametrize(
        "bias", [torch.randn(64, 3)[:, 1], torch.randn(128)[::2], torch.randn(1).expand(64), torch.randn(64, 64).T[1]]
    )
    def test_biases_that_are_not_contiguous(self, bias: Tensor) -> None:
        """oneDNN would read other memory."""
        values, weight = torch.randn(512, 64), torch.randn(64, 64)
        with torch.inference_mode():
            assert torch.equal(linear(values, weight, bias), functional.linear(values, weight, bias))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
    def test_other_dtypes(self, dtype: torch.dtype) -> None:
        values, weight = torch.randn(512, 64, dtype=dtype), torch.randn(64, 64, dtype=dtype)
        with torch.inference_mode():
            assert torch.equal(linear(values, weight), functional.linear(values, weight))

    def test_gradients(self) -> None:
        values, layer = torch.randn(512, 64, requires_grad=True), nn.Linear(64, 64)
        (wanted,) = torch.autograd.grad(layer(values).square().sum(), values)
        (found,) = torch.autograd.grad(linear(values, layer.weight, layer.bias).square().sum(), values)
        assert torch.equal(found, wanted)

    def test_tensors_without_values(self) -> None:
        with torch.inference_mode():
            found = linear(torch.empty(512, 64, device="meta"), torch.empty(32, 64, device="meta"))
        assert (found.device.type, found.shape) == ("meta", (512, 32))

    def test_shapes_that_do_not_fit_are_refused_as_torch_refuses_them(self) -> None:
        with torch.inference_mode(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            linear(torch.randn(2048, 63), torch.randn(64, 64))


def graph_of(model: nn.Module, num_inputs: int = 1) -> nn.Module:
    """The graph of a module, by oneDNN."""
    graph = build(*trace(model.eval(), num_inputs))
    use_onednn(graph, CPU)
    return graph


class TestReplaced:
    """Which layers and nodes are computed by oneDNN."""

    def test_layers_of_a_graph(self) -> None:
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        graph, values = graph_of(model), torch.randn(512, 64)
        with torch.inference_mode():
            assert products(lambda: graph(values)) == [512]
            torch.testing.assert_close(graph(values), model(values))
        assert [type(layer) for layer in model] == [nn.Linear, nn.ReLU]

    def test_nodes_of_a_graph(self) -> None:
        """A call of `functional.linear` with a weight that no layer owns."""

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.randn(64, 64))

            def forward(self, x: Tensor) -> Tensor:
                return functional.linear(x, self.weight).relu()

        model = Model()
        graph, values = graph_of(model), torch.randn(512, 64)
        with torch.inference_mode():
            assert products(lambda: graph(values)) == [512]
            torch.testing.assert_close(graph(values), model(values))

    @pytest.mark.parametrize("activation", ["relu", "gelu"])
    @pytest.mark.parametrize("norm_first", [False, True])
    def test_encoder_layers(self, activation: str, norm_first: bool) -> None:
        """Leave the fast path, and compute what it computes, of masked steps too."""

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.TransformerEncoderLayer(
                    64, 4, 128, batch_first=True, activation=activation, norm_first=norm_first
                )

            def forward(self, x: Tensor, padding: Tensor) -> Tensor:
                return self.layer(x, src_key_padding_mask=padding)

        torch.manual_seed(0)
        model = Model()
        graph = graph_of(model, 2)
        values, padding = torch.randn(32, 8, 64), torch.arange(8) >= torch.arange(32)[:, None] % 8 + 1
        with torch.inference_mode():
            assert products(lambda: graph(values, padding)) == [256] * 4
            torch.testing.assert_close(graph(values, padding), model(values, padding))

    @pytest.mark.parametrize("mask", [None, "bool", "float", "of each head", "causal"])
    @pytest.mark.parametrize("padded", [False, True])
    @pytest.mark.parametrize("bias", [False, True])
    def test_attention(self, mask: str | None, padded: bool, bias: bool) -> None:
        """Every kind of mask, against float64; the common kinds by oneDNN."""

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.TransformerEncoderLayer(48, 3, 96, batch_first=True, bias=bias)

            def forward(self, x: Tensor, seen: Tensor, padding: Tensor) -> Tensor:
                return self.layer(x, seen, padding if padded else None, is_causal=mask == "causal")

        torch.manual_seed(0)
        model, steps = Model().eval(), 7
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        graph = graph_of(model, 3)
        values, padding = torch.randn(64, steps, 48), torch.arange(steps) >= torch.arange(64)[:, None] % steps + 1
        seen = {
            None: None,
            "bool": torch.rand(steps, steps).fill_diagonal_(0) > 0.5,
            "float": torch.randn(steps, steps),
            "of each head": torch.randn(64 * 3, steps, steps),
            "causal": nn.Transformer.generate_square_subsequent_mask(steps),
        }[mask]
        if mask == "bool":
            padding = torch.zeros_like(padding)  # else a step may see none, which is NaN
        elif mask is not None:
            padding = torch.zeros(padding.shape).masked_fill(padding, -torch.inf)
        with torch.inference_mode(), no_fast_path():
            by_onednn = products(lambda: graph(values, seen, padding))
            assert len(by_onednn) == (2 if mask in ("of each head", "causal") else 4)
            found = graph(values, seen, padding).double()
            masks = [one.double() if one is not None and one.is_floating_point() else one for one in (seen, padding)]
            torch.testing.assert_close(found, model.double()(values.double(), *masks), rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("kind", ["steps first", "hook"])
    def test_other_attention_is_left_to_torch(self, kind: str) -> None:
        """Its layers are multiplied by oneDNN, but not its products."""

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.TransformerEncoderLayer(48, 3, 96, batch_first=kind != "steps first")

            def forward(self, x: Tensor) -> Tensor:
                return self.layer(x)

        torch.manual_seed(0)
        model, values = Model().eval(), torch.randn(64, 7, 48)
        graph = graph_of(model)
        if kind == "hook":
            graph.layer.self_attn.register_forward_hook(lambda *_: None)
        with torch.inference_mode(), no_fast_path():
            wanted = model.double()(values.double())
            torch.testing.assert_close(graph(values).double(), wanted, rtol=1e-4, atol=1e-4)
            assert len(products(lambda: graph(values))) == 2

    def test_everything_as_before(self) -> None:
        """Layers, nodes and the fast path of an encoder layer, once MKL multiplies again."""

        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.TransformerEncoderLayer(64, 4, 64, batch_first=True)
                self.out = nn.Linear(64, 64)

            def forward(self, x: Tensor) -> Tensor:
                return functional.linear(self.out(self.layer(x)), torch.eye(64))

        model, values = Model(), torch.randn(32, 8, 64)
        graph = graph_of(model)
        assert (use_mkl(graph), use_mkl(graph)) == (True, False)
        assert graph.layer.activation_relu_or_gelu == model.layer.activation_relu_or_gelu == 1
        with torch.inference_mode():
            assert products(lambda: graph(values)) == []
            assert torch.equal(graph(values), model(values))

    def test_foreign_modules_stay(self) -> None:
        """They may look at their layers, and compute with what oneDNN does not know."""
        model = nn.Sequential(nn.Linear(64, 64), nn.TransformerEncoderLayer(64, 4, 64, batch_first=True)).eval()
        fast = model[1].activation_relu_or_gelu
        use_onednn(model, CPU)
        assert (type(model[0]), type(model[1].linear1)) == (nn.Linear, nn.Linear)
        assert model[1].activation_relu_or_gelu == fast

    def test_nothing_on_a_gpu(self) -> None:
        graph = build(*trace(nn.Sequential(nn.Linear(4, 4)), 1))
        use_onednn(graph, torch.device("cuda"))
        assert [type(layer) for layer in graph.children()] == [nn.Linear]

    def test_the_callers_switch_does_not_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is on while models run, so that the same job has the same bytes."""
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
        graph = graph_of(nn.Sequential(nn.Linear(64, 64)))
        with pinned(), torch.inference_mode():
            assert products(lambda: graph(torch.randn(512, 64))) == [512]
