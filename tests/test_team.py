"""Several processes: the same results as one process, for any remainder, with each error printed once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from aasist_lib.corpora import load_trials
from aasist_lib.metrics import eer, split_classes
from aasist_lib.models.checkpoints import read_facts

ROOT = Path(__file__).parents[1]
SHARE = """
import sys
from aasist_lib.scoring import split as scoring
from aasist_lib.datasets import feature_bank as features
from aasist_lib.__main__ import main
features.SHARDS, features.CHUNK, scoring.BLOCK = 7, 2, 2
for command in sys.argv[1:]:
    if code := main(command.split()):
        sys.exit(code)
"""


@pytest.fixture
def project(tiny_profile, tmp_path):
    """A project with a profile whose splits have seven clips each, and a script that runs commands with small blocks."""
    trials = load_trials(tiny_profile.data)
    trials = pd.concat([rows.head(7) for _, rows in trials.groupby("split", sort=False)], ignore_index=True)
    trials.to_parquet(tmp_path / "trials.parquet", index=False)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "aasist-workbook"\n')
    (tmp_path / "configs").mkdir()
    values = tiny_profile.model_dump(mode="json")
    values["training"] |= {"epochs": 2, "batch_size": 2, "average": 0.5}
    values["data"] |= {"root": str(tmp_path), "cache": str(tmp_path)}
    (tmp_path / "configs" / "toy.yaml").write_text(yaml.safe_dump(values | {"run_dir": None}))
    (tmp_path / "share.py").write_text(SHARE)
    return tmp_path


def launch(project: Path, processes: int, *commands: str) -> subprocess.CompletedProcess:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(project / "share.py"), *commands]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)


def banks(project: Path) -> dict[str, np.ndarray]:
    return {file.parent.name + file.name: np.load(file) for file in project.glob("features/*/shard-*.npy")}


def test_three_processes_share_seven_clips_and_give_what_one_gives(project):
    """Bit-identical features and scores, from the feature bank and from audio; the same dev EER as in training."""
    live = "score --profile toy --split eval --out live.csv --set training.feature_cache=false"
    trained = launch(project, 3, "train toy")  # the processes separate at its end
    three = launch(project, 3, "features toy", "score --profile toy --split dev --out dev.csv", live)
    assert three.returncode == trained.returncode == 0, trained.stderr[-3000:] + three.stderr[-3000:]
    assert trained.stdout.count("training: 3 processes") == three.stdout.count("scored: dev.csv") == 1
    shared = {name: pd.read_csv(project / f"{name}.csv") for name in ("dev", "live")}
    features = banks(project)
    assert len(features) == 21
    for file in project.glob("features/*/*"):
        file.unlink()
    one = launch(project, 1, "features toy", "score --profile toy --split dev --out dev.csv", live)
    assert one.returncode == 0, one.stderr[-3000:]
    alone = banks(project)
    assert features.keys() == alone.keys() and all(np.array_equal(features[name], alone[name]) for name in alone)
    for name, table in shared.items():
        pd.testing.assert_frame_equal(table, pd.read_csv(project / f"{name}.csv"), check_exact=True)
        assert len(set(table["utt_id"])) == len(table) == 7
    rate, threshold = eer(*split_classes(shared["dev"]["label"], shared["dev"]["score"]))
    facts = read_facts(project / "runs" / "toy" / "checkpoints" / "best")
    assert (rate, threshold) == pytest.approx((facts["dev_eer"], facts["dev_threshold"]), abs=1e-5)
    assert not list((project / "runs" / "toy" / "scores").glob("unfinished*"))


def test_a_clip_that_only_one_process_meets_is_told_once_and_stops_all(project):
    trials = pd.read_parquet(project / "trials.parquet")
    broken = project / "broken.flac"
    broken.write_bytes(Path(trials["path"][3]).read_bytes()[:300])
    trials.loc[3, "path"] = str(broken)
    trials.to_parquet(project / "trials.parquet", index=False)
    done = launch(project, 2, "features toy")
    assert done.returncode != 0 and done.stderr.count("broken.flac: ") == 1, done.stderr[-3000:]
    assert 'Traceback (most recent call last):\n  File "/' not in done.stderr.split("error: ")[0]


def test_the_index_of_a_shared_bank_counts_every_clip_once(project):
    assert launch(project, 3, "features toy").returncode == 0
    for file in project.glob("features/*/index.parquet"):
        index, facts = pd.read_parquet(file), json.loads((file.parent / "bank.json").read_text())
        assert len(index) == index["utt_id"].nunique() == 7 and facts["settings"]["dtype"] == "float16"


def test_fewer_full_batches_than_processes_are_an_error_of_one_line(project):
    """The suggested fix, a batch size of 2, is what the tests above train with."""
    failed = launch(project, 3, "train toy --set training.batch_size=4")
    line = "error: 7 train clips make 1 full batch(es) of 4, and 3 processes each need one: set training.batch_size=2"
    assert failed.returncode != 0 and failed.stderr.count(line) == 1 and "non-empty TensorList" not in failed.stderr
