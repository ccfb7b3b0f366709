"""Compare a training epoch from the feature bank with an epoch that runs the encoder in the loop, on the same machine.

    python benchmarks/epoch_time.py                             # the whole demo corpus, which must exist
    python benchmarks/epoch_time.py --xlsr --clips 16           # an encoder of XLS-R 300M's shape, on a few clips
    python benchmarks/epoch_time.py --clips 64                  # test whether the script runs

Each epoch is run by `aasist_lib.training.trainer.train` and includes scoring dev:

- `bank`: the profile's own settings, with features from the bank. Building the bank is timed separately.
- `bank, whole clips`: the same without `crop_frames`, so that the back end computes as much as in the loop.
- `loop`: the same encoder in the loop, with new crops and distortions every epoch, without a bank.
- `paper`: as in the paper's published code: in the loop, all encoder layers are computed and the last one is used, and the eval
  split is scored through the encoder after every epoch.

With `--clips N`, train has N clips, and dev and eval half as many, drawn with a seed. The ratios hold for other numbers of
clips as far as the time of an epoch is proportional to that number, which is not the case for very few. `--xlsr` replaces the
encoder by a wav2vec 2.0 of XLS-R 300M's shape with random weights (time does not depend on them), its last layer, and one view
in the bank. The last line is JSON, with seconds and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from aasist_lib.config import Profile, load_profile
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.feature_bank import build_bank
from aasist_lib.models import build_model
from aasist_lib.models.checkpoints import load_model
from aasist_lib.models.cost import XLSR_300M
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.training import train

AIM = 20.0
WHOLE = {"training.crop_frames": "null"}
LOOP = WHOLE | {"training.feature_cache": "false"}
PAPER = LOOP | {"model.frontend.layer": "last", "model.frontend.max_layer": "null"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings that replace those of the profile")
    parser.add_argument("--clips", type=int, help="train clips; half as many from dev and eval (default: the whole corpus)")
    parser.add_argument("--xlsr", action="store_true", help="use an encoder of XLS-R 300M's shape with random weights")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as name:
        folder, common = Path(name), {}
        if options.clips:
            common |= smaller_corpus(load_profile(options.profile, options.set), options.clips, folder)
        if options.xlsr:
            common |= random_xlsr(folder / "owner" / "xlsr")
        trials = load_trials(profile_of(options, common).data)["split"].value_counts().to_dict()
        found = measure(options, common, folder, device)
    facts = {"profile": options.profile, "encoder": "XLS-R 300M, random weights" if options.xlsr else "the profile's"}
    facts |= {"trials": trials, "device": device, "threads": os.environ.get("OMP_NUM_THREADS", "all")}
    print(json.dumps({**facts, "date": date.today().isoformat(), **found, "aim": AIM}))


def profile_of(options: argparse.Namespace, changes: dict[str, Any], name: str = "", folder: Path | None = None) -> Profile:
    """Return the profile with changes, for one epoch, in its own run folder."""
    where = {"run_dir": folder / name.replace(", ", "-").replace(" ", "-")} if folder else {}
    changes = changes | {"training.epochs": 1, **where}
    return load_profile(options.profile, [*options.set, *(f"{key}={value}" for key, value in changes.items())])


def measure(options: argparse.Namespace, common: dict[str, Any], folder: Path, device: str) -> dict[str, Any]:
    """Return the seconds of an epoch in each form, and their ratios to the epoch from the bank."""
    bank_seconds = make_bank(profile_of(options, common), device)
    seconds = {}
    for name, changes in {"bank": {}, "bank, whole clips": WHOLE, "loop": LOOP, "paper": PAPER}.items():
        profile = profile_of(options, common | changes, name, folder)
        seconds[name] = epoch_seconds(profile, epochs=2 if "bank" in name else 1)
        if name == "paper":
            seconds[name] += scoring_seconds(profile, device)
        print(f"{name}: {seconds[name]:.1f} s per epoch", flush=True)
    ratios = {name: round(taken / seconds["bank"], 1) for name, taken in seconds.items() if name != "bank"}
    epochs = bank_seconds / (seconds["loop"] - seconds["bank"]) if seconds["loop"] > seconds["bank"] else None
    return {
        "bank_seconds": round(bank_seconds, 1), "epoch_seconds": {name: round(taken, 2) for name, taken in seconds.items()},
        "ratios_to_bank": ratios, "bank_pays_after_epochs": epochs and round(epochs, 1),
    }  # fmt: skip


def make_bank(profile: Profile, device: str) -> float:
    """Build the banks of train and dev if they do not exist, and return the seconds this takes."""
    encoder, trials = build_model(profile.model).frontend.to(device), load_trials(profile.data)
    started = time.perf_counter()
    for split in ("train", "dev"):
        build_bank(
            profile, encoder, trials[trials["split"] == split].reset_index(drop=True), train=split == "train", device=device
        )
    return time.perf_counter() - started


def epoch_seconds(profile: Profile, epochs: int) -> float:
    """Return the seconds of the fastest of several epochs. Each epoch is a separate call, so that the schedule is unchanged."""
    run = RunFolder.open(profile)
    taken = []
    for _ in range(epochs):
        taken += train(profile, run).history["seconds"].tolist()
        (run.folder / "checkpoints" / "last.pt").unlink()  # otherwise the next call would find a finished training
    return min(taken)


def scoring_seconds(profile: Profile, device: str) -> float:
    """Return the seconds for scoring the eval split through encoder and back end."""
    model, _ = load_model(RunFolder.open(profile).path("checkpoints", "best"))
    started = time.perf_counter()
    score_split(profile, model, "eval", device)
    return time.perf_counter() - started


def smaller_corpus(profile: Profile, clips: int, folder: Path) -> dict[str, Any]:
    """Write a table with `clips` train clips, and half as many from dev and eval; return the settings that select it."""
    trials = load_trials(profile.data)
    parts = []
    for split, rows in trials.groupby("split"):
        wanted = clips if split == "train" else max(clips // 2, 2)
        for _, of_class in rows.groupby("label"):  # both classes, in the split's proportion
            parts.append(of_class.sample(max(1, round(wanted * len(of_class) / len(rows))), random_state=1))
    table = folder / "trials.parquet"
    pd.concat(parts).to_parquet(table, index=False)
    return {"data.corpus": "table", "data.root": table}


def random_xlsr(folder: Path) -> dict[str, Any]:
    """Save an encoder of XLS-R 300M's shape; return the settings that select it."""
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**XLSR_300M)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    last = {"model.frontend.layer": "last", "model.frontend.max_layer": "null"}
    return {"model.frontend.name": folder, **last, "augmentation.views": 1}


if __name__ == "__main__":
    main()
