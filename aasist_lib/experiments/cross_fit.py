"""Calibration for attacks to come: one detector per family of attacks, trained without it, scores it.

Dev has the attacks of train, so likelihood ratios fitted to dev promise too much for any other attack. Here each family is
scored by a detector that has not met it (cross-fitting with attack families as folds), and the ratios of the family that is
told apart least are those to count on: an attack to come may be as unlike the known ones as that family is unlike the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aasist_lib.config import Profile
from aasist_lib.conventions import UNKNOWN, family
from aasist_lib.corpora import TrialTableError, load_trials
from aasist_lib.datasets.training_set import rows_without
from aasist_lib.metrics import ScoreWarning, calibrate_fit, eer
from aasist_lib.models.checkpoints import BEST, CheckpointError, add_to_checkpoint, load_model, read_facts
from aasist_lib.runtime.processes import agreed, launched
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring.split import score_split
from aasist_lib.training import train

Ratios = tuple[np.ndarray, np.ndarray]
"""Likelihood ratios of bona fide clips and of spoofs."""
FOLDER = "left_out"
"""Folder of a run with a run for each family that is left out."""


def cross_fit(profile: Profile, run: RunFolder, say: Callable[[str], None] = print) -> pd.DataFrame:
    """Train a detector without each family of attacks, and fit the calibration of `checkpoints/best` to their scores.

    Finished trainings are kept, an interrupted one resumes. The detectors have one member each.

    Returns:
        one row per family: `left_out`, `clips` of it in dev, `eer` by the detector that has not met it, and the `scale` that
        turns that detector's likelihood ratios, fitted to attacks it knows, into ratios that hold for this family.

    Raises:
        TrialTableError: train and dev have fewer than two families in common.
        CheckpointError: the profile's detector is not trained to the end, or scores all dev clips alike.
    """
    checkpoint, trials = run.path("checkpoints", BEST), load_trials(profile.data)
    if "typicality" not in (facts := read_facts(checkpoint)):
        raise CheckpointError(f"{checkpoint}: its training is not finished; resume it first (python -m aasist_lib train)")
    if facts["calibration"] is None:
        raise CheckpointError(f"{checkpoint}: all dev clips have the same score, so there is nothing to calibrate; train again")
    families = shared_families(trials.iloc[rows_without(trials, profile.training.leave_out)])
    ratios = {}
    for number, name in enumerate(families, 1):
        say(f"detector {number} of {len(families)}: without {name}")
        ratios[name] = _ratios_without(profile, name, run.path(FOLDER, name))
    changed, table = fit(facts, ratios)
    with agreed():
        if launched().is_main_process:
            add_to_checkpoint(checkpoint, changed)
    return table


def shared_families(trials: pd.DataFrame) -> list[str]:
    """The families of attacks that are both in train and in dev; spoofs of unknown attack belong to none.

    Raises:
        TrialTableError: there are fewer than two, so leaving one out leaves nothing to learn.
    """
    spoof = trials[trials["label"] == "spoof"]
    found = set.intersection(*(set(family(spoof.loc[spoof["split"] == split, "attack"])) for split in ("train", "dev")))
    found -= {UNKNOWN}
    if len(found) < 2:
        raise TrialTableError(f"cross-fitting needs two families of attacks in both train and dev; there are {sorted(found)}")
    return sorted(found)


def fit(facts: dict[str, Any], ratios: dict[str, Ratios]) -> tuple[dict[str, Any], pd.DataFrame]:
    """The facts of a checkpoint that change, and the table of `cross_fit`.

    The hardest family says how much a score is worth, its slope. It does not say where the scores of other attacks lie, so the
    ratio is 1 at the dev threshold, where the decision changes. If that family is ranked the wrong way the ratio is 1 for every
    score: the detector has no evidence about such attacks.

    Args:
        facts: of the checkpoint; its calibration on dev is kept as `calibration_known`.
        ratios: for each family, likelihood ratios by a detector that has not met it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScoreWarning)  # of families that are ranked the wrong way; the table shows them
        fitted = {name: calibrate_fit(*pair) for name, pair in ratios.items()}
    lines = [(name, len(ratios[name][1]), eer(*ratios[name])[0], one.scale) for name, one in fitted.items()]
    table = pd.DataFrame(lines, columns=["left_out", "clips", "eer", "scale"])
    hardest = table.loc[table["scale"].idxmin(), "left_out"]
    known, (bonafide, spoof) = facts.get("calibration_known", facts["calibration"]), ratios[hardest]
    scale = max(0.0, fitted[hardest].scale) * known["scale"]
    calibration = asdict(fitted[hardest]) | {
        "scale": scale, "offset": -scale * facts["dev_threshold"], "bonafide": len(bonafide), "spoof": len(spoof),
        "left_out": hardest, "families": len(ratios), "eer": eer(bonafide, spoof)[0],
    }  # fmt: skip
    return {"calibration": calibration, "calibration_known": known}, table


def _ratios_without(profile: Profile, name: str, folder: Path) -> Ratios:
    """Dev's likelihood ratios by a detector that has not met a family: of bona fide clips, and of that family's spoofs. The
    detector's own calibration, on attacks it knows, puts the scores of all detectors on one scale."""
    model = profile.model.model_copy(update={"members": 1})
    training = profile.training.model_copy(update={"leave_out": [*profile.training.leave_out, name]})
    update = {"run_dir": folder, "name": f"{profile.name} without {name}", "model": model, "training": training}
    without = profile.model_copy(update=update)
    run = RunFolder.open(without)
    checkpoint = train(without, run).checkpoint
    detector, facts = load_model(checkpoint)
    table = score_split(without, detector, "dev", run=run)
    ratio = table["score"] * facts["calibration"]["scale"] + facts["calibration"]["offset"]
    return ratio[table["label"] == "bonafide"].to_numpy(), ratio[family(table["attack"]) == name].to_numpy()
