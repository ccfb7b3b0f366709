"""Example recordings from a corpus's eval clips: several formats, a truncated file, and one with both classes."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import soundfile
import soxr
from numpy.typing import NDArray

from aasist_lib import audio
from aasist_lib.conventions import UNKNOWN
from aasist_lib.runtime.files import atomic
from aasist_lib.scoring.split import ScoringError

STRETCH_SECONDS = 7.0
"""Minimum length of a segment of one class in the mixed recording."""


def write_examples(folder: Path, trials: pd.DataFrame, known: Iterable[str] = ()) -> pd.DataFrame:
    """Write seven recordings and return their ground truth.

    All come from one speaker if possible: among the speakers with spoofed clips, the one with the most bona fide clips.
    Otherwise the spoofed segments have other voices. The files are `bonafide-stereo.wav` (44.1 kHz), `bonafide-telephone.wav`
    (8 kHz, mu-law), `bonafide.ogg`, `spoof.mp3`, `spoof.m4a`, `cut-off.wav`, truncated in the middle, and `alternating.flac`:
    four segments, alternately bona fide and spoofed.

    Args:
        folder: created if missing; files of these names are overwritten.
        trials: a trial table; its eval split is used, or dev or train if eval lacks a class.
        known: attacks to prefer, such as those in train.

    Returns:
        One row per segment of an intact file: `path`, `start`, `end` (s), `label`, `attack`.

    Raises:
        ScoringError: no split has clips of both classes.
        AudioError: a clip cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bonafide, spoofed = _chosen(trials, set(known))
    attacks = list(spoofed)
    first, second, third = (_clip(bonafide, number) for number in range(3))
    fakes = [_clip(spoofed[attacks[number % len(attacks)]], number) for number in range(2)]
    _write(folder / "bonafide-stereo.wav", _stereo(first), 44_100)
    _write(folder / "bonafide-telephone.wav", second, 8_000, subtype="ULAW")
    _write(folder / "bonafide.ogg", third, audio.RATE)
    _write(folder / "spoof.mp3", fakes[0], audio.RATE)
    with atomic(folder / "spoof.m4a") as file:
        write_m4a(file, [fakes[1]])
    whole = (folder / "bonafide-stereo.wav").read_bytes()
    with atomic(folder / "cut-off.wav") as file:
        file.write_bytes(whole[: len(whole) // 2])
    rows = [(name, 0.0, len(wave) / audio.RATE, label, attack) for name, wave, label, attack in (
        ("bonafide-stereo.wav", first, "bonafide", "-"), ("bonafide-telephone.wav", second, "bonafide", "-"),
        ("bonafide.ogg", third, "bonafide", "-"), ("spoof.mp3", fakes[0], "spoof", attacks[0]),
        ("spoof.m4a", fakes[1], "spoof", attacks[1 % len(attacks)]),
    )]  # fmt: skip
    rows += _write_alternating(folder / "alternating.flac", bonafide, spoofed)
    table = pd.DataFrame(rows, columns=["path", "start", "end", "label", "attack"])
    return table.assign(path=[str(folder / name) for name in table["path"]])


def write_m4a(path: Path, waves: Iterable[NDArray[np.float32]], rate: int = audio.RATE) -> None:
    """Write mono `waves`, each `(samples,)`, one after the other as AAC in an MP4 file, at 64 kbit/s."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono", bit_rate=64_000)
        start = 0
        for wave in waves:
            frame = av.AudioFrame.from_ndarray(np.asarray(wave, np.float32)[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)  # else the encoder's delay remains
            container.mux(stream.encode(frame))
            start += len(wave)
        container.mux(stream.encode(None))


def _chosen(trials: pd.DataFrame, known: set[str]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Choose bona fide trials of one speaker, and spoofed trials by attack, preferring that speaker and known attacks."""
    splits = (trials[trials["split"] == split] for split in ("eval", "dev", "train"))
    both = next((part for part in splits if part["label"].nunique() == 2), None)
    if both is None:
        raise ScoringError("no split has both bona fide and spoofed clips to make examples from: give files of your own")
    both = both.sort_values("utt_id")
    is_bonafide = both["label"] == "bonafide"
    spoofed = both[~is_bonafide]
    counts = both.loc[is_bonafide, "speaker"].value_counts()
    shared = counts[counts.index.isin(set(spoofed["speaker"])) & (counts.index != UNKNOWN)]
    speaker = (shared if len(shared) else counts).index[0]
    for preferred in (spoofed["speaker"] == speaker, spoofed["attack"].isin(known)):
        if len(fitting := spoofed[preferred.reindex(spoofed.index)]):
            spoofed = fitting
    return both[is_bonafide & (both["speaker"] == speaker)], dict(iter(spoofed.groupby("attack")))


def _write_alternating(
    path: Path, bonafide: pd.DataFrame, spoofed: dict[str, pd.DataFrame]
) -> list[tuple[str, float, float, str, str]]:
    """Write four segments; return their rows of the table."""
    attacks, waves, rows, start = list(spoofed), [], [], 0.0
    for number in range(4):
        attack = attacks[number // 2 % len(attacks)] if number % 2 else "-"
        wave = _stretch(spoofed[attack] if number % 2 else bonafide, 3 * number)
        end = start + len(wave) / audio.RATE
        rows.append((path.name, start, end, "spoof" if number % 2 else "bonafide", attack))
        waves.append(wave)
        start = end
    joined = np.concatenate(waves)
    audio.write_flac(path, joined / max(1.0, np.abs(joined).max()))
    return rows


def _stretch(trials: pd.DataFrame, first: int) -> NDArray[np.float32]:
    """Concatenate clips cyclically from number `first` until they are long enough."""
    waves: list[NDArray[np.float32]] = []
    while sum(map(len, waves)) < STRETCH_SECONDS * audio.RATE:
        waves.append(_clip(trials, first + len(waves)))
    return np.concatenate(waves)


def _clip(trials: pd.DataFrame, number: int) -> NDArray[np.float32]:
    return audio.read(trials["path"].iloc[number % len(trials)])


def _stereo(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make two channels whose mean is the wave; the left one is louder."""
    return np.stack([1.2 * wave, 0.8 * wave], axis=1) / max(1.0, 1.2 * np.abs(wave).max())


def _write(path: Path, wave: NDArray[np.float32], rate: int, subtype: str | None = None) -> None:
    converted = soxr.resample(wave, audio.RATE, rate)
    with atomic(path) as file:
        soundfile.write(str(file), converted / max(1.0, np.abs(converted).max()), rate, subtype=subtype)
