"""The GPU benchmark runs, on the CPU and small: it prints there what it prints on a GPU, and the numbers mean nothing."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT


def run(*arguments):
    command = [sys.executable, str(ROOT / "benchmarks" / "encoder_gpu.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_it_prints_every_number_it_promises():
    done = run("--device", "cpu", "--tiny", "--eager", "--peak-tflops", "0.05")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["encoder"] == "tiny, random weights" and found["device"] == "cpu"
    rows = found["extraction"]["bf16, eager"]
    for row in rows.values():
        assert (
            abs(row["mfu"] - row["clips_per_second"] * found["gflop_clip"] / 50) <= 0.55 * row["clips_per_second"] / 500 + 1e-3
        )
    assert found["best_mfu"] == max(row["mfu"] for row in rows.values())
    bank, paper = (found[f"training_{form}"] for form in ("from_bank", "as_the_paper"))
    assert min(bank["clips_per_second"], paper["clips_per_second"]) > 0 and bank["host_syncs_a_step"] is None
    assert abs(found["training_ratio"] - bank["clips_per_second"] / paper["clips_per_second"]) < 0.05


def test_without_a_gpu_it_says_what_can_be_tried():
    done = run()
    assert done.returncode == 2 and "--device cpu --tiny --eager" in done.stderr
