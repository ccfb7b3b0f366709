"""The benchmark of an epoch runs on a toy and gives every form; what it measures there means nothing."""

import json
import os
import subprocess
import sys

import yaml

from tests.conftest import ROOT


def test_it_times_every_form_and_leaves_nothing_behind(tiny_profile, tmp_path):
    profile = tmp_path / "toy.yaml"
    profile.write_text(yaml.safe_dump(tiny_profile.model_dump(mode="json")))
    command = [sys.executable, str(ROOT / "benchmarks" / "epoch_time.py"), "--profile", str(profile), "--clips", "8"]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["trials"] == {"train": 8, "dev": 4, "eval": 4}
    seconds = found["epoch_seconds"]
    assert list(seconds) == ["bank", "bank, whole clips", "loop", "paper"] and min(seconds.values()) > 0
    assert set(found["ratios_to_bank"]) == set(seconds) - {"bank"}
    assert not tiny_profile.folder.exists() and not any(scratch.glob("*/trials.parquet"))
