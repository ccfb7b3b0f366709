"""Measure loading clips for training: reading only the crop from FLAC, against decoding the whole file.

    OMP_NUM_THREADS=1 python benchmarks/loader.py
    OMP_NUM_THREADS=1 python benchmarks/loader.py --clips 1000 --rounds 9

The files are speech from the demo corpus' train split, joined and cut to lengths that are log-uniform over 2 to 20 s (median
6.3 s, mean 7.8 s; an assumption, not ASVspoof 5's distribution), as 16-bit FLAC at 16 kHz. A crop has 64 600 samples and a
random start. The forms take turns. Every file is in the page cache, so disk access is not measured. The forms, all with the
same crops:

- crop: `audio.read_crop`, as in training;
- whole: `audio.read`, then `audio.fit`, as for MP3 and other sample rates;
- soundfile: `soundfile.read`, then `audio.fit`, the common way.

They run in this process, and through the trainer's data set and loader (`TrialData`, no distortions, batches of 32, persistent
workers) with 0, 1 and 2 worker processes. CPU seconds are those of all processes, including start and end of the workers.
Prints a Markdown table and then one JSON line: clips per CPU second and per wall-clock second, medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import soundfile
from torch.utils.data import DataLoader

from aasist_lib import audio
from aasist_lib.augment import Augmenter, strength
from aasist_lib.config.augmentation import AugmentationConfig
from aasist_lib.datasets.clips import Clips
from aasist_lib.datasets.training_set import EpochSampler, TrialData

SAMPLES, SECONDS, BATCH, EPOCHS, SEED = 64_600, (2, 20), 32, 4, 1
WORKERS = (0, 1, 2)
Start = Callable[[int], int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("data/demo"), help="the demo corpus")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = make(options.corpus, Path(folder), options.clips)
        sizes = [soundfile.info(path).frames / audio.RATE for path in trials["path"]]
        require_equal(trials)
        found = {"in_process": take_turns({name: partial(alone, form, trials) for name, form in FORMS.items()}, options.rounds)}
        for workers in WORKERS:
            loads = {name: partial(loaded, form, trials, workers) for name, form in FORMS.items()}
            found[f"workers_{workers}"] = take_turns(loads, options.rounds)
    print_table(found)
    facts = {"clips": len(sizes), "mean_seconds": round(float(np.mean(sizes)), 2), "rounds": options.rounds}
    print(json.dumps(facts | {"page_cache": "warm"} | found))


def whole(path: str, samples: int, start: Start) -> np.ndarray:
    wave = audio.read(path)
    return audio.fit(wave, samples, start(len(wave)))


def by_soundfile(path: str, samples: int, start: Start) -> np.ndarray:
    wave, _ = soundfile.read(path, dtype="float32")
    return audio.fit(wave, samples, start(len(wave)))


FORMS = {"crop": audio.read_crop, "whole": whole, "soundfile": by_soundfile}


def make(corpus: Path, folder: Path, clips: int) -> pd.DataFrame:
    """Write FLAC files of joined speech, and return their trial table."""
    source = pd.read_parquet(corpus / "trials.parquet").query("split == 'train'").sample(frac=1, random_state=SEED)
    speech = joined(iter(source["path"].tolist() * 20), corpus)
    seconds = np.exp(np.random.default_rng(SEED).uniform(*np.log(SECONDS), clips))
    paths = [folder / f"{number}.flac" for number in range(clips)]
    for path, length in zip(paths, np.round(seconds * audio.RATE).astype(int), strict=True):
        audio.write_flac(path, speech(length))
    return pd.DataFrame({"path": [str(path) for path in paths], "utt_id": [path.stem for path in paths], "label": "bonafide"})


def joined(paths: Iterator[str], corpus: Path) -> Callable[[int], np.ndarray]:
    """Return a function `take(length)` that returns the next samples of the joined files."""
    held = np.zeros(0, np.float32)

    def take(length: int) -> np.ndarray:
        nonlocal held
        while len(held) < length:
            held = np.concatenate([held, audio.read(corpus / next(paths))])
        wave, held = held[:length], held[length:]
        return wave

    return take


def require_equal(trials: pd.DataFrame) -> None:
    """Check that all forms return identical crops. This also loads every file into the page cache."""
    for number, path in enumerate(trials["path"]):
        waves = [form(path, SAMPLES, crop_start(number)) for form in FORMS.values()]
        if not all(np.array_equal(waves[0], wave) for wave in waves[1:]):
            raise AssertionError(f"{path}: the forms differ")


def crop_start(number: int) -> Start:
    return partial(audio.random_start, samples=SAMPLES, rng=np.random.default_rng([SEED, number]))


def alone(form: Callable[[str, int, Start], np.ndarray], trials: pd.DataFrame) -> int:
    for number, path in enumerate(trials["path"]):
        form(path, SAMPLES, crop_start(number))
    return len(trials)


def loaded(form: Callable[[str, int, Start], np.ndarray], trials: pd.DataFrame, workers: int) -> int:
    """Load some epochs of the trainer's data set, including start and end of the workers; return the number of clips."""
    config = AugmentationConfig(distortions=())
    with patch.object(audio, "read_crop", form):
        data = TrialData(trials, Clips(trials, SAMPLES, SEED, Augmenter(config)), SEED)
        sampler = EpochSampler(trials, SEED)
        loader = DataLoader(data, BATCH, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
        count = 0
        for epoch in range(EPOCHS):
            sampler.epoch = epoch
            data.begin(epoch, strength(config, 0.0))
            count += sum(len(labels) for _, labels, _ in loader)
    return count


def take_turns(calls: dict[str, Callable[[], int]], rounds: int) -> dict[str, dict[str, float]]:
    """Return clips per CPU second and per wall-clock second for every form: medians over rounds, without the first."""
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(1 + rounds):
        for name, call in calls.items():
            used, clock = cpu_seconds(), time.perf_counter()
            count = call()
            rates[name].append((count / (cpu_seconds() - used), count / (time.perf_counter() - clock)))
    medians = {name: np.median(each[1:], axis=0) for name, each in rates.items()}
    return {name: {"per_cpu_s": round(float(cpu)), "per_s": round(float(wall))} for name, (cpu, wall) in medians.items()}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its finished child processes."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def print_table(found: dict[str, dict[str, dict[str, float]]]) -> None:
    print("| clips per CPU second (per wall-clock second) | " + " | ".join(FORMS) + " |\n|---|" + "---|" * len(FORMS))
    for place, forms in found.items():
        print(f"| {place} | " + " | ".join(f"{each['per_cpu_s']} ({each['per_s']})" for each in forms.values()) + " |")


if __name__ == "__main__":
    main()
