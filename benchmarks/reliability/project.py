"""The toy project of the reliability harness: inputs, commands, and comparable digests of their results."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
import yaml
from safetensors import safe_open

from benchmarks.reliability.starting import Started
from tests.conftest import make_corpus, make_encoder, profile_for
from tests.demo_corpus.conftest import RATE, talk

NAMES = ("prepare", "features", "train", "score", "score --profile", "run")
RUN_NOTEBOOKS = ("01", "03", "05")
"""Notebooks for testing `run`: data, training with probe and scores, evaluation with tables and figures."""


@dataclass(frozen=True)
class Command:
    """A command of the library as it is typed, and the folder with all its output.

    `writes` is a pattern of temporary files. Some kills are sent at the moment such a file appears.
    """

    name: str
    arguments: tuple[str, ...]
    state: Path
    writes: str = ".tmp-*"

    def start(self, typed: bool = True, **options) -> Started:
        """Start the command as a process; see `Started`."""
        return Started(
            self.arguments, self.state.parent / f"{self.name.replace(' ', '')}-{uuid.uuid4().hex[:8]}", typed, **options
        )

    def finish(self, typed: bool = True) -> str:
        """Run the command to its end and return its output; raise AssertionError if it fails."""
        process = self.start(typed)
        if code := process.wait():
            raise AssertionError(f"{self.name}: exit code {code}\n{process.said()}")
        return process.said()

    def wipe(self) -> None:
        """Remove all its output, but not the folder itself, which may be a mount point."""
        self.state.mkdir(parents=True, exist_ok=True)
        for path in self.state.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def results(self) -> dict[str, str]:
        """Return a digest of every final artefact by its name in the folder."""
        return {name: _digest(path) for name, path in _artefacts(self.state)}

    def leftovers(self) -> list[str]:
        """Return temporary and unfinished files, which should not exist after a completed run."""
        marks = (".tmp-", ".tmp", ".part.", "unfinished")
        return [str(path.relative_to(self.state)) for path in self.state.rglob("*") if any(mark in path.name for mark in marks)]


def make_project(folder: Path, scale: int = 1) -> list[Command]:
    """Create encoder, corpora, recordings and a trained detector in a folder, and return the commands that use them.

    Args:
        folder: a new or empty folder.
        scale: amount of work; at 1, the commands need about as much time for the work as for their start.
    """
    encoder = make_encoder(_made(folder / "encoder"))
    corpus = make_corpus(_made(folder / "corpus"), 24 * scale)
    profile = profile_for(encoder, corpus, folder).model_dump(mode="json")
    profile["data"] |= {"corpus": "table", "root": str(corpus / "trials.parquet")}
    profile["training"] |= {"average": 0.9, "mixup": 0.2, "epochs": 8}
    profile["evaluation"] |= {"replicates": 100}
    training = profile | {"training": profile["training"] | {"feature_cache": False, "workers": 2}}
    many = profile | {"data": profile["data"] | {"root": str(_many_trials(corpus, 4100 + 1000 * scale))}}
    bank = profile | {"data": profile["data"] | {"cache": str(folder / "bank")}}
    bank["training"] = profile["training"] | {"workers": 1}
    bank["augmentation"] = profile["augmentation"] | {"views": 6}
    notebooks = profile | {"data": profile["data"] | {"root": str(_more_speakers(corpus))}}
    notebooks["training"] = profile["training"] | {"epochs": 3}
    build = profile | {"data": {"bonafide": str(_people(folder / "people", 2 * scale)), "clips_per_speaker": 4}}
    build["data"]["root"] = str(folder / "state" / "prepare" / "built")

    def write(name: str, values: dict) -> str:
        own = values | {"name": name, "run_dir": str(folder / "state" / name / "run")}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(own), encoding="utf-8")
        return str(path)

    def state(name: str) -> Path:
        return _made(folder / "state" / name)

    detector = Command("detector", ("train", write("detector", training | {"training": {"epochs": 2}})), state("detector"))
    detector.finish()
    best = str(state("detector") / "run" / "checkpoints" / "best")
    sounds, out = _recordings(folder / "recordings", 30 * scale), state("score") / "scores.csv"
    scoring = ("score", "--checkpoint", best, "--hop", "0.05", "--timeline", "--scores-only", "--out", str(out), str(sounds))
    split = ("score", "--profile", write("split", many), "--checkpoint", best, "--out", str(state("split") / "eval.parquet"))
    return [
        Command("prepare", ("prepare", write("prepare", build)), state("prepare")),
        Command("features", ("features", write("features", bank)), _made(folder / "bank" / "features"), "*.part.*"),
        Command("train", ("train", write("train", training)), state("train")),
        Command("score", scoring, state("score")),
        Command("score --profile", split, state("split")),
        Command("run", ("run", write("run", notebooks), "--only", *RUN_NOTEBOOKS), state("run")),
    ]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _people(folder: Path, clips: int) -> Path:
    """Write recordings of three speakers, similar enough to speech for every synthesiser."""
    for speaker in range(3):
        for clip in range(clips):
            soundfile.write(_made(folder / f"speaker {speaker}") / f"{clip}.wav", talk(10 * speaker + clip), RATE)
    return folder


def _recordings(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(1)
    for number in range(count):
        soundfile.write(_made(folder) / f"{number:03d}.flac", 0.1 * rng.standard_normal(RATE * (2 + number % 5)), RATE)
    return folder


def _many_trials(corpus: Path, count: int) -> Path:
    """Write an eval split with many trials of few clips, because scoring resumes from complete blocks of trials."""
    trials = pd.read_parquet(corpus / "trials.parquet")
    trials = trials[trials["split"] == "eval"]
    rows = trials.iloc[np.arange(count) % len(trials)].assign(utt_id=[f"E{number}" for number in range(count)])
    rows.to_parquet(corpus / "many.parquet", index=False)
    return corpus / "many.parquet"


def _more_speakers(corpus: Path) -> Path:
    """Write the trial table with two speakers per split, each in both classes: notebook 05 resamples speakers."""
    trials = pd.read_parquet(corpus / "trials.parquet")
    number = trials.groupby("split").cumcount() // 2 % 2
    trials.assign(speaker=trials["speaker"] + "-" + number.astype(str)).to_parquet(corpus / "speakers.parquet", index=False)
    return corpus / "speakers.parquet"


# ---- what is compared ------------------------------------------------------------------------------------------------

NOT_COMPARED = ("manifest.json", "notebooks/", "report/")
"""Files that are not compared, because they contain times. Also excluded is `seconds` in all copies of the training history."""


def _artefacts(state: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(state.rglob("*")):
        name = path.relative_to(state).as_posix()
        inside = name.removeprefix("run/")
        if path.is_file() and not any(part.startswith(".") for part in path.parts[len(state.parts) :]):
            if not inside.startswith(NOT_COMPARED):
                yield name, path


def _digest(path: Path) -> str:
    special: dict[str, Callable[[Path], object]] = {
        "history.parquet": lambda file: pd.read_parquet(file).drop(columns="seconds").to_csv(),
        "last.pt": lambda file: _plain(torch.load(file, weights_only=True)),
        "model.safetensors": _checkpoint,
    }
    if path.name not in special:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(special[path.name](path), sort_keys=True).encode()).hexdigest()


def _checkpoint(file: Path) -> object:
    with safe_open(file, "pt") as archive:
        tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
        return _plain({"tensors": tensors, "facts": json.loads(archive.metadata()["facts"])})


def _plain(value: object) -> object:
    """Convert a value to JSON: tensors become digests of their bytes, and keys named 'seconds' are dropped."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if key != "seconds"}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else repr(value)
