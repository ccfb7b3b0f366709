"""Feature bank: frozen features computed once, kept on disk in fp16, memory-mapped by every epoch and every run.

A bank holds one or more *views* of each clip. View 0 of dev and eval is the clip's first `samples` samples, undistorted.
Views of train are random crops with random distortions, both drawn from (data.seed, view, utt_id): trainings with other seeds
share one bank. Where the profile has distortions rise, the later views are those of the end of the rise. The folder's name is
a hash of all that determines the content: front end and its weights, layers, crop, distortions, seed, clips.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from aasist_lib import audio
from aasist_lib.augment import Applied, Augmenter, Strength, clip_generator, strength
from aasist_lib.config import Profile
from aasist_lib.runs import atomic, to_json

CHUNK = 32
"""Clips between two points from which an interrupted bank goes on."""


class FeatureError(ValueError):
    """A bank that cannot be made or read; the message says what to do."""


class Waves(Dataset):
    """`(row, view)` -> waveform `(samples,)` of a clip: cropped, and distorted when an augmenter is given."""

    def __init__(self, trials: pd.DataFrame, samples: int, seed: int, augmenter: Augmenter | None = None) -> None:
        self.paths, self.ids = trials["path"].tolist(), trials["utt_id"].tolist()
        self.samples, self.seed, self.augmenter = samples, seed, augmenter

    def __len__(self) -> int:
        return len(self.paths)

    def wave(self, row: int, view: int, at: Strength | None = None) -> np.ndarray:
        """View `view` of clip `row`; without an augmenter always the clip's beginning."""
        return self.wave_and_record(row, view, at)[0]

    def wave_and_record(self, row: int, view: int, at: Strength | None = None) -> tuple[np.ndarray, list[Applied]]:
        """As `wave`, with what was applied; `at` is the strength of the distortions, None that of the beginning."""
        wave = audio.read(self.paths[row])
        if self.augmenter is None:
            return audio.fit(wave, self.samples), []
        rng = clip_generator(self.seed, view, self.ids[row])
        factor = self.augmenter.draw_speed(rng, at)
        wave = audio.change_speed(wave, factor)
        wave = audio.fit(wave, self.samples, audio.random_start(wave, self.samples, rng))
        wave, applied = self.augmenter(wave, rng, self.ids[row], self.paths[row], at)
        return wave, applied if factor == 1 else [Applied("Speed", {"factor": factor}, float("nan")), *applied]

    def __getitem__(self, item: tuple[int, int]) -> np.ndarray:
        row, view = item
        if self.augmenter is None:
            return self.wave(row, view)
        config = self.augmenter.config
        return self.wave(row, view, strength(config, float(view >= config.first_risen_view)))


def waves_for(profile: Profile, trials: pd.DataFrame, train: bool, seed: int) -> Waves:
    """The waveforms of these trials: distorted by the profile's list where they are for training."""
    augmenter = Augmenter(profile.augmentation, trials["path"].tolist()) if train else None
    return Waves(trials, profile.model.samples, seed, augmenter)


@dataclass(frozen=True)
class FeatureBank:
    """Finished features of a set of trials: `bank[row, view]` is `(layers, frames, features)` float16, memory-mapped."""

    folder: Path
    array: np.ndarray
    utt_ids: tuple[str, ...]

    @property
    def views(self) -> int:
        """Views of each clip."""
        return self.array.shape[1]

    def __len__(self) -> int:
        return len(self.utt_ids)

    def __getitem__(self, item: tuple[int, int]) -> np.ndarray:
        return self.array[item]


def build_bank(
    profile: Profile, encoder: nn.Module, trials: pd.DataFrame, *, train: bool, device: str | torch.device = "cpu"
) -> FeatureBank:
    """The bank of these trials, computed unless it is on disk already; resumes where a killed call stopped.

    Args:
        profile: crop, distortions and `data.seed`.
        encoder: the front end (`build_frontend`), nothing of it being trained.
        trials: rows of a trial table.
        train: True gives `augmentation.views` distorted views, False one clean view.
        device: where the encoder runs.

    Raises:
        FeatureError: the disk is too small, or the encoder is fine-tuned.
        AudioError: a clip cannot be read.
    """
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise FeatureError(
            f"{encoder.name} is fine-tuned (model.frontend.finetune): features kept on disk would be those of other weights; "
            "set training.feature_cache: false"
        )
    views = profile.augmentation.views if train else 1
    facts = _facts(profile, encoder, trials, views, train)
    key = hashlib.sha256(to_json(facts).encode()).hexdigest()[:16]
    folder = profile.data.folder / "features" / key
    with _locked(folder):
        if not (folder / "bank.json").is_file():
            waves = waves_for(profile, trials, train, profile.data.seed)
            _compute(folder, encoder.to(device), waves, views, facts, profile.training.workers, device)
    array = np.load(folder / "features.npy", mmap_mode="r")
    return FeatureBank(folder, array, tuple(trials["utt_id"]))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process computes a bank; others that want it wait. The lock goes with its process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _facts(profile: Profile, encoder: nn.Module, trials: pd.DataFrame, views: int, train: bool) -> dict:
    clips = hashlib.sha256()
    for utt_id, path in zip(trials["utt_id"], trials["path"], strict=True):
        status = Path(path).stat()
        clips.update(f"{utt_id}\0{Path(path).name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    facts = {"encoder": encoder.identity(), "samples": profile.model.samples, "views": views, "clips": clips.hexdigest()}
    if train:
        facts |= {"augmentation": profile.augmentation.model_dump(mode="json"), "seed": profile.data.seed}
    return facts


def _compute(
    folder: Path, encoder: nn.Module, waves: Waves, views: int, facts: dict, workers: int, device: str | torch.device
) -> None:
    array, done = _open_partial(folder, encoder, waves, views, device)
    todo = [(row, view) for view in range(views) for row in range(len(waves)) if not done[row, view]]
    batches = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    loader = DataLoader(waves, batch_sampler=batches, num_workers=workers, collate_fn=lambda items: np.stack(items))
    bar = tqdm(total=len(waves) * views, initial=int(done.sum()), desc="features", unit="clip", mininterval=5)
    for batch, waveform in zip(batches, loader, strict=True):
        states = encoder(torch.from_numpy(waveform).to(device))
        rows, columns = zip(*batch, strict=True)
        array[rows, columns] = states.half().cpu().numpy()
        array.flush()
        done[rows, columns] = True
        with atomic(folder / "done.npy") as file:
            np.save(file, done)
        bar.update(len(batch))
    bar.close()
    with atomic(folder / "bank.json") as file:
        file.write_text(to_json(facts))
    (folder / "done.npy").unlink(missing_ok=True)


def _open_partial(
    folder: Path, encoder: nn.Module, waves: Waves, views: int, device: str | torch.device
) -> tuple[np.ndarray, np.ndarray]:
    file = folder / "features.npy"
    if (folder / "done.npy").is_file() and file.is_file():
        return np.load(file, mmap_mode="r+"), np.load(folder / "done.npy")
    example = encoder(torch.zeros(1, waves.samples, device=device))[0]
    shape = (len(waves), views, *example.shape)
    size, free = 2 * int(np.prod(shape)), shutil.disk_usage(folder).free
    print(f"features: {len(waves)} clips x {views} views, {size / 1e9:.2f} GB in {folder}", flush=True)
    if size > free:
        raise FeatureError(
            f"{folder}: {size / 1e9:.1f} GB of features, {free / 1e9:.1f} GB free; "
            "keep fewer layers (model.frontend), fewer augmentation.views, or set training.feature_cache=false"
        )
    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
    return array, np.zeros((len(waves), views), dtype=bool)


def iterate_batches(bank: FeatureBank, batch_size: int, view: int = 0) -> Iterator[torch.Tensor]:
    """Batches `(batch, layers, frames, features)` float32 of one view, in the bank's order."""
    for start in range(0, len(bank), batch_size):
        # Torch widens fp16 several times as fast as NumPy.
        yield torch.from_numpy(np.array(bank.array[start : start + batch_size, view])).float()
