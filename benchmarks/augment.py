"""Measure the speed of the distortions on four-second clips and one core, and compare MP3 with the ffmpeg program.

    OMP_NUM_THREADS=1 python benchmarks/augment.py
    OMP_NUM_THREADS=1 python benchmarks/augment.py --only mp3 --against-ffmpeg
    OMP_NUM_THREADS=1 python benchmarks/augment.py --only none --profile configs/demo.yaml

Prints a Markdown table of CPU time (all threads) per clip and clips per second on one core. Values that are computed once and
cached, such as codec delays and simulated rooms, are computed before the measurement. `--against-ffmpeg` compares the MP3 round
trip with PyAV's encoder, and with writing a WAV and calling the ffmpeg program (Debian: apt-get install ffmpeg) to encode and
decode it. `--profile` measures the whole pipeline of a profile, at the beginning and at the end of its schedule. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.signal import lfilter

from aasist_lib.audio import RATE, write_flac
from aasist_lib.augment import Augmenter, clip_generator, strength
from aasist_lib.augment.codecs import CodecInfo, by_ffmpeg, round_trip
from aasist_lib.augment.registry import build
from aasist_lib.config import load_profile

SECONDS, CLIPS, ROUNDS, MP3_KBPS = 4, 12, 3, 64

# name in the table -> (kind as in a profile, arguments)
TRANSFORMS: dict[str, tuple[str, dict[str, object]]] = {
    "mp3, 64 kbit/s": ("codec", {"codecs": ("mp3",), "kbps": (64, 64)}),
    "mp3, 16 kbit/s": ("codec", {"codecs": ("mp3",), "kbps": (16, 16)}),
    "aac, 32 kbit/s": ("codec", {"codecs": ("aac",), "kbps": (32, 32)}),
    "opus, 16 kbit/s": ("codec", {"codecs": ("opus",), "kbps": (16, 16)}),
    "opus, 32 kbit/s": ("codec", {"codecs": ("opus",), "kbps": (32, 32)}),
    "vorbis, 32 kbit/s": ("codec", {"codecs": ("vorbis",), "kbps": (32, 32)}),
    "amr-nb": ("codec", {"codecs": ("amr-nb",), "kbps": (12.2, 4.75)}),
    "g722": ("codec", {"codecs": ("g722",)}),
    "g726": ("codec", {"codecs": ("g726",), "kbps": (40, 16)}),
    "a-law": ("codec", {"codecs": ("a-law",)}),
    "codec (mp3, aac, opus)": ("codec", {}),
    "codec_chain (mp3, aac, opus)": ("codec_chain", {}),
    "telephone": ("telephone", {}),
    "packet_loss": ("packet_loss", {"loss": (0.1, 0.1)}),
    "noise": ("noise", {}),
    "babble": ("babble", {}),
    "reverberation": ("reverberation", {}),
    **{f"rawboost {number}": ("rawboost", {"algorithm": number}) for number in range(1, 9)},
    "gain": ("gain", {"gain_db": (0, 6)}),
    "polarity": ("polarity", {}),
    "low_pass": ("low_pass", {"cutoff_hz": (7500, 3500)}),
    "equaliser": ("equaliser", {}),
    "resampling": ("resampling", {}),
    "pitch": ("pitch", {"semitones": (0, 2)}),
    "stretch": ("stretch", {}),
    "clipping": ("clipping", {"percent": (0, 10)}),
    "trim_silence": ("trim_silence", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", help="measure only distortions whose name contains TEXT")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="also measure the whole pipeline of this profile")
    parser.add_argument("--against-ffmpeg", action="store_true", help="compare MP3 with the ffmpeg program")
    parser.add_argument("--ffmpeg", default="ffmpeg", metavar="PATH", help="path of ffmpeg, if it is not on the PATH")
    options = parser.parse_args()
    program = shutil.which(options.ffmpeg)
    if options.against_ffmpeg and program is None:
        sys.exit(f"--against-ffmpeg: no program {options.ffmpeg!r}; run apt-get install ffmpeg, or pass --ffmpeg PATH")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        waves = [voice(number) for number in range(CLIPS)]
        paths = [str(folder / f"{number}.flac") for number in range(CLIPS)]
        for path, wave in zip(paths, waves, strict=True):
            write_flac(Path(path), wave)
        found: dict[str, object] = {"clips_per_s": distortions(waves, paths, options.only)}
        if options.profile:
            found["pipeline_clips_per_s"] = pipeline(waves, paths, options.profile)
        if options.against_ffmpeg:
            found |= against_ffmpeg(waves, program, folder)
    print(json.dumps(found))


def voice(seed: int) -> np.ndarray:
    """Synthesise a voice-like clip, `(samples,)`: pulses with varying pitch and noise, three resonators, syllables."""
    rng = np.random.default_rng(seed)
    clock = np.arange(SECONDS * RATE) / RATE
    pitch = rng.uniform(90, 220) * (1 + 0.2 * np.sin(2 * np.pi * 1.3 * clock))
    wave = np.diff(np.floor(np.cumsum(pitch / RATE)), prepend=0) + 0.05 * rng.standard_normal(len(clock))
    for hertz in rng.uniform((400, 1100, 2300), (700, 1800, 2900)):
        wave = lfilter([1], [1, -1.96 * np.cos(2 * np.pi * hertz / RATE), 0.96], wave)
    wave *= 0.01 + np.sin(2 * np.pi * 2 * clock) ** 2
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def seconds_each(call: Callable[[Any], object], clips: Sequence[Any]) -> tuple[float, float]:
    """Return CPU seconds (including child processes) and wall-clock seconds per clip: medians over rounds after the first."""
    rounds = []
    for _ in range(1 + ROUNDS):
        random.seed(1)
        start, clock = cpu_seconds(), time.perf_counter()
        for clip in clips:
            call(clip)
        rounds.append(((cpu_seconds() - start) / len(clips), (time.perf_counter() - clock) / len(clips)))
    cpu, wall = np.median(rounds[1:], axis=0)
    return float(cpu), float(wall)


def cpu_seconds() -> float:
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def distortions(waves: list[np.ndarray], paths: list[str], only: str | None) -> dict[str, float]:
    """Measure clips per second on one core for every distortion."""
    print("| distortion | CPU ms per clip | clips per second |\n|---|---|---|")
    rates = {}
    for name, (kind, arguments) in TRANSFORMS.items():
        if only and only not in name:
            continue
        transform = build(kind, arguments, 1.0, paths)
        cpu, _ = seconds_each(lambda wave, apply=transform: apply(wave, RATE), waves)
        rates[name] = round(1 / cpu, 1)
        print(f"| {name} | {1000 * cpu:.2f} | {1 / cpu:.0f} |", flush=True)
    return rates


def pipeline(waves: list[np.ndarray], paths: list[str], profile: Path) -> dict[str, float]:
    """Measure clips per second on one core for a profile's pipeline."""
    config = load_profile(profile).augmentation
    augmenter = Augmenter(config, paths)
    print(f"\n| pipeline of {profile} | CPU ms per clip | clips per second |\n|---|---|---|")
    rates = {}
    for name, progress in {"beginning": 0.0, "end": 1.0}.items():
        at = strength(config, progress)
        cpu, _ = seconds_each(
            lambda number, at=at: augmenter(waves[number % CLIPS], clip_generator(1, 0, str(number)), at=at), range(5 * CLIPS)
        )
        rates[name] = round(1 / cpu, 1)
        print(f"| {name} of the schedule | {1000 * cpu:.2f} | {1 / cpu:.0f} |", flush=True)
    return rates


def against_ffmpeg(waves: list[np.ndarray], program: str, folder: Path) -> dict[str, object]:
    """Measure the MP3 round trip in memory and with the program; both use LAME at 64 kbit/s and quality 7."""
    inside = CodecInfo("libmp3lame", "mp3float", {RATE: (MP3_KBPS,)}, options={"compression_level": "7"})
    ways: dict[str, Callable[[np.ndarray], object]] = {
        "here": lambda wave: round_trip(wave, "mp3", MP3_KBPS, RATE),
        "pyav": lambda wave: by_ffmpeg(inside, wave, RATE, MP3_KBPS),
        "program": lambda wave: by_program(wave, program, folder),
    }
    version = subprocess.run([program, "-version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    print(f"\n| MP3, {MP3_KBPS} kbit/s ({version}) | CPU ms per clip | wall-clock ms per clip |\n|---|---|---|")
    found: dict[str, tuple[float, float]] = {}
    for name, call in ways.items():
        found[name] = seconds_each(call, waves)
        print(f"| {name} | {1000 * found[name][0]:.2f} | {1000 * found[name][1]:.2f} |", flush=True)
    (cpu, wall), (inner_cpu, inner_wall), (program_cpu, program_wall) = found.values()
    return {
        "mp3_cpu_ratio": round(program_cpu / cpu, 1),
        "mp3_wall_ratio": round(program_wall / wall, 1),
        "pyav_mp3_cpu_ratio": round(program_cpu / inner_cpu, 1),
        "pyav_mp3_wall_ratio": round(program_wall / inner_wall, 1),
    }


def by_program(wave: np.ndarray, program: str, folder: Path) -> np.ndarray:
    """Do the round trip in the common way: write a WAV, call the program to encode and to decode it, read the result."""
    source, coded, decoded = (str(folder / name) for name in ("clip.wav", "clip.mp3", "back.wav"))
    soundfile.write(source, wave, RATE)
    quiet = [program, "-loglevel", "error", "-nostdin", "-y", "-i"]
    subprocess.run([*quiet, source, "-b:a", f"{MP3_KBPS}k", "-compression_level", "7", coded], check=True)
    subprocess.run([*quiet, coded, decoded], check=True)
    return soundfile.read(decoded, dtype="float32")[0]


if __name__ == "__main__":
    main()
