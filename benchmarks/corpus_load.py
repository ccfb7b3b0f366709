"""Measure time and memory for loading and checking a corpus of the size of the ASVspoof 5 eval set (680 774 trials).

    python benchmarks/corpus_load.py

Creates a corpus of empty files, one per trial, in a temporary folder (a minute, almost no disk space), loads it in a new
process and prints one JSON line. Seconds are those of `load_trials` alone; the peak is the resident memory of the process,
including imports.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRIALS = {"train": 1_000, "dev": 1_000, "eval": 680_774}
PROTOCOLS = {"train": "train.tsv", "dev": "dev.track_1.tsv", "eval": "eval.track_1.tsv"}
FOLDERS = {"train": "flac_T", "dev": "flac_D", "eval": "flac_E_eval"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(measure(options.load)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        subprocess.run([sys.executable, __file__, "--load", folder], check=True)


def measure(root: Path) -> dict[str, float]:
    """Load the corpus in this process."""
    from aasist_lib.config import DataConfig
    from aasist_lib.corpora import load_trials

    before, wall, used = _peak_mb(), time.perf_counter(), time.process_time()
    trials = load_trials(DataConfig(corpus="asvspoof5", root=root))
    wall, used = time.perf_counter() - wall, time.process_time() - used
    rows = int((trials["split"] == "eval").sum())
    return {
        "eval_trials": rows,
        "seconds": round(wall, 2),
        "cpu_seconds": round(used, 2),
        "peak_mb": round(_peak_mb()),
        "peak_mb_before": round(before),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make(root: Path) -> None:
    """Create the folders of ASVspoof 5 with empty files; one trial in five is bona fide."""
    for split, count in TRIALS.items():
        folder, letter = root / FOLDERS[split], split[0].upper()
        folder.mkdir()
        lines = []
        for number in range(count):
            utterance = f"{letter}_{number:010d}"
            (folder / f"{utterance}.flac").touch()
            key = "bonafide bonafide" if number % 5 == 0 else f"A{17 + number % 16} spoof"
            codec = f"C{number % 12:02d} 2 {letter}_{number:010d}" if number % 12 else "- - -"
            lines.append(f"{letter}_{number % 737:04d} {utterance} F {codec} AC1 {key} -\n")
        (root / f"ASVspoof5.{PROTOCOLS[split]}").write_text("".join(lines))


if __name__ == "__main__":
    main()
