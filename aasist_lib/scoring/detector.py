"""A trained detector with its dev threshold, its calibration, and a warning about their limits."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from torch import Tensor

from aasist_lib.config import Profile, load_profile, project_root
from aasist_lib.conventions import UNKNOWN
from aasist_lib.metrics import Calibration
from aasist_lib.models import AASIST, log_odds
from aasist_lib.models.checkpoints import BEST, FILE, load_model, load_typicality, read_facts
from aasist_lib.models.typicality import Typicality, summary
from aasist_lib.runtime.kept import make_key
from aasist_lib.scoring.split import ScoringError

SHIPPED = Path("detectors") / "demo"
"""Folder of the detector that comes with the project, below its root."""


def find_detector(run_folder: Path, encoder: str | None = None) -> Path:
    """The folder of a run's best checkpoint, or, if the run has none, of the detector that comes with the project (with a
    line on stderr).

    Args:
        run_folder: a run's folder; it need not exist.
        encoder: name of the encoder the caller works with; the project's detector is only taken if it has the same.
    """
    own, shipped = run_folder / "checkpoints" / BEST, project_root() / SHIPPED
    if (own / FILE).is_file() or not (shipped / FILE).is_file():
        return own
    if encoder and read_facts(shipped)["encoder"]["name"] != encoder:
        return own
    print(f"no detector in {run_folder}: using {shipped}, which comes with the project", file=sys.stderr)
    return shipped


def find_scores(run_folder: Path, profile: Profile) -> tuple[Path, set[str]]:
    """The folder with a run's score tables of dev and eval, and the attacks of its train split; if the run has no detector and
    its profile has the data of profile 'study', those of the detector that comes with the project.

    Raises:
        ScoringError: the run has no scores.
    """
    own = run_folder / "scores"
    if (own / "aasist_eval.parquet").is_file():
        trials = pd.read_parquet(run_folder / "trials" / "trials.parquet")
        return own, set(trials.loc[trials["split"] == "train", "attack"]) - {UNKNOWN}
    shipped = find_detector(run_folder, profile.model.frontend.name)
    if not (shipped / "scores").is_dir() or profile.data != load_profile("study").data:
        raise ScoringError(f"{own}: no scores of dev and eval; run notebook 03 first")
    return shipped / "scores", set(read_facts(shipped)["trained_on"]["attacks"])


@dataclass(frozen=True)
class Detector:
    """A trained model with its dev threshold and calibration. A score at or below `threshold` means spoof.

    `calibration` is None with `scores_only`, `typicality` if the training has not come to its end. With `always`, every
    recording is decided, also one without speech or unlike anything trained on.
    """

    model: AASIST
    threshold: float
    calibration: Calibration | None
    facts: dict[str, Any]
    typicality: Typicality | None = None
    always: bool = False

    @classmethod
    def load(
        cls, checkpoint: Path, device: str | torch.device = "cpu", scores_only: bool = False, always: bool = False
    ) -> Detector:
        """Load the detector of a checkpoint.

        Args:
            checkpoint: a run's folder `…/checkpoints/best`.
            device: device of the model.
            scores_only: load without calibration.
            always: decide every recording.

        Raises:
            CheckpointError: there is no checkpoint, or it cannot be loaded.
            ScoringError: the checkpoint has no calibration.
        """
        model, facts = load_model(checkpoint)
        stored = None if scores_only else facts.get("calibration")
        if stored is None and not scores_only:
            reason = "its dev scores were all equal" if "calibration" in facts else "it was trained by an earlier version"
            raise ScoringError(
                f"{checkpoint}: no calibration, because {reason}: delete the folder {Path(checkpoint).parent} and retrain, "
                "or request scores only (--scores-only)"
            )
        typicality = load_typicality(checkpoint)
        return cls(
            model.to(device), facts["dev_threshold"], stored and _calibration(stored), facts,
            typicality and typicality.to(device), always,
        )  # fmt: skip

    @torch.inference_mode()
    def judge(self, waves: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores and distances `(batch,)` of waveforms `(batch, samples)`; a distance above 1 is unlike anything trained on.
        Without typicality the distances are NaN."""
        states = self.model.frontend(waves)
        scores = log_odds(self.model.backend(states))
        if self.typicality is None:
            return scores, np.full(len(scores), np.nan)
        return scores, self.typicality(summary(states)).cpu().double().numpy()

    def decide(self, score: float) -> str:
        """Return 'bonafide' or 'spoof', at the dev EER threshold."""
        return "bonafide" if score > self.threshold else "spoof"

    def caution(self) -> str:
        """Return a warning for the user about the detector's training data and the limits of its scores."""
        on, encoder = self.facts.get("trained_on"), self.facts["encoder"]["name"]
        trained = f"clips that the checkpoint does not name, with the encoder {encoder}"
        if on:
            speakers = f" of {on['speakers']} speaker{'s' if on['speakers'] > 1 else ''}" if on["speakers"] else ""
            clips = f"{on['bonafide']} bona fide clips{speakers} and {on['spoof']} spoofed ones"
            trained = f"“{on['title']}”: {clips}, corpus {on['corpus']}, encoder {encoder}"
        sentences = [
            f"This detector was trained on {trained}.",
            f"On the dev clips used to select it, an optimistic estimate, its equal error rate is {self.facts['dev_eer']:.1%}.",
            self._unlike(),
            "It errs far more often on voices, languages, microphones, codecs and attacks that differ from its training data, "
            "and its scores do not show this.",
            "A score is a lead for further investigation, not evidence on its own.",
        ]
        if self.calibration:
            fitted, bound = self.facts["calibration"], self.calibration.bound
            clips = f"{fitted['bonafide']} bona fide and {fitted['spoof']} spoofed dev clips"
            if "left_out" in fitted:
                name = f" of family {fitted['left_out']}, the hardest of {fitted['families']}"
                clips += f"{name}, scored by a detector trained without it,"
            sentences.insert(
                2, f"Its likelihood ratios were fitted on {clips} and are capped at ±{bound:.1f}, the most they support."
            )
            if self.calibration.separable:
                sentences.insert(3, "ON DEV IT MADE NO ERROR: its error rate is unknown, except that it is low on such clips.")
        if edited := _edited(self.facts):
            sentences.insert(
                1, f"{' and '.join(edited)} changed since training: its scores may differ from those it was selected by."
            )
        slope = self.calibration.scale if self.calibration else 1.0
        if self.facts.get("calibration_known", {"scale": slope})["scale"] <= 0:
            sentences.insert(2, "ON DEV A HIGHER SCORE MEANT SPOOF: this detector has not learned its task.")
        elif slope == 0:
            sentences.insert(2, "ITS LIKELIHOOD RATIOS ARE ALL 1: without the hardest family in training, it is not found.")
        return " ".join(sentences)

    def _unlike(self) -> str:
        """What it does with clips unlike its training data."""
        if self.always:
            return "It decides every recording (--always), also one without speech or unlike anything it was trained on."
        if self.typicality is None:
            return (
                "IT HAS NO TYPICALITY (training unfinished, or by an earlier version): it decides also what is unlike anything "
                "it was trained on, such as music."
            )
        return "What is unlike anything it was trained on, such as most music or noise, it leaves undecided."


def _edited(facts: dict[str, Any]) -> list[str]:
    """List the model's modules whose code has changed since the detector was trained."""
    then, now = facts.get("key", {}).get("code", {}), make_key(["aasist_lib.models.aasist"], {})["code"]
    return [file for file in now if file in then and now[file] != then[file]]


def _calibration(stored: dict[str, Any]) -> Calibration:
    """Read the calibration from a checkpoint's facts; earlier versions stored no bound."""
    bound = stored.get("bound", math.log(min(stored["bonafide"], stored["spoof"])))
    return Calibration(stored["scale"], stored["offset"], bound, stored.get("separable", False))


def posterior(llr: ArrayLike, p_spoof: float) -> NDArray[np.float64]:
    """Return the probability of bona fide (Bayes' rule): log-odds = natural-log likelihood ratio + the prior's log-odds.

    Args:
        llr: natural-log likelihood ratios of bona fide against spoof, any shape.
        p_spoof: prior probability of a spoof, within (0, 1).

    Raises:
        ScoringError: `p_spoof` is not within (0, 1).
    """
    if not 0 < p_spoof < 1:
        raise ScoringError(f"prior of spoof = {p_spoof}: must be between 0 and 1, both excluded")
    return expit(np.asarray(llr, dtype=np.float64) - logit(p_spoof))
