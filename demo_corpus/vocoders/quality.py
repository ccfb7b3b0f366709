"""Measure the vocoders on speakers they were not trained on, and write a page to hear them.

    python -m demo_corpus.vocoders.quality [--clips 40] [--listen vocoders.html]

Recordings are those of the corpus' dev speakers, prepared as for an attack. Prints a Markdown table: mean absolute difference
of natural-log mel magnitudes (80 bands, 64 ms), median F0 error in semitones where both are voiced (without copies that have no
voiced frame), share of frames voiced in only one of the two, and the time per second of speech on one thread.
"""

from __future__ import annotations

import argparse
import base64
import io
import time
from pathlib import Path

import numpy as np
import pyworld
import soundfile
import torch

from aasist_lib.audio import RATE
from aasist_lib.config import project_root
from demo_corpus.attacks import ATTACKS, Source
from demo_corpus.builder import reference
from demo_corpus.seeds import generator
from demo_corpus.sources import MIN_SECONDS, collect, load, seconds
from demo_corpus.vocoders.networks import LogMel

NAMES = ("neural-istft", "neural-upsampling", "neural-codec", "world-copy", "griffin-lim-mel")
"""The three vocoders, and two attacks to compare them with."""
SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--listen", type=Path, help="write an HTML page with players for the first eight recordings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    waves = recordings(options.clips)
    copies: dict[str, list[np.ndarray]] = {}
    print(f"| {len(waves)} recordings of dev speakers | log-mel distance | F0 error | voicing differs | s per s of speech |")
    print("|---|---|---|---|---|")
    for name in NAMES:
        began = time.process_time()
        copies[name] = [
            ATTACKS[name](Source(wave, "en", ""), generator(SEED, name, number)) for number, wave in enumerate(waves)
        ]
        cost = (time.process_time() - began) / (sum(map(len, waves)) / RATE)
        mel, pitch, voicing = np.nanmean([compare(wave, copy) for wave, copy in zip(waves, copies[name], strict=True)], axis=0)
        print(f"| `{name}` | {mel:.2f} | {pitch:.2f} semitones | {voicing:.0%} | {cost:.3f} |")
    if options.listen:
        options.listen.write_text(page(waves[:8], {name: made[:8] for name, made in copies.items()}), encoding="utf-8")


def recordings(clips: int) -> list[np.ndarray]:
    """Return recordings of dev speakers, prepared as for an attack, `(samples,)` each."""
    found = [one for one in collect("debian", False, project_root() / "data" / "downloads", SEED) if one.split == "dev"]
    found = [one for one in found if seconds(one.path) > 1.5 * MIN_SECONDS]
    order = generator(SEED, "vocoder quality").permutation(len(found))
    return [reference(load(found[index].path)) for index in order[:clips]]


def compare(wave: np.ndarray, copy: np.ndarray) -> tuple[float, float, float]:
    """Return the log-mel distance, the F0 error in semitones and the share of frames voiced in only one."""
    mel = LogMel(1024, 256)
    spoken, made = (mel(torch.from_numpy(one).float()[None]) for one in (wave, copy))
    f0, other = pitch_of(wave), pitch_of(copy)
    both = (f0 > 0) & (other > 0)
    semitones = float(np.median(np.abs(12 * np.log2(f0[both] / other[both])))) if both.any() else np.nan
    return float((spoken - made).abs().mean()), semitones, float(np.mean((f0 > 0) != (other > 0)))


def pitch_of(wave: np.ndarray) -> np.ndarray:
    """Return F0 every 5 ms by WORLD's Harvest, 0 where unvoiced."""
    return pyworld.harvest(np.ascontiguousarray(wave, dtype=np.float64), RATE)[0]


def page(waves: list[np.ndarray], copies: dict[str, list[np.ndarray]]) -> str:
    """Return an HTML page with a player per recording and vocoder; the sound is inside the page."""
    rows = []
    for number, wave in enumerate(waves):
        players = [player(wave), *(player(made[number]) for made in copies.values())]
        rows.append(f"<tr><th>{number + 1}</th>{''.join(f'<td>{one}</td>' for one in players)}</tr>")
    heads = "".join(f"<th>{name}</th>" for name in ("", "recording", *copies))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Neural vocoders of the demo corpus</title>'
        "<style>body{font:16px sans-serif;margin:1em}audio{width:14em}td,th{padding:.3em}</style>"
        f"<h1>Neural vocoders of the demo corpus</h1><table><tr>{heads}</tr>{''.join(rows)}</table></html>"
    )


def player(wave: np.ndarray) -> str:
    """Return an `<audio>` element that contains the sound as FLAC."""
    memory = io.BytesIO()
    soundfile.write(memory, np.clip(wave, -1, 1), RATE, format="FLAC")
    return f'<audio controls src="data:audio/flac;base64,{base64.b64encode(memory.getvalue()).decode()}"></audio>'


if __name__ == "__main__":
    main()
