"""Score recordings of any length and format with a trained detector: one score each, and a score curve over time.

A recording is streamed in overlapping windows of the model's length; its score is the mean over its decided windows. A window
or recording without speech, or unlike anything trained on, is undecided: a detector returns a score even for silence and music.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from aasist_lib import audio
from aasist_lib.audio.quality import FRAME, LEAST_SPEECH_SECONDS, AudioQuality
from aasist_lib.audio.windows import windows
from aasist_lib.metrics import calibrate_apply
from aasist_lib.scoring.detector import Detector
from aasist_lib.scoring.split import ScoringError

UNDECIDED = "undecided"
"""Prefix of the decision if none is possible; the reason follows."""
UNLIKE = "unlike anything trained on"
"""The reason if the detector's typicality is beyond its limit."""


@dataclass(frozen=True)
class Recording:
    """One scored recording.

    `channel` is 'mono', 'mean' (of several channels) or a channel's number from 1; `decision` is 'bonafide', 'spoof' or
    'undecided: ' and the reason. `llr` is None without a calibration or a decision; `capped` is whether it is at the
    calibration's bound. `distance` is the median of its windows with speech, NaN without typicality.

    `timeline` has one row per window: `start` and `end` in seconds, `score`, `llr` (if there is a calibration), `distance` (see
    `Detector.judge`), `loud`, the fraction of the window that is loud enough for speech, and `decision`. `peaks (frames,)` is
    the largest absolute sample per 20 ms.
    """

    path: str
    channel: str
    seconds: float
    score: float
    decision: str
    llr: float | None
    capped: bool
    distance: float
    timeline: pd.DataFrame
    peaks: NDArray[np.float32]
    warnings: tuple[str, ...]


class LeftOut(NamedTuple):
    """A file or folder without a score, and the reason."""

    path: str
    reason: str


def score_recording(
    detector: Detector,
    path: str | Path,
    hop_seconds: float | None = None,
    batch_size: int = 16,
    on_progress: Callable[[float], object] | None = None,
    channel: int | None = None,
) -> Recording:
    """Score one audio file of any length, format, rate and number of channels.

    Args:
        detector: from `Detector.load`.
        path: see `audio.blocks`.
        hop_seconds: distance between window starts, at most one window length; None means half a window.
        batch_size: windows per forward pass.
        on_progress: called with the seconds of audio processed since the last call.
        channel: score only this channel (from 1); None scores the mean, or the loudest channel if the mean cancels.

    Raises:
        AudioError: the file cannot be read to its end, or its scores are not finite.
        ScoringError: the hop is not within (0, window length].
    """
    length = detector.model.config.samples
    stream, levels, done = audio.Stream(Path(path), channel=channel), AudioQuality(), 0.0
    pieces = windows(levels.watching(stream), length, hop_samples(hop_seconds, length))
    starts, parts = [], []
    while batch := list(islice(pieces, batch_size)):
        waves = torch.from_numpy(np.stack([wave for _, wave in batch])).to(detector.model.device)
        parts.append(detector.judge(waves))
        starts += [start for start, _ in batch]
        reached = min(starts[-1] + length, levels.samples) / audio.RATE
        if on_progress:
            on_progress(reached - done)
        done = reached
    scores, distances = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not np.isfinite(scores).all():
        raise audio.AudioError(f"{path}: the detector's scores are not finite")
    return _recording(detector, str(path), stream.mix or audio.Mixdown(1), levels, np.array(starts), scores, distances)


def hop_samples(seconds: float | None, length: int) -> int:
    """Return the hop in samples for windows of `length` samples."""
    if seconds is None:
        return max(1, length // 2)
    hop = round(seconds * audio.RATE)
    if not 0 < hop <= length:
        raise ScoringError(f"hop = {seconds} s: windows are {length / audio.RATE:g} s long; use a hop above 0 and up to that")
    return hop


def _recording(
    detector: Detector, path: str, mix: audio.Mixdown, levels: AudioQuality, starts: NDArray[np.int64], scores: NDArray,
    distances: NDArray,
) -> Recording:  # fmt: skip
    ends, loud = np.minimum(starts + detector.model.config.samples, levels.samples), levels.loud
    timeline = pd.DataFrame({"start": starts / audio.RATE, "end": ends / audio.RATE, "score": scores, "distance": distances})
    timeline["loud"] = [loud[a // FRAME : -(-b // FRAME)].mean() for a, b in zip(starts, ends, strict=True)]
    least, quiet = min(LEAST_SPEECH_SECONDS, detector.model.config.samples / audio.RATE / 2), levels.undecided()
    speech = (timeline["loud"] * (timeline["end"] - timeline["start"]) >= least).to_numpy() & (quiet is None)
    unlike = speech & (distances > 1)
    reason, warnings = quiet, [*filter(None, [mix.warning]), *levels.warnings()]
    distance = float(np.median(distances[speech])) if speech.any() else math.nan
    if quiet is None and not speech.any():
        reason = "no speech in any window"
    elif distance > 1:
        reason = f"{UNLIKE} (distance {distance:.2f}, limit 1)"
    if detector.always:
        warnings += [f"decided, although {reason}"] if reason else []
        speech, unlike, reason = speech | (not speech.any()), np.zeros_like(unlike), None
    if reason is None:
        warnings += _excluded(~speech, "contain no speech") + _excluded(unlike, f"are {UNLIKE}")
    elif unlike.any() and not unlike[speech].all():
        warnings.append(f"{(speech & ~unlike).sum()} of {len(timeline)} windows are decided: look at the timeline")
    counted = speech & ~unlike
    score = float(scores[counted if counted.any() else speech | (not speech.any())].mean())
    timeline["decision"] = np.select(
        [~speech, unlike, np.array([detector.decide(each) == "spoof" for each in scores])],
        [f"{UNDECIDED}: {quiet or 'no speech'}", f"{UNDECIDED}: {UNLIKE}", "spoof"], "bonafide",
    )  # fmt: skip
    llr, capped = None, False
    if detector.calibration:
        timeline.insert(3, "llr", np.where(counted, calibrate_apply(detector.calibration, scores), np.nan))
        if reason is None:
            llr = float(calibrate_apply(detector.calibration, [score])[0])
            capped = bool(detector.calibration.beyond([score])[0])
    if capped and detector.calibration:
        warnings.append(f"likelihood ratio capped at {llr:+.1f}, the most that the dev clips support")
    name = "mono" if mix.channels == 1 else "mean" if mix.channel is None else str(mix.channel)
    decision = detector.decide(score) if reason is None else f"{UNDECIDED}: {reason}"
    return Recording(
        path, name, levels.samples / audio.RATE, score, decision, llr, capped, distance, timeline, levels.peaks, tuple(warnings)
    )


def _excluded(windows: NDArray[np.bool_], why: str) -> list[str]:
    """A warning about the windows that are excluded from the mean."""
    return [f"{windows.sum()} of {len(windows)} windows {why} and are excluded from the mean"] if windows.any() else []


# ---- many recordings -------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """The files to score, the folders without audio, and a description of what was left out of folders."""

    files: list[Path]
    empty: list[Path]
    left_out: str


def find(paths: Iterable[str | Path]) -> Found:
    """Find the given files, and all audio below folders; each file once, even if several paths lead to it."""
    files: dict[str, Path] = {}
    empty: list[Path] = []
    counts: Counter[str] = Counter()
    for path in map(Path, paths):
        if not os.path.isdir(path):  # Path.is_dir raises an error for a name that is too long
            files.setdefault(os.path.abspath(path), path)
            continue
        found = audio.search(path)
        counts.update(found.left_out)
        if not found.files:
            empty.append(path)
        for file in found.files:
            files.setdefault(os.path.abspath(file), file)
    return Found(list(files.values()), empty, audio.left_out_text(dict(counts)))


def score_recordings(
    detector: Detector,
    paths: Iterable[str | Path],
    hop_seconds: float | None = None,
    on_progress: Callable[[float], object] | None = None,
    each_channel: bool = False,
) -> Iterator[Recording | LeftOut]:
    """Score files, and all audio below folders, one by one; a file that cannot be scored does not stop the rest.

    Args:
        detector: from `Detector.load`.
        paths: files, and folders to search for audio (`audio.search`); each file is scored once.
        hop_seconds, on_progress: as `score_recording`.
        each_channel: score a file's channels separately, such as both sides of a call.

    Raises:
        ScoringError: as `score_recording`.
    """
    found = find(paths)
    for folder in found.empty:
        yield no_audio(folder)
    for file in found.files:
        yield from score_file(detector, file, hop_seconds, on_progress, each_channel)


def score_file(
    detector: Detector,
    file: Path,
    hop_seconds: float | None = None,
    on_progress: Callable[[float], object] | None = None,
    each_channel: bool = False,
) -> list[Recording] | list[LeftOut]:
    """Score one file, or each of its channels; if it cannot be scored, return the reason."""
    try:
        count = audio.channel_count(file) if each_channel else 1
        channels: Sequence[int | None] = range(1, count + 1) if count > 1 else [None]
        return [score_recording(detector, file, hop_seconds, on_progress=on_progress, channel=each) for each in channels]
    except audio.AudioError as error:
        name = audio.printable(file)
        return [LeftOut(name, str(error).removeprefix(f"{name}: "))]


def no_audio(folder: Path) -> LeftOut:
    """The entry for a folder without audio."""
    return LeftOut(audio.printable(folder), f"no audio in this folder; looked for {', '.join(audio.EXTENSIONS)}")


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """Return the shortest unambiguous name of each path: 'a.wav', or 'left/a.wav' and 'right/a.wav'."""
    parts = [Path(path).parts for path in paths]
    sizes = [1] * len(parts)
    while True:
        names = ["/".join(each[-size:]) for each, size in zip(parts, sizes, strict=True)]
        counts = Counter(names)
        longer = [
            size + 1 if counts[name] > 1 and size < len(each) else size
            for name, size, each in zip(names, sizes, parts, strict=True)
        ]
        if longer == sizes:
            return names
        sizes = longer
