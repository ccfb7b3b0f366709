"""Which layer of a frozen encoder separates bona fide from spoof? Logistic regression on each layer, from one pass.

Layers differ more than back ends do. `known` is the EER on dev with the attacks of train. `left out` is the mean over attack
families of the EER on dev's clips of a family whose clips were not in train: the question that matters for attacks to come. The
layer is chosen by `left out`. Only train and dev are read.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from aasist_lib.config import Profile
from aasist_lib.conventions import family
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.check import usable
from aasist_lib.datasets.clips import Clips
from aasist_lib.experiments.probe import C, pooled_on_the_fly
from aasist_lib.metrics import eer
from aasist_lib.models.base import Frontend
from aasist_lib.models.frontend import build_frontend
from aasist_lib.runtime.kept import BY_CONTENT, clips_digest, make_key, trials_digest
from aasist_lib.runtime.run_folder import RunFolder

KNOWN, LEFT_OUT = "known attacks", "left-out families"
REPLICATES = 200
"""Of the bootstrap over clips."""


def layer_eers(profile: Profile, device: str = "cpu", run: RunFolder | None = None, clips: int = 800) -> pd.DataFrame:
    """Measure every layer of the profile's encoder on undistorted clips.

    Args:
        profile: names the encoder and the corpus. All its layers are computed, whatever the profile takes.
        device: where the encoder runs.
        run: cache the table there as `metrics/layers.parquet`.
        clips: at most this many clips of train and of dev are drawn, half of them bona fide where there are enough.

    Returns:
        one row per layer and measure: `layer, measure` (`KNOWN` or `LEFT_OUT`), `eer, low, high` (fractions; the interval is
        over clips and has the profile's level), `clips` (of dev). Without two attack families in train, `LEFT_OUT` is missing.
    """
    whole = {"layer": "weighted", "max_layer": None, "finetune": 0, "compile": False}
    encoder = build_frontend(profile.model.frontend.model_copy(update=whole))
    listed = usable(profile, load_trials(profile.data), ("train", "dev"))
    trials = {split: _drawn(listed[listed["split"] == split], clips, profile.seed) for split in ("train", "dev")}
    settings = {
        "encoder": encoder.identity(), "samples": profile.model.samples, "seed": profile.seed, "clips": clips,
        "confidence": profile.evaluation.confidence,
    }  # fmt: skip
    both = pd.concat(trials.values())
    data = {"the trials": trials_digest(both, both.columns.drop("path")), "the clips": clips_digest(both)}
    entries = ["aasist_lib.experiments.layers", type(encoder).__module__]
    key = make_key(entries, settings, data, leave_out=(*BY_CONTENT, "aasist_lib.models.aasist", "aasist_lib.augment"))
    compute = partial(_measure, profile, encoder, trials, device)
    return compute() if run is None else run.kept_under("metrics/layers.parquet", key, compute)


def best_layer(table: pd.DataFrame) -> int:
    """Return the layer with the lowest EER on left-out families, or on known attacks if there are no families to leave out."""
    measure = LEFT_OUT if (table["measure"] == LEFT_OUT).any() else KNOWN
    of_measure = table[table["measure"] == measure]
    return int(of_measure.loc[of_measure["eer"].idxmin(), "layer"])


def _measure(profile: Profile, encoder: Frontend, trials: dict[str, pd.DataFrame], device: str) -> pd.DataFrame:
    features = {}
    for split, rows in trials.items():
        waves = Clips(rows, profile.model.samples, profile.seed)
        flat = pooled_on_the_fly(profile, encoder, waves, 0, device)
        features[split] = flat.reshape(len(rows), len(encoder.layers), -1)
    lines = []
    for number, layer in enumerate(encoder.layers):
        train, dev = features["train"][:, number], features["dev"][:, number]
        for measure, scores in _scores(train, dev, trials).items():
            value, low, high = _mean_eer(scores, profile)
            lines.append((layer, measure, value, low, high, len(dev)))
    return pd.DataFrame(lines, columns=["layer", "measure", "eer", "low", "high", "clips"])


def _scores(
    train: np.ndarray, dev: np.ndarray, trials: dict[str, pd.DataFrame]
) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """For each measure, the scores (bona fide, spoof) of dev by one fit, or by one fit for each family left out."""
    bonafide = {split: (rows["label"] == "bonafide").to_numpy() for split, rows in trials.items()}
    groups = {split: family(rows["attack"]).to_numpy() for split, rows in trials.items()}
    scores = _fit(train, bonafide["train"]).decision_function(dev)
    found = {KNOWN: [(scores[bonafide["dev"]], scores[~bonafide["dev"]])]}
    families = sorted(set(groups["train"][~bonafide["train"]]) & set(groups["dev"][~bonafide["dev"]]))
    if len(families) > 1:
        found[LEFT_OUT] = []
        for name in families:
            rest = bonafide["train"] | (groups["train"] != name)
            scores = _fit(train[rest], bonafide["train"][rest]).decision_function(dev)
            found[LEFT_OUT].append((scores[bonafide["dev"]], scores[~bonafide["dev"] & (groups["dev"] == name)]))
    return found


def _fit(features: np.ndarray, bonafide: np.ndarray) -> Pipeline:
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=2000))
    return probe.fit(features, bonafide)


def _mean_eer(scores: list[tuple[np.ndarray, np.ndarray]], profile: Profile) -> tuple[float, float, float]:
    """The mean EER of several score sets of the same bona fide clips, and its bootstrap interval over clips."""
    rng, size = np.random.default_rng(profile.seed), len(scores[0][0])
    drawn = []
    for _ in range(REPLICATES):
        chosen = rng.integers(size, size=size)
        drawn.append(np.mean([eer(real[chosen], rng.choice(fake, len(fake)))[0] for real, fake in scores]))
    tail = (1 - profile.evaluation.confidence) / 2
    return float(np.mean([eer(*pair)[0] for pair in scores])), *np.quantile(drawn, [tail, 1 - tail])


def _drawn(trials: pd.DataFrame, clips: int, seed: int) -> pd.DataFrame:
    """Half bona fide, the spoofs evenly over attacks; of a class with fewer clips, all."""
    spoofs = trials[trials["label"] == "spoof"]
    each = -(-(clips // 2) // max(spoofs["attack"].nunique(), 1))
    parts = [rows.sample(min(each, len(rows)), random_state=seed) for _, rows in spoofs.groupby("attack")]
    real = trials[trials["label"] == "bonafide"]
    return pd.concat([real.sample(min(clips // 2, len(real)), random_state=seed), *parts]).reset_index(drop=True)
