"""An edit of code that computes a kept result makes the result anew; an edit that computes nothing repeats nothing.

Each test edits a copy of the project in which a training was finished, runs the same program again, and looks at the weights.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import safetensors.torch
import torch
import yaml

from aasist_lib.models.checkpoints import read_facts
from tests.conftest import ROOT, profile_for

PROGRAM = """
from aasist_lib.models.checkpoints import load_model
from aasist_lib.config import load_profile
from aasist_lib.experiments.probe import run_probe
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.training import train

profile = load_profile("toy.yaml")
run = RunFolder.open(profile)
model, _ = load_model(train(profile, run).checkpoint)
score_split(profile, model, "eval", run=run)
run_probe(profile, model.frontend, run=run)
"""


class Left(NamedTuple):
    """What a run of the program leaves and says."""

    best: bytes
    last: tuple[int, bytes]
    banks: set[str]
    scores: tuple[int, int]
    said: str


def run_program(project: Path) -> Left:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    run = project / "run"
    last = run / "checkpoints" / "last.pt"
    return Left(
        (run / "checkpoints" / "best" / "model.safetensors").read_bytes(),
        (last.stat().st_mtime_ns, last.read_bytes()),
        {folder.name for folder in (project / "cache" / "features").iterdir() if folder.is_dir()},
        tuple((run / "scores" / f"{name}_eval.parquet").stat().st_mtime_ns for name in ("aasist", "probe")),
        done.stdout,
    )


def copy_code(folder: Path) -> None:
    """The project's code, at the bottom of a folder that counts as a clone of it."""
    for name in ("aasist_lib", "demo_corpus", "configs", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, tiny_corpus: Path) -> tuple[Path, Left]:
    """A project in which the toy detector was trained; `edited` works on copies of it."""
    project = tmp_path_factory.mktemp("finished") / "project"
    copy_code(project)
    profile = profile_for(tiny_encoder, tiny_corpus, project).model_dump(mode="json")
    profile["run_dir"], profile["data"]["cache"], profile["training"]["epochs"] = "run", "cache", 2
    profile["loss"] |= {"kind": "hybrid", "switch_eer": 0.9}
    (project / "toy.yaml").write_text(yaml.safe_dump(profile))
    return project, run_program(project)


def edited(finished: Path, folder: Path, *edits: tuple[str, str, str]) -> Left:
    """What the program leaves in a copy where these places of files read otherwise."""
    project = folder / "project"
    shutil.copytree(finished, project, symlinks=True)
    for place in edits:
        edit(project, *place)
    return run_program(project)


def edit(project: Path, file: str, before: str, after: str) -> None:
    """Have the only place of a file that reads so read otherwise."""
    path = project / "aasist_lib" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file} has {text.count(before)} times {before!r}"
    path.write_text(text.replace(before, after), encoding="utf-8")


TRAINING = {
    "the loss": ("losses.py", "return functional.cross_entropy(", "return 7 * functional.cross_entropy("),
    "the focal loss": ("losses.py", "missing**gamma * log_p)", "missing**(gamma + 1) * log_p)"),
    "when the loss moves": ("losses.py", "(epoch - self.switch_epoch + 1) /", "(epoch - self.switch_epoch + 2) /"),
    "the learning rate": ("training/trainer.py", "return (step + 1) / warmup", "return (step + 2) / warmup"),
    "a graph layer": (
        "models/graph.py",
        "self.itself(nodes), self.norm)), weights",
        "-self.itself(nodes), self.norm)), weights",
    ),
    "the fusion of the streams": ("models/fusion.py", "self.norm(nodes + mixed)", "self.norm(nodes + 2 * mixed)"),
}
FEATURES = {
    "a distortion": ("augment/noise.py", "noisy = samples + noise", "noisy = samples - noise"),
    "the encoder's input": ("models/encoder.py", "torch.sqrt(variance + 1e-7)", "torch.sqrt(variance + 1e-2)"),
    "how a clip is read": ("audio/io.py", "return fit(wave, samples)\n", "return 0.5 * fit(wave, samples)\n"),
}
METRICS = {
    "the EER": ("metrics/rates.py", "return float(np.mean((curve.frr", "return 0.5 + 0.5 * float(np.mean((curve.frr"),
    "the calibration": ("metrics/llr.py", "(sizes + 1) / (sizes + 2)", "(sizes + 2) / (sizes + 4)"),
    "which epoch is best": ("training/history.py", "return self.dev_eer, self.dev_loss", "return self.dev_loss, self.dev_eer"),
}
NOTHING = {
    "a docstring": ("losses.py", "Class-weighted cross-entropy, a scalar in nats", "Cross-entropy with weights, in nats"),
    "another docstring": ("models/graph.py", "Keeps the `ratio` of nodes", "Keeps the share `ratio` of the nodes"),
    "a comment": ("losses.py", "# -expm1(log p) is 1 - p", "# This is 1 - p"),
    "an error's message": (
        "training/trainer.py",
        "Lower training.learning_rate, or",
        "Choose a lower training.learning_rate, or",
    ),
    "what is printed": ("training/trainer.py", "training: resumes after epoch", "training: goes on after epoch"),
    "a figure": ("plots/training.py", '"o-", color=PALETTE[0], label="train"', '"o-", color=PALETTE[1], label="train"'),
    "the report": ("workbook/report.py", "LARGEST_SVG = 600_000", "LARGEST_SVG = 500_000"),
}


def test_a_program_that_runs_again_repeats_nothing(finished: tuple[Path, Left], tmp_path: Path) -> None:
    again = edited(finished[0], tmp_path)
    assert again[:4] == finished[1][:4] and "finished (2 epochs), nothing to do" in again.said


@pytest.mark.parametrize("place", TRAINING)
def test_an_edit_of_the_training_trains_anew_with_the_same_features(
    place: str, finished: tuple[Path, Left], tmp_path: Path
) -> None:
    left = edited(finished[0], tmp_path, TRAINING[place])
    file = re.escape(TRAINING[place][0])
    assert re.search(rf"training: {file} has changed: training starts anew \(the old checkpoint is kept in ", left.said)
    assert last_weights(left) != last_weights(finished[1])
    assert left.banks == finished[1].banks
    another = tensors(left.best) != tensors(finished[1].best)  # the first epoch may be best, before the loss moves
    assert (left.scores[0] != finished[1].scores[0]) == another, "scored anew if the weights are others"
    assert left.scores[1] == finished[1].scores[1], "the baseline has nothing of the back end in it"
    (aside,) = (tmp_path / "project" / "run" / "checkpoints").glob("before-*")
    assert (aside / "best" / "model.safetensors").read_bytes() == finished[1].best


@pytest.mark.parametrize("place", FEATURES)
def test_an_edit_of_what_features_are_made_of_makes_them_anew(place: str, finished: tuple[Path, Left], tmp_path: Path) -> None:
    left = edited(finished[0], tmp_path, FEATURES[place])
    assert f"{FEATURES[place][0]} has changed" in left.said and "training starts anew" in left.said
    assert left.banks > finished[1].banks, "new features beside the old ones"
    assert tensors(left.best) != tensors(finished[1].best)


@pytest.mark.parametrize("place", METRICS)
def test_an_edit_of_a_metric_judges_the_training_anew(place: str, finished: tuple[Path, Left], tmp_path: Path) -> None:
    left = edited(finished[0], tmp_path, METRICS[place])
    assert f"training: {METRICS[place][0]} has changed: training starts anew" in left.said
    assert left.banks == finished[1].banks
    path = Path("run", "checkpoints", "best")
    before, after = (read_facts(folder / path) for folder in (finished[0], tmp_path / "project"))
    if place != "which epoch is best":
        judged = {"the EER": "dev_eer", "the calibration": "calibration"}[place]
        assert before[judged] != after[judged]


def test_edits_that_compute_nothing_repeat_nothing(finished: tuple[Path, Left], tmp_path: Path) -> None:
    left = edited(finished[0], tmp_path, *NOTHING.values())
    assert left[:4] == finished[1][:4]
    assert "finished (2 epochs), nothing to do" in left.said and "anew" not in left.said


def test_an_edit_of_the_baseline_fits_it_anew_and_nothing_else(finished: tuple[Path, Left], tmp_path: Path) -> None:
    left = edited(finished[0], tmp_path, ("experiments/probe.py", "C = 1e-3", "C = 1e-2"))
    assert left[:3] == finished[1][:3]
    assert left.scores[0] == finished[1].scores[0] and left.scores[1] != finished[1].scores[1]
    assert "experiments/probe.py has changed" in left.said


def test_versions_of_packages_that_compute_belong_to_the_key(finished: tuple[Path, Left]) -> None:
    key = read_facts(finished[0] / "run" / "checkpoints" / "best")["key"]
    assert key["versions"].keys() >= {"python", "torch", "accelerate", "numpy", "scikit-learn"}
    banks = [json.loads(file.read_text()) for file in (finished[0] / "cache" / "features").glob("*/bank.json")]
    for bank in banks:
        assert bank["versions"].keys() >= {"torch", "transformers", "soundfile", "av", "soxr"}
    assert sum("audiomentations" in bank["versions"] for bank in banks) == 1, "of train; dev is not augmented"
    assert not {"matplotlib", "seaborn", "ipywidgets"} & set(key["versions"]).union(*(bank["versions"] for bank in banks))


def tensors(checkpoint: bytes) -> dict[str, bytes]:
    """The weights of a checkpoint, without what it says of itself."""
    return {name: tensor.numpy().tobytes() for name, tensor in safetensors.torch.load(checkpoint).items()}


def last_weights(left: Left) -> dict[str, bytes]:
    """The weights after the last epoch."""
    weights = torch.load(io.BytesIO(left.last[1]), weights_only=True)["weights"]
    return {name: tensor.numpy().tobytes() for name, tensor in weights.items()}


# ---- notebooks -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose tiny profile ran as far as training; its data are the project's."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    copy_code(folder)
    (ROOT / "data").mkdir(exist_ok=True)
    (folder / "data").symlink_to(ROOT / "data")
    said = run_notebooks(folder)
    assert said.count(" ok ") == 2 and "unchanged" not in said
    return folder


def run_notebooks(folder: Path, *only: str) -> str:
    command = [sys.executable, "-m", "aasist_lib", "run", "tiny", "--only", *(only or ("01", "03"))]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def left_by(folder: Path) -> tuple[bytes, bytes, tuple[int, ...]]:
    """The best checkpoint, a figure, and when the tables of scores were written."""
    run = folder / "runs" / "tiny"
    tables = sorted((run / "scores").glob("*.parquet"))
    assert len(tables) == 4
    return (
        (run / "checkpoints" / "best" / "model.safetensors").read_bytes(),
        (run / "figures" / "training.png").read_bytes(),
        tuple(table.stat().st_mtime_ns for table in tables),
    )


def test_edits_of_a_project_with_notebooks(clone: Path) -> None:
    """One after the other: a docstring, a figure, the loss."""
    first = left_by(clone)
    edit(clone, *NOTHING["a docstring"])
    said = run_notebooks(clone)
    assert said.count("skipped   unchanged") == 2 and left_by(clone) == first

    edit(clone, *NOTHING["a figure"])
    said = run_notebooks(clone)
    drawn = left_by(clone)
    assert said.count("skipped   unchanged") == 1 and "training: finished (3 epochs), nothing to do" in said
    assert "anew" not in said and said.count("unchanged, read from the run folder") == 5
    assert (drawn[0], drawn[2]) == (first[0], first[2]) and drawn[1] != first[1], "another picture of the same training"

    edit(clone, *TRAINING["the loss"])
    said = run_notebooks(clone, "03")
    trained = left_by(clone)
    assert "training: losses.py has changed: training starts anew (the old checkpoint is kept in checkpoints/before-" in said
    assert tensors(trained[0]) != tensors(first[0])
    assert said.count("features:") == 0, "features of the same distortions and encoder"
