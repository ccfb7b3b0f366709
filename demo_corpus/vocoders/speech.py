"""Write the speech that the vocoders are trained on: bona fide recordings of the train speakers, one folder per speaker.

    python -m demo_corpus.vocoders.speech FOLDER [--minutes 8]

The speakers are those of the demo corpus with `full: true`, in the train split. Speakers who are recorded one letter at a time
are left out. At most `--minutes` per speaker, drawn with a fixed seed, mono FLAC at 16 kHz.
"""

from __future__ import annotations

import argparse
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile

from aasist_lib.audio import RATE
from aasist_lib.config import project_root
from demo_corpus.seeds import generator
from demo_corpus.sources import collect, load

SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=8.0, help="largest amount of speech per speaker")
    options = parser.parse_args()
    recordings = collect("debian", True, project_root() / "data" / "downloads", SEED)
    train = [recording for recording in recordings if recording.split == "train" and "klettres" not in recording.speaker]
    for speaker, group in groupby(train, key=lambda recording: recording.speaker):
        paths = [recording.path for recording in group]
        order = generator(SEED, "vocoder speech", speaker).permutation(len(paths))
        seconds = write_speaker(options.folder / speaker, [paths[index] for index in order], 60 * options.minutes)
        print(f"{speaker}: {seconds / 60:.1f} minutes")


def write_speaker(folder: Path, paths: list[Path], most: float) -> float:
    """Write recordings of at least one second until there are `most` seconds; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    total = 0.0
    for number, path in enumerate(paths):
        if total >= most:
            break
        wave = load(path)
        if len(wave) >= RATE and np.abs(wave).max() > 0:
            soundfile.write(folder / f"{number:04d}.flac", wave, RATE, "PCM_16")
            total += len(wave) / RATE
    return total


if __name__ == "__main__":
    main()
