"""What goes wrong on a GPU: races, blocks without rows, full memory, a failed device, formats made for a CPU."""

import gc
import json
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scoreline.pipeline.bundle.bundle import open_bundle
from scoreline.pipeline.errors import ModelFailedError
from scoreline.pipeline.features.pinned import new_array
from scoreline.pipeline.model import cuda as cuda_module
from scoreline.pipeline.model.cuda import Cuda
from scoreline.pipeline.model.loading import load_export
from scoreline.pipeline.model.passes import padded_widths
from scoreline.pipeline.records import Sent
from torch import Tensor, nn

import fakecuda
import fakecuda_clocks
import fakecuda_devices
from both_devices import BLOCK, FEATURES, compare, explaining, network, rows, save, score, small_bundle
from conftest import Result
from described import save_described
from scoreline import BundleError

pytestmark = pytest.mark.usefixtures("cuda")
REAL = torch.cuda.is_available()
emulated_only = pytest.mark.skipif(REAL, reason="a real GPU cannot be made to fail at this point")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Three classes of six numbers."""
    return small_bundle(tmp_path)


def test_repeated_rows_are_explained_after_their_copy(bundle: Path) -> None:
    """A block of repeats only is not run through the model, so nothing else has waited for its copy."""
    first = rows(BLOCK)
    again = pd.concat([first, first, first], ignore_index=True).assign(id=range(3 * BLOCK))
    compare(bundle, again, dedupe=True, columns=explaining("integrated-gradients"))


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_explanations_and_a_block_whose_rows_are_all_rejected(bundle: Path, method: str) -> None:
    """That block has nothing to explain; the others have."""
    frame = rows(3 * BLOCK)
    frame.loc[BLOCK : 2 * BLOCK - 1, "f0"] = np.nan
    got = compare(bundle, frame, columns=explaining(method))
    assert got.num_rows == 2 * BLOCK
    assert got["attribution_f0"].null_count < 2 * BLOCK


class _Logarithm(nn.Module):
    """Finite for every row of the data, but not for most rows between them."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.log(x[:, :1] * x[:, 1:]))


def test_lime_where_a_row_fails_alone(tmp_path: Path) -> None:
    """Its linear model cannot be fitted to infinite scores; the other rows of the batch are explained."""
    frame = pd.DataFrame({"a": [1.0] * 61 + [-2.0] * 59, "b": [3.0] * 61 + [-1.0] * 59})
    save_described(tmp_path / "b", _Logarithm(), features=["a", "b"], task="regression", sample=frame)
    few = frame.iloc[59:63].reset_index(drop=True)  # two of each kind
    got = compare(tmp_path / "b", few, columns=explaining("lime", Fraction(1)))
    assert 0 < got["attribution_a"].null_count < 4


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX model, exported before the GPU is emulated."""
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            network(), (torch.zeros(5, 6),), input_names=["x"], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("rows", min=2)},),
        )  # fmt: skip
    program.save(str(path))
    return path


@pytest.fixture
def onnx(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of an ONNX file, and an onnxruntime that claims to support CUDA."""
    if not REAL:
        available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    elif "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed")
    return save(tmp_path / "b", onnx_file)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_onnx_outputs_are_moved_to_the_device(onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime returns arrays in the host's memory."""
    if not REAL:
        chosen = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda _: chosen)
    compare(onnx, rows())


@emulated_only
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_onnxruntime_does_not_fall_back_to_the_cpu(onnx: Path) -> None:
    """It does so silently where the CUDA provider cannot start."""
    with pytest.raises(BundleError, match=r"cannot start CUDAExecutionProvider and chose .*CPU"):
        score(onnx, rows(), "cuda")


class _Offset(nn.Module):
    """Creates a tensor on the device of its input, which an exported program fixes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + torch.arange(3, device=x.device).float()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_exported_on_the_cpu_runs_on_the_gpu(tmp_path: Path) -> None:
    """The device in the program is replaced."""
    torch.manual_seed(0)
    shapes = ({0: torch.export.Dim("rows", min=2)},)
    program = torch.export.export(_Offset().eval(), (torch.zeros(4, 6),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "m.pt2")
    code = load_export((tmp_path / "m.pt2").read_bytes(), torch.device("cuda")).code
    assert "arange.default(3, device = 'cuda:0'" in code
    assert "cpu" not in code
    if REAL:  # the emulation does not reach the operations of exported programs
        bundle = save(tmp_path / "b", tmp_path / "m.pt2")
        compare(bundle, rows(), trust=(open_bundle(bundle).digest,))


def failing(name: str, max_bytes: int, message: str | None = None) -> Callable[[str, int], None]:
    """Fail operations of this name on more than `max_bytes`: as torch does, or with a RuntimeError."""

    def fail(operation: str, num_bytes: int) -> None:
        if operation == name and num_bytes > max_bytes:
            raise fakecuda.out_of_memory() if message is None else RuntimeError(message)

    return fail


@emulated_only
@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("to_device", None),
        ("to_device", "CUDA error: out of memory"),
        ("cudaHostAlloc", "CUDA error: out of memory"),
        ("linear", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ("linear", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_out_of_memory_while_scoring(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, operation: str, message: str | None
) -> None:
    """While a block is sent, in pinned memory, in libraries: the block is sent and scored in smaller parts."""
    monkeypatch.setattr(fakecuda.Limits, "fail", failing(operation, 100 * 6 * 4, message))
    compare(bundle, rows())


@emulated_only
@pytest.mark.parametrize("columns", [{"hidden": ("2",)}, explaining("integrated-gradients"), explaining("shapley")])
def test_out_of_memory_in_hidden_layers_and_explanations(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, object]
) -> None:
    """Only these run the batch norm as saved."""
    monkeypatch.setattr(fakecuda.Limits, "fail", failing("batch_norm", 10_000))
    compare(bundle, rows(), columns=columns)


@emulated_only
@pytest.mark.parametrize("method", ["integrated-gradients", "shapley"])
def test_out_of_memory_where_all_rows_are_explained(bundle: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The difference in score, to which they sum up, is computed in halves as well."""
    monkeypatch.setattr(fakecuda.Limits, "fail", failing("batch_norm", 10_000))
    compare(bundle, rows(), columns=explaining(method, Fraction(1)))


def test_no_memory_while_rows_are_used() -> None:
    """As when those to explain are selected: not an error of torch, which would be one of ours."""
    device = Cuda(torch.device("cuda:0"))
    sent = device.send({"x": torch.ones(4, 2)})
    with pytest.raises(ModelFailedError, match="no memory for the rows of a block; pass a smaller --batch-size"):
        use_too_much(device, sent)


def use_too_much(device: Cuda, sent: Sent) -> None:
    """Run out of memory with rows on a device."""
    with device.using(sent):
        raise fakecuda.out_of_memory()


@emulated_only
@pytest.mark.parametrize("operation", ["to_device", "linear"])
def test_no_memory_for_a_single_row(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], operation: str
) -> None:
    """The run fails, with a reason."""
    seen: list[int] = []

    def fail(name: str, num_bytes: int) -> None:
        seen.append(name == operation)
        if name == operation and sum(seen) > 40:
            raise fakecuda.out_of_memory()

    monkeypatch.setattr(fakecuda.Limits, "fail", fail)
    rows(20_000).to_parquet(bundle.parent / "in.parquet", index=False)
    words = ["--bundle", bundle, "--input", bundle.parent / "in.parquet", "--output", bundle.parent / "out"]
    done = scoreline("score", *words, "--device", "cuda", "--batch-size", "100")
    assert done.code == 65
    assert "the device has no memory for a single row" in done.message


@emulated_only
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (fakecuda.out_of_memory(), "cuda:0 has no memory for the model"),
        (
            torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore"),
            "cannot be used",
        ),
    ],
)
def test_a_gpu_that_cannot_take_the_model(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], error: Exception, message: str
) -> None:
    """Another process uses it: every command ends with the code of a device, and says what to do."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(nn.Module, "to", fail)
    rows(20).to_parquet(bundle.parent / "in.parquet", index=False)
    words = ["--bundle", bundle, "--input", bundle.parent / "in.parquet", "--device", "cuda"]
    for command in (["score", *words, "--output", bundle.parent / "out"], ["check", *words], ["bench", *words]):
        done = scoreline(*command)
        assert done.code == 69
        assert message in done.message
        assert "use another --device" in done.message


@emulated_only
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("Stream", 69, "cannot be used"), ("mem_get_info", 65, "the device cuda:0 has failed")],
)
def test_a_gpu_that_fails_before_the_first_block(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], name: str, code: int, message: str
) -> None:
    """While it is opened, which creates its context; while its free memory is counted."""

    def fail(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(torch.cuda, name, fail)
    rows(20).to_parquet(bundle.parent / "in.parquet", index=False)
    words = ["--bundle", bundle, "--input", bundle.parent / "in.parquet", "--output", bundle.parent / "out"]
    done = scoreline("score", *words, "--device", "cuda")
    assert done.code == code
    assert message in done.message


@emulated_only
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (fakecuda.out_of_memory(), "cuda:0 cannot be used: the device has no memory for a single row"),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error"), "cuda:0 cannot be used: the device cuda:0 has"),
    ],
)
def test_a_gpu_that_fails_on_the_golden_rows(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], error: Exception, message: str
) -> None:
    """Another process has taken its memory, or it is broken: nothing is wrong with the bundle."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Cuda, "_to_device", fail)
    rows(20).to_parquet(bundle.parent / "in.parquet", index=False)
    words = ["--bundle", bundle, "--input", bundle.parent / "in.parquet", "--device", "cuda"]
    for command in (["score", *words, "--output", bundle.parent / "out"], ["check", *words]):
        done = scoreline(*command)
        assert done.code == 69, done.message
        assert message in done.message
        assert "use another --device, or try again" in done.message


@emulated_only
def test_no_memory_to_explain_the_first_rows(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result]
) -> None:
    """While the bundle is loaded: it is the device that lacks something, not the model."""
    monkeypatch.setattr(fakecuda.Limits, "fail", failing("batch_norm", 0))
    rows(20).to_parquet(bundle.parent / "in.parquet", index=False)
    words = ["--bundle", bundle, "--input", bundle.parent / "in.parquet", "--output", bundle.parent / "out"]
    done = scoreline("score", *words, "--device", "cuda", "--explain", "shapley", "--explain-target", "a")
    assert done.code == 69, done.message
    assert "cuda:0 has no memory for the model" in done.message


class _Lookup(nn.Module):
    """Reads beyond its table where a feature is large, which asserts on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.register_buffer("table", torch.arange(10.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.table[x[:, 1].long()].unsqueeze(1)


@pytest.mark.parametrize("words", [(), ("--dedupe",), ("--hidden", "linear"), ("--explain", "occlusion")])
def test_a_device_side_assert_ends_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scoreline: Callable[..., Result], process: Callable[..., Result],
    words: tuple[str, ...],
) -> None:  # fmt: skip
    """Exit code 65, run.json and no `_SUCCESS`: the process is not aborted by a destructor."""
    frame = rows(20_000).abs().clip(upper=9).assign(id=range(20_000))
    save(tmp_path / "b", _Lookup().eval(), sample=frame.head(40)[FEATURES])
    if REAL:
        frame.loc[15_000, "f1"] = 5_000.0
    else:
        launched: list[str] = []

        def fail(name: str, _: int) -> None:
            launched.append(name)
            if name == "linear" and launched.count(name) == 30:
                fakecuda_devices.fail_device("device-side assert triggered")

        monkeypatch.setattr(fakecuda.Limits, "fail", fail)
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    arguments = ["--bundle", tmp_path / "b", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out", *words]
    run = process if REAL else scoreline
    done = run("score", *arguments, "--device", "cuda", "--batch-size", "500")
    assert done.code == 65, done.err
    assert "device-side assert triggered" in done.message
    assert json.loads((tmp_path / "out" / "_scoreline" / "run.json").read_text())["status"] == "failed"
    assert not (tmp_path / "out" / "_SUCCESS").exists()


@emulated_only
@pytest.mark.parametrize("fatal", [False, True])
def test_a_copy_that_fails_halfway(monkeypatch: pytest.MonkeyPatch, fatal: bool) -> None:
    """What has been copied already is kept: after a failure of the device, to free it would end the process."""
    device = Cuda(torch.device("cuda:0"))
    inputs = {name: torch.ones(4) for name in "ab"}
    copied = Cuda._to_device

    def fail(self: Cuda, tensor: Tensor) -> Tensor:
        monkeypatch.setattr(Cuda, "_to_device", second)
        return copied(self, tensor)

    def second(_: Cuda, __: Tensor) -> Tensor:
        if fatal:
            fakecuda_devices.fail_device("device-side assert triggered")
        raise RuntimeError("CUDA error: an illegal instruction")

    monkeypatch.setattr(Cuda, "_to_device", fail)
    with pytest.raises(ModelFailedError, match="the device cuda:0 has failed: CUDA error: an illegal instruction"):
        device.send(inputs)
    del device, inputs
    gc.collect()
    assert fakecuda_clocks.problems == []


@emulated_only
def test_a_copy_to_the_host_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Because of another flow, for instance: the copy has begun, and to free its memory would end the process."""
    device = Cuda(torch.device("cuda:0"))
    sent, execute = device.send({"x": torch.ones(4)}), fakecuda.execute

    def failing(index: int, stream: int, work: str) -> None:
        if work == "out":
            fakecuda_devices.fail_device("device-side assert triggered")
            fakecuda_devices.check_device(index)
        execute(index, stream, work)

    monkeypatch.setattr(fakecuda, "execute", failing)
    with pytest.raises(
        ModelFailedError, match="the device cuda:0 has failed: CUDA error: device-side assert triggered"
    ):
        device.work(sent, dict)
    del device, sent
    gc.collect()
    assert fakecuda_clocks.problems == []


@emulated_only
def test_a_failure_that_nobody_has_noticed() -> None:
    """A device that fails after its last block: what is in flight is kept all the same."""
    device = Cuda(torch.device("cuda:1"))
    sent = device.send({"a": torch.ones(4)})
    device.work(sent, lambda inputs: {"b": inputs["a"]})
    fakecuda_devices.launch(1, "assert", 0)
    fakecuda_devices.fail_device("device-side assert triggered")
    del device, sent
    gc.collect()
    assert fakecuda_clocks.problems == []


@emulated_only
def test_a_device_that_fails_while_results_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned memory that they are copied to is kept, as is what another lane has used before."""
    first = Cuda(torch.device("cuda:1"))
    lanes = [first, first.lane()]
    inputs = [{"a": torch.ones(4).pin_memory()} for _ in lanes]
    sent = [lane.send(given) for lane, given in zip(lanes, inputs, strict=True)]
    lanes[0].work(sent[0], lambda given: {"b": given["a"] * 2})
    wait = fakecuda_clocks.Event.synchronize

    def fail(event: fakecuda_clocks.Event) -> None:
        fakecuda_devices.fail_device("device-side assert triggered")
        wait(event)

    monkeypatch.setattr(fakecuda_clocks.Event, "synchronize", fail)
    with pytest.raises(ModelFailedError, match="the device cuda:1 has failed: CUDA error: device-side assert"):
        lanes[1].work(sent[1], lambda given: {"b": given["a"] * 2})
    del first, lanes, inputs, sent
    gc.collect()
    assert fakecuda_clocks.problems == []


@emulated_only
def test_a_device_that_fails_while_memory_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another flow's kernel fails after the lane has seen that its last block has passed, before it drops the block."""
    device = Cuda(torch.device("cuda:0"))
    device.work(device.send({"a": torch.ones(4)}), lambda given: {"b": given["a"] * 2})
    query = fakecuda_clocks.Event.query

    def fail(event: fakecuda_clocks.Event) -> bool:
        passed = query(event)
        fakecuda_devices.fail_device("device-side assert triggered")
        return passed

    monkeypatch.setattr(fakecuda_clocks.Event, "query", fail)
    with pytest.raises(ModelFailedError, match="the device cuda:0 has failed: CUDA error: device-side assert"):
        device.send({"a": torch.ones(4)})
    gc.collect()
    assert fakecuda_clocks.problems == []


@emulated_only
@pytest.mark.parametrize("copy", ["_to_device", "_to_host"])
def test_an_interrupted_copy(monkeypatch: pytest.MonkeyPatch, copy: str) -> None:
    """By Ctrl-C in a notebook: pinned memory is not used again before the copies that have begun have ended."""
    device = Cuda(torch.device("cuda:0"))
    inputs = {name: torch.ones(1000) for name in "ab"}
    sent = device.send(inputs)
    owner: Any = cuda_module if copy == "_to_host" else Cuda
    real, calls = getattr(owner, copy), []

    def interrupted(*given: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    def doubled() -> object:
        return device.work(sent, lambda given: {name: one * 2 for name, one in given.items()})

    with monkeypatch.context() as patch:
        patch.setattr(owner, copy, interrupted)
        with pytest.raises(KeyboardInterrupt):
            doubled() if copy == "_to_host" else device.send(inputs)
    gc.collect()
    again = [new_array((1000,), np.float32, pin=True) for _ in range(8)]
    for array in again:
        array[:] = 7
    device.work(device.send({"c": torch.ones(4)}), dict)
    assert all((array == 7).all() for array in again)
    assert fakecuda_clocks.problems == []


def test_padded_widths_are_those_of_the_cpu() -> None:
    """A GPU's log2 is not exact, so the widths are computed in integers."""
    lengths = torch.arange(1, 20_000)
    assert torch.equal(padded_widths(lengths.to("cuda")).cpu(), padded_widths(lengths))


def test_a_table_without_rows(bundle: Path) -> None:
    """Nothing is sent."""
    assert score(bundle, pa.table({name: pa.array([], pa.float64()) for name in FEATURES}), "cuda").num_rows == 0
