"""Compare training with and without distortions on the demo: EER over seeds, on clean clips and through codecs.

    python benchmarks/demo_augmentation.py --seeds 1 2 3

Runs notebooks 01 and 03 twice per seed (finished ones are skipped): with the profile's settings, and without distortions. Then
the eval clips with known attacks are passed through codecs and scored by every detector. Some codecs are in the training list,
some in the corpus' own channel, some in neither. Prints a Markdown table with mean ± standard deviation over the seeds and the
difference for each seed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aasist_lib.augment import build
from aasist_lib.config import load_profile, project_root
from aasist_lib.corpora import load_trials
from aasist_lib.experiments.robustness import BATCH, distort_all, waves_of
from aasist_lib.metrics import eer, split_classes
from aasist_lib.models import AASIST, log_odds
from aasist_lib.models.checkpoints import load_model
from demo_corpus.channel import CODEC_NAMES

PLAIN = ["augmentation.distortions=[]", "augmentation.speed=[1.0,1.0]", "augmentation.views=1", "augmentation.ramp_epochs=0"]
LADDER = [("mp3", 16), ("aac", 16), ("opus", 8), ("opus", 16), ("amr-nb", 12.2), ("amr-nb", 4.75), ("g726", 32), ("g726", 16)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    folders = {
        (name, seed): run(options.profile, seed, name, settings)
        for seed in options.seeds
        for name, settings in (("with", []), ("without", PLAIN))
    }
    rates = pd.concat([clean_rates(folders), codec_rates(options.profile, folders)])
    print("| clips | with distortions, EER | without | difference, each seed |\n|---|---|---|---|")
    rows = []
    for condition, part in rates.groupby("condition", sort=False):
        pair = part.pivot(index="seed", columns="training", values="eer") * 100
        each = pair["with"] - pair["without"]
        cells = [f"{pair[name].mean():.1f} ± {pair[name].std():.1f} %" for name in ("with", "without")]
        print(f"| {condition} | {cells[0]} | {cells[1]} | {', '.join(f'{value:+.1f}' for value in each)} |")
        rows.append({"condition": condition, "with": pair["with"].tolist(), "without": pair["without"].tolist()})
    print(json.dumps({"seeds": options.seeds, "rows": rows}))


def run(profile: str, seed: int, name: str, settings: list[str]) -> Path:
    """Train one detector; returns its run folder."""
    label = f"{profile}-seed{seed}" if name == "with" else f"{profile}-plain-seed{seed}"
    settings = [f"seed={seed}", f"name={label}", *settings]
    command = [sys.executable, "-m", "aasist_lib", "run", profile, "--only", "01", "03", "--set", *settings]
    subprocess.run(command, check=True, cwd=project_root())
    return project_root() / load_profile(profile, settings).folder


def clean_rates(folders: dict[tuple[str, int], Path]) -> pd.DataFrame:
    """Return the EER of undistorted dev and eval clips with known attacks, from the scores of notebook 03."""
    rows = []
    for (training, seed), folder in folders.items():
        trials = pd.read_parquet(folder / "trials" / "trials.parquet")
        known = {"-", *trials.loc[trials["split"] == "train", "attack"]}
        for split in ("dev", "eval"):
            scores = pd.read_parquet(folder / "scores" / f"aasist_{split}.parquet")
            scores = scores[scores["attack"].isin(known)]
            value = eer(*split_classes(scores["label"], scores["score"]))[0]
            rows.append({"condition": f"{split}, as it is", "training": training, "seed": seed, "eer": value})
    return pd.DataFrame(rows)


def codec_rates(profile_name: str, folders: dict[tuple[str, int], Path]) -> pd.DataFrame:
    """Return the EER of eval clips with known attacks through each codec. The detectors share one encoder pass per clip."""
    profile = load_profile(profile_name)
    trials = load_trials(profile.data)
    known = {"-", *trials.loc[trials["split"] == "train", "attack"]}
    trials = trials[(trials["split"] == "eval") & trials["attack"].isin(known)].reset_index(drop=True)
    listed = {codec for item in profile.augmentation.items for codec in getattr(item, "codecs", ())}
    waves, rows = waves_of(trials, profile.model.samples), []
    models = {key: load_model(folder / "checkpoints" / "best")[0].eval() for key, folder in folders.items()}
    for codec, kbps in LADDER:
        distorted = distort_all(waves, trials, build("codec", {"codecs": (codec,), "kbps": (kbps, kbps)}, 1.0))
        in_corpus = any(name.startswith(codec) for name in CODEC_NAMES)
        met = "in the list" if codec in listed else "in the corpus" if in_corpus else "unseen"
        for (training, seed), scores in score_all(models, distorted).items():
            value = eer(*split_classes(trials["label"], scores))[0]
            condition = f"eval, {codec} {kbps:g} kbit/s ({met})"
            rows.append({"condition": condition, "training": training, "seed": seed, "eer": value})
        print(f"{codec} {kbps:g} kbit/s done", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


@torch.inference_mode()
def score_all(models: dict[tuple[str, int], AASIST], waves: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
    """Return the scores of every detector; all have the same encoder."""
    encoder = next(iter(models.values())).frontend
    parts: dict[tuple[str, int], list[np.ndarray]] = {key: [] for key in models}
    for start in range(0, len(waves), BATCH):
        states = encoder(torch.from_numpy(waves[start : start + BATCH]))
        for key, model in models.items():
            parts[key].append(log_odds(model.backend(states)))
    return {key: np.concatenate(part) for key, part in parts.items()}


if __name__ == "__main__":
    main()
