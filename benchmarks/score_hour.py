"""Measure `python -m aasist_lib score` on an hour of audio: seconds, real-time factor, and peak memory.

    OMP_NUM_THREADS=1 python benchmarks/score_hour.py --checkpoint runs/demo/checkpoints/best --corpus data/demo

Joins eval clips to an hour of 44.1 kHz stereo FLAC and an hour of M4A in a temporary folder (needs 200 MB), scores each file
with its timeline in a separate process, and prints one JSON line. Seconds and peak resident memory are those of the whole
process, including start and imports. Real-time factor = seconds / seconds of audio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import soxr

from aasist_lib import audio
from aasist_lib.config import DataConfig
from aasist_lib.corpora import load_trials
from aasist_lib.scoring.examples import write_m4a

FLAC_RATE = 44_100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/demo/checkpoints/best"))
    parser.add_argument("--corpus", type=Path, default=Path("data/demo"), help="the demo corpus")
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    trials = load_trials(DataConfig(root=options.corpus.resolve()))
    trials = trials[trials["split"] == "eval"]
    with tempfile.TemporaryDirectory() as folder:
        flac, m4a = Path(folder) / "hour.flac", Path(folder) / "hour.m4a"
        write_flac(flac, clips(trials, options.minutes))
        write_m4a(m4a, clips(trials, options.minutes))
        found = {file.suffix[1:]: score(options.checkpoint, file) for file in (flac, m4a)}
    print(json.dumps({"minutes": options.minutes, "threads": os.environ.get("OMP_NUM_THREADS", "all"), **found}))


def clips(trials: pd.DataFrame, minutes: float) -> Iterator[np.ndarray]:
    """Yield clips, repeated as needed, with a total duration of `minutes`."""
    left = round(minutes * 60 * audio.RATE)
    for path in cycle(trials["path"]):
        wave = audio.read(path)[:left]
        left -= len(wave)
        yield wave
        if not left:
            return


def write_flac(path: Path, waves: Iterator[np.ndarray]) -> None:
    """Write the waves as 16-bit stereo FLAC at 44.1 kHz."""
    resampler = soxr.ResampleStream(audio.RATE, FLAC_RATE, 1)
    with soundfile.SoundFile(path, "w", FLAC_RATE, 2, subtype="PCM_16") as file:
        for wave in waves:
            file.write(np.repeat(resampler.resample_chunk(wave)[:, None], 2, axis=1))


def score(checkpoint: Path, file: Path) -> dict[str, float]:
    """Score a file in a separate process and return the measurements."""
    out = file.with_suffix(".csv")
    command = [sys.executable, "-m", "aasist_lib", "score", "--checkpoint", str(checkpoint), str(file)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--out", str(out), "--timeline"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{file.name}: {said.decode()}")
    row = pd.read_csv(out).iloc[0]
    return {
        "audio_seconds": round(row["seconds"], 1),
        "windows": int(row["windows"]),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "real_time_factor": round(seconds / row["seconds"], 4),
        "peak_mb": round(used.ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()
