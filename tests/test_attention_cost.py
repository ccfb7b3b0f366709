"""The benchmark of attention layers: memory against tensors of known size and its growth, and cases that do not fit."""

import json
import os

import numpy as np
import pytest
import torch

from benchmarks import attention


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_peak_memory_is_the_most_memory_held_at_one_time():
    def work():
        first, second = torch.empty(1000), torch.empty(2000)
        del first
        return second, torch.empty(500)

    assert attention.peak_bytes(work) == 4 * 3000


def test_stderr_is_restored_after_profiling(capfd):
    attention.peak_bytes(lambda: torch.empty(10))
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_memory_grows_with_the_square_of_the_nodes_only_in_pairwise_attention():
    found = attention.attention_costs([160, 640]).set_index(["attention", "nodes"])
    assert (found["seconds"] > 0).all() and (found["note"] == "").all()
    memory = found["megabytes"].unstack()
    growth = memory[640] / memory[160]
    assert growth["pairwise"] > 12 and growth["multihead, no dropout"] < 6
    assert memory.loc["pairwise", 640] > 4 * 640 * 640 * 64 / 1e6 > memory.loc["multihead", 640]


def test_a_case_that_does_not_fit_into_memory_is_not_run_and_drawn_as_a_cross(monkeypatch):
    class Little:
        available = 10e6

    monkeypatch.setattr(attention.psutil, "virtual_memory", lambda: Little)
    found = attention.attention_costs([20, 200])
    row = found.set_index(["attention", "nodes"]).loc["pairwise", 200]
    assert np.isnan(row["seconds"]) and np.isnan(row["megabytes"]) and row["note"].startswith("not run: about 0.1 GB needed")
    assert found["seconds"].notna().sum() == 5
    for axes in attention.attention_cost_figure(found).axes:
        assert list(axes.lines[0].get_xdata()) == [20]
        assert [(text.get_text(), text.get_position()) for text in axes.texts] == [("×", (200, 1.0))]


def test_the_script_prints_one_line_per_case_and_saves_the_figure(monkeypatch, capsys, tmp_path):
    figure = tmp_path / "attention.png"
    monkeypatch.setattr("sys.argv", ["attention.py", "--nodes", "20", "--figure", str(figure)])
    attention.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["attention"] for line in lines] == list(attention.LAYERS) and figure.stat().st_size > 1000
