"""Score a corpus's trials with a trained detector. A score is log-odds; higher means bona fide."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from aasist_lib.config import Profile, project_root
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.check import usable
from aasist_lib.datasets.feature_bank import FeatureBank
from aasist_lib.datasets.source import Source, content, open_source
from aasist_lib.errors import AasistError
from aasist_lib.models import AASIST, log_odds
from aasist_lib.runtime.files import atomic
from aasist_lib.runtime.kept import BY_CONTENT, Key, digest, make_key, trials_digest
from aasist_lib.runtime.processes import agreed, launched, launched_alone
from aasist_lib.runtime.run_folder import RunFolder

BLOCK = 2048
"""Trials per block: a block is scored by one process, and interrupted scoring resumes after the last finished block."""
BATCH = 32
"""Clips scored at once."""


class ScoringError(AasistError, ValueError):
    """Nothing could be scored; the message says why."""


def score_split(
    profile: Profile, model: AASIST, split: str, device: str | torch.device = "cpu", run: RunFolder | None = None
) -> pd.DataFrame:
    """Return a split's score table: `score` and the trial columns. Features come from the feature bank if the profile uses one.

    Launched processes share the trials in blocks, and each returns the complete table. Finished blocks are stored in the run
    folder's `scores/` until all are done, so a call after an interruption resumes.

    Unreadable clips are an error before the first clip is scored. With `training.bad_audio: skip` the table lacks them, and
    `evaluate` rejects the table if the key contains them.

    Args:
        profile: corpus, crop and number of worker processes.
        model: a trained detector.
        split: 'train', 'dev' or 'eval'.
        run: store the table in this run folder as `scores/aasist_<split>.parquet`.

    Raises:
        ScoringError: the detector's `model` section differs from the profile's, the corpus has no such split, or
            another process is scoring it.
        TrialTableError, FeatureError, BadAudio: there is an error in the data.
    """
    own, asked = model.config.model_dump(), profile.model.model_dump()
    if other := [f"model.{key}" for key in own if own[key] != asked[key]]:
        raise ScoringError(
            f"the detector differs in {', '.join(other)} from profile '{profile.name}'; use the profile it was trained with"
        )
    trials = load_trials(profile.data)
    if split not in set(trials["split"]):
        raise ScoringError(f"data.root = {profile.data.root}: the corpus has no split '{split}'")
    trials = usable(profile, trials, (split,))
    model = model.eval().to(device)
    source = open_source(profile, model.frontend, trials, False, profile.seed, device)
    key = _key(profile, model, trials, source)

    def compute() -> pd.DataFrame:
        return score_table(trials, _in_blocks(profile, model, source, split, digest(key), device))

    return compute() if run is None else run.kept_under(f"scores/aasist_{split}.parquet", key, compute)


def _in_blocks(
    profile: Profile, model: AASIST, source: Source, split: str, name: str, device: str | torch.device
) -> np.ndarray:
    """Compute the scores `(trials,)` of a source, shared among processes in blocks that are stored until all are done."""
    folder = project_root() / profile.folder / "scores" / f"unfinished-{split}-{name}"
    busy = ScoringError(f"another process is scoring split '{split}' with this detector, in {folder}; wait for it to finish")
    with launched_alone(folder.with_name(f".{folder.name}.lock"), busy):
        world, starts = launched(), range(0, len(source), BLOCK)
        blocks = [folder / f"{start:09d}.npy" for start in starts]
        todo = [start for start, file in zip(starts, blocks, strict=True) if not file.is_file()]
        world.wait_for_everyone()  # all processes list the blocks before any finishes one
        mine, hidden = todo[world.process_index :: world.num_processes], not world.is_main_process or len(todo) == 1
        with agreed():
            for start in tqdm(mine, desc=f"scoring {split}", unit="block", mininterval=5, disable=hidden or None):
                stop = min(start + BLOCK, len(source))
                with atomic(folder / f"{start:09d}.npy") as file:
                    np.save(file, _scores(model, source, start, stop, profile.training.workers, device))
        scores = np.concatenate([np.load(file, allow_pickle=False) for file in blocks])
        world.wait_for_everyone()
        if world.is_main_process:
            for old in folder.parent.glob(f"unfinished-{split}-*"):  # including those of other detectors or other code
                shutil.rmtree(old)
    return scores


def _key(profile: Profile, model: AASIST, trials: pd.DataFrame, source: Source) -> Key:
    """Return the cache key of the scores."""
    kind, found = content(source, trials)
    data = {"the trials": trials_digest(trials, trials.columns.drop("path")), f"the {kind}": found}
    undistorted = (*BY_CONTENT, "aasist_lib.augment", "aasist_lib.config.augmentation", "aasist_lib.losses")
    settings = {"detector": model.content_digest(), "root": str(profile.data.source)}  # paths are in the table
    entries = ("aasist_lib.scoring.split", "aasist_lib.models.aasist", type(model.frontend).__module__)
    return make_key(entries, settings, data, undistorted)


@torch.inference_mode()
def _scores(model: AASIST, source: Source, start: int, stop: int, workers: int, device: str | torch.device) -> np.ndarray:
    """Compute the scores `(stop - start,)` float64 of these rows."""
    if isinstance(source, FeatureBank):
        batches: Iterator[Tensor] = source.batches(BATCH, 0, start, stop)
        return np.concatenate([log_odds(model.backend(states.to(device))) for states in batches])
    rows = [[(row, 0) for row in range(first, min(first + BATCH, stop))] for first in range(start, stop, BATCH)]
    loader = DataLoader(source, batch_sampler=rows, num_workers=workers)
    return np.concatenate([log_odds(model(waveform.to(device))) for waveform in loader])


def score_table(trials: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """Combine `utt_id`, `score` and the other trial columns; `scores (trials,)` are in row order."""
    return pd.concat([trials[["utt_id"]], pd.Series(scores, name="score"), trials.drop(columns="utt_id")], axis=1)
