"""Notebook 03 with several GPUs: training starts one process per GPU, and CUDA is not initialised before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import nbformat
import pytest
import torch

from aasist_lib import training
from aasist_lib.config import Profile
from aasist_lib.runtime.run_folder import RunFolder

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_training.ipynb"
LAUNCH = "notebook_launcher("


def code_cells() -> list[str]:
    """Return the code cells in order, without the parameters cell."""
    cells = nbformat.read(NOTEBOOK, 4).cells
    return [cell.source for cell in cells if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", ())]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tiny_profile: Profile) -> list[Any]:
    """Recorded calls of stubs for the launcher and for training, on a machine without a GPU."""
    seen: list[Any] = []
    monkeypatch.setattr(accelerate, "notebook_launcher", lambda *given, **named: seen.append(("launcher", *given, named)))
    monkeypatch.setattr(training, "train", lambda *given, **named: seen.append(("train", *given, named)))
    opened = (tiny_profile, RunFolder.open(tiny_profile))
    monkeypatch.setattr("aasist_lib.workbook.runner.open_notebook", lambda *_: opened)
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")  # undone after the test, with what the notebook sets
    return seen


def run_up_to_training() -> dict[str, Any]:
    """Run the cells up to the launching cell; return the notebook's names."""
    cells = code_cells()
    (last,) = (number for number, source in enumerate(cells) if LAUNCH in source)
    names: dict[str, Any] = {"PROFILE": "tiny", "SET": ""}
    for source in cells[: last + 1]:
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    return names


def forbid_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any CUDA initialisation an error, because an initialised CUDA context cannot be used in a forked process."""

    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a cell before the launch has started CUDA")

    for name in ("_lazy_init", "init", "set_device", "get_device_properties", "get_device_name", "mem_get_info", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, started)
    monkeypatch.setattr(torch._C, "_cuda_getDeviceCount", started, raising=False)  # a CPU build has none
    monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: True)


@pytest.mark.parametrize("devices", [2, 8])
def test_several_gpus_train_in_a_process_each(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, devices: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    forbid_cuda(monkeypatch)
    names = run_up_to_training()
    given = (names["profile"], names["run"])
    launched, finished = calls
    assert launched == ("launcher", names["train"], (*given, names["tell"]), {"num_processes": devices})
    assert finished == ("train", *given, {"on_epoch": names["tell"]})
    assert names["device"] == "cuda" and {p.device.type for p in names["model"].parameters()} == {"cpu"}


@pytest.mark.parametrize(("devices", "device"), [(0, "cpu"), (1, "cuda")])
def test_one_device_trains_here(calls: list[Any], monkeypatch: pytest.MonkeyPatch, devices: int, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    names = run_up_to_training()
    assert [call[0] for call in calls] == ["train"] and names["device"] == device


def test_a_gpu_that_a_cell_has_started_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_cuda(monkeypatch)
    monkeypatch.delenv("PYTORCH_NVML_BASED_CUDA_CHECK", raising=False)
    for asks in (torch.cuda.is_available, torch.cuda.current_device):
        with pytest.raises(AssertionError, match="CUDA"):
            asks()
