"""Calibration for attacks to come: one detector per family of attacks, trained without it, scores it.

Dev has the attacks of train, so dev scores look as if every attack were known, and likelihood ratios fitted to them promise too
much. Here each family of attacks is scored by a detector that has not met it, and the calibration and the threshold are fitted
to these scores: cross-fitting, with attack families as folds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from aasist_lib.config import Profile
from aasist_lib.conventions import family
from aasist_lib.corpora import TrialTableError, load_trials
from aasist_lib.metrics import calibrate_fit, eer, split_classes
from aasist_lib.models.checkpoints import BEST, add_to_checkpoint, load_model, read_facts
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring.split import score_split
from aasist_lib.training import train

FOLDER = "left_out"
"""Folder of a run with a run for each family that is left out."""


def cross_fit(profile: Profile, run: RunFolder, say: Callable[[str], None] = print) -> pd.DataFrame:
    """Train a detector without each family of attacks, and fit the calibration of `checkpoints/best`.

    Finished trainings are kept, an interrupted one resumes. The detectors have one member each.

    Returns:
        one row per family: `left_out`, `clips` of it in dev, and `eer` of the detector that has not met it.

    Raises:
        TrialTableError: train and dev have fewer than two families in common.
        CheckpointError: the profile's detector is not trained.
    """
    checkpoint = run.path("checkpoints", BEST)
    read_facts(checkpoint)
    families = shared_families(load_trials(profile.data))
    parts = []
    for number, name in enumerate(families, 1):
        say(f"detector {number} of {len(families)}: without {name}")
        parts.append(_scores_without(profile, name, run.path(FOLDER, name)))
    add_to_checkpoint(checkpoint, fit(pd.concat(parts)))
    classes = [split_classes(part["label"], part["score"]) for part in parts]
    lines = [(name, len(pair[1]), eer(*pair)[0]) for name, pair in zip(families, classes, strict=True)]
    return pd.DataFrame(lines, columns=["left_out", "clips", "eer"])


def shared_families(trials: pd.DataFrame) -> list[str]:
    """The families of attacks that are both in train and in dev.

    Raises:
        TrialTableError: there are fewer than two, so leaving one out leaves nothing to learn.
    """
    spoof = trials[trials["label"] == "spoof"]
    found = set.intersection(*(set(family(spoof.loc[spoof["split"] == split, "attack"])) for split in ("train", "dev")))
    if len(found) < 2:
        raise TrialTableError(f"cross-fitting needs two families of attacks in both train and dev; there are {sorted(found)}")
    return sorted(found)


def fit(table: pd.DataFrame) -> dict[str, Any]:
    """Facts for a checkpoint, `calibration` and `threshold`, from scores of all families: columns `left_out, label, score`."""
    genuine, spoof = split_classes(table["label"], table["score"])
    families = sorted(set(table["left_out"]))
    rate, threshold = eer(genuine, spoof)
    counts = {"bonafide": len(genuine) // len(families), "spoof": len(spoof)}
    bound = math.log(min(counts.values()))  # each bona fide clip is scored by every detector, but is one clip
    fitted = asdict(calibrate_fit(genuine, spoof))
    fitted["bound"] = min(fitted["bound"], bound)
    return {"calibration": fitted | counts | {"left_out": families, "eer": rate}, "threshold": threshold}


def _scores_without(profile: Profile, name: str, folder: Path) -> pd.DataFrame:
    """Dev's scores by a detector that has not met a family: of bona fide clips, and of that family's spoofs."""
    model = profile.model.model_copy(update={"members": 1})
    training = profile.training.model_copy(update={"leave_out": [name]})
    update = {"run_dir": folder, "name": f"{profile.name} without {name}", "model": model, "training": training}
    without = profile.model_copy(update=update)
    run = RunFolder.open(without)
    detector, _ = load_model(train(without, run).checkpoint)
    table = score_split(without, detector, "dev", run=run)
    wanted = (table["label"] == "bonafide") | (family(table["attack"]) == name)
    return table.loc[wanted, ["label", "score"]].assign(left_out=name)
