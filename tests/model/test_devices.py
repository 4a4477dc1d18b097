"""Devices by name, and the CPU behind the protocol; `tests/end_to_end/test_cuda.py` has the GPU."""

import numpy as np
import pytest
import torch
from scoreline.pipeline.errors import DeviceError
from scoreline.pipeline.model.devices import Cpu, group_name, open_device, open_others, pick_devices
from scoreline.pipeline.records import Sequences

import fakecuda

REAL = torch.cuda.is_available()
TABLE = torch.arange(12.0).reshape(3, 4).T  # column-major [4, 3], as tables are
TOKENS = Sequences(values=torch.tensor([1, 2, 3, 4, 5, 6]), offsets=torch.tensor([0, 2, 2, 3, 6]))


class TestNames:
    """`pick_devices` and what opens them."""

    def test_the_cpu(self) -> None:
        assert pick_devices("cpu") == [torch.device("cpu")]
        assert open_others("cpu") == []
        assert isinstance(open_device("cpu"), Cpu)

    def test_auto_without_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert pick_devices("auto") == [torch.device("cpu")]
        assert isinstance(open_device("auto"), Cpu)

    @pytest.mark.skipif(REAL, reason="the number of real GPUs is given")
    @pytest.mark.usefixtures("cuda")
    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_auto_with_gpus(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """All of them, by their numbers; `cuda:1` is one."""
        monkeypatch.setattr(fakecuda.Limits, "devices", count)
        every = [torch.device("cuda", index) for index in range(count)]
        assert pick_devices("auto") == pick_devices("cuda") == every
        assert pick_devices(f"cuda:{count - 1}") == [torch.device("cuda", count - 1)]
        assert open_device("cuda").torch == torch.device("cuda:0")
        assert [one.torch for one in open_others("auto")] == every[1:]
        assert open_others(f"cuda:{count - 1}") == []

    @pytest.mark.skipif(REAL, reason="real GPUs are given")
    @pytest.mark.usefixtures("cuda")
    def test_gpus_of_another_card_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They round differently, and which rows they score depends on time. They can be named."""
        monkeypatch.setattr(fakecuda.Limits, "devices", 3)
        monkeypatch.setattr(fakecuda.Limits, "cards", {1: "small"})
        assert pick_devices("cuda") == [torch.device("cuda:0"), torch.device("cuda:2")]
        assert open_device("cuda:1").card == "small"

    def test_the_name_of_all_of_them(self) -> None:
        first = torch.device("cuda:0")
        assert [group_name(first, name) for name in ("auto", "cuda", "cuda:0")] == ["cuda", "cuda", "cuda:0"]
        assert [group_name(torch.device("cpu"), name) for name in ("auto", "cpu")] == ["cpu", "cpu"]

    @pytest.mark.parametrize(
        ("name", "count", "says"),
        [
            ("cuda", 0, "this machine has 0 CUDA devices; use --device cpu or auto"),
            ("cuda:1", 1, "this machine has 1 CUDA device; use --device cpu or auto"),
            ("cuda:2", 2, "this machine has 2 CUDA devices; use --device cpu or auto"),
        ],
    )
    def test_a_gpu_that_is_not_there(self, name: str, count: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        with pytest.raises(DeviceError) as error:
            open_device(name)
        assert str(error.value) == f"device {name!r} is not available: {says}"

    @pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU"])
    def test_unknown_names(self, name: str) -> None:
        with pytest.raises(DeviceError) as error:
            pick_devices(name)
        assert str(error.value) == f"device {name!r} is not known; use auto, cpu, cuda or cuda:1"

    @pytest.mark.parametrize("name", ["mps", "meta", "xpu"])
    def test_other_devices_of_torch(self, name: str) -> None:
        with pytest.raises(DeviceError) as error:
            pick_devices(name)
        assert str(error.value) == f"device {name!r} is not supported; use auto, cpu, cuda or cuda:1"


class TestCpu:
    """The host itself."""

    def test_nothing_is_copied(self) -> None:
        """Inputs and results are the same objects, and it has no clock of its own."""
        cpu = Cpu()
        sent = cpu.send({"x": TABLE, "t": TOKENS})
        assert sent.tensors["x"] is TABLE
        fetched = cpu.work(sent, lambda inputs: {"y": inputs["x"], "t": inputs["t"]})
        assert fetched.tensors == {"y": TABLE, "t": TOKENS}
        assert fetched.device_s == {}

    def test_errors_of_the_model_are_raised(self) -> None:
        """And the device can be used again."""
        cpu = Cpu()
        assert cpu.survives_errors

        def fail(_: object) -> dict[str, torch.Tensor]:
            raise RuntimeError("a model's own")

        with pytest.raises(RuntimeError, match="a model's own"):
            cpu.work(cpu.send({"x": TABLE}), fail)
        assert cpu.work(cpu.send({"x": TABLE}), dict).tensors["x"] is TABLE

    def test_all_rows(self) -> None:
        given = {"x": TABLE}
        assert Cpu().select_rows(given, None) is given

    @pytest.mark.parametrize("rows", [[2, 0], [], [1, 1, 3], [0, 1, 2, 3]])
    def test_some_rows(self, rows: list[int]) -> None:
        """In any order and repeatedly, of tables, indices, images and lists; tables stay column-major."""
        pixels = torch.arange(4 * 3 * 2 * 2.0).reshape(4, 3, 2, 2)
        given = {"x": TABLE, "i": torch.arange(4), "p": pixels, "t": TOKENS}
        found = Cpu().select_rows(given, np.array(rows, dtype=np.int64))
        assert torch.equal(found["x"], TABLE[rows])
        assert found["x"].T.is_contiguous()
        assert torch.equal(found["i"], torch.tensor(rows, dtype=torch.int64))
        assert torch.equal(found["p"], pixels[rows])
        lists = [[1, 2], [], [3], [4, 5, 6]]
        assert found["t"].values.tolist() == [token for row in rows for token in lists[row]]
        assert found["t"].offsets.diff().tolist() == [len(lists[row]) for row in rows]

    def test_selected_rows_are_copies(self) -> None:
        """A model that overwrites its inputs does not change the block."""
        table = TABLE.clone()
        found = Cpu().select_rows({"x": table}, np.arange(4))["x"]
        assert isinstance(found, torch.Tensor)
        found.zero_()
        assert torch.equal(table, TABLE)
