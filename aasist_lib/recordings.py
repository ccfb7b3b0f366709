"""Recordings of any length and format through a trained detector: a score each, and a score curve over time.

A recording streams through in windows of the model's length that overlap; its score is their mean. What a score says beyond
its rank comes from the detector's dev clips, and the checkpoint holds it: the calibration that makes log-likelihood ratios
of scores, and the EER threshold of the decision.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from aasist_lib import audio
from aasist_lib.checkpoints import load_model
from aasist_lib.levels import FRAME, Levels
from aasist_lib.metrics import Calibration, calibrate_apply
from aasist_lib.models import AASIST
from aasist_lib.processes import agreed, team
from aasist_lib.runs import atomic
from aasist_lib.scoring import ScoringError, log_odds
from aasist_lib.unfinished import Unfinished
from aasist_lib.windows import windows

CALIBRATED = ("llr", "p_bonafide")
"""Columns that need a calibration."""


@dataclass(frozen=True)
class Detector:
    """A trained model with what its dev clips say of its scores. A score at or below `threshold` is taken for spoof.

    `calibration` is None where scores alone were asked for.
    """

    model: AASIST
    threshold: float
    calibration: Calibration | None
    facts: dict[str, Any]

    @classmethod
    def load(cls, checkpoint: Path, device: str | torch.device = "cpu", scores_only: bool = False) -> Detector:
        """The detector of a checkpoint.

        Args:
            checkpoint: the folder `…/checkpoints/best` of a run.
            device: where it computes.
            scores_only: do without a calibration.

        Raises:
            CheckpointError: no checkpoint there, or it does not load.
            ScoringError: it holds no calibration.
        """
        model, facts = load_model(checkpoint)
        stored = None if scores_only else facts.get("calibration")
        if stored is None and not scores_only:
            reason = "its dev scores were all equal" if "calibration" in facts else "it was trained by an earlier version"
            raise ScoringError(
                f"{checkpoint}: no calibration, {reason}: remove the folder {Path(checkpoint).parent} and train again, "
                "or ask for scores only (--scores-only)"
            )
        calibration = stored and Calibration(stored["scale"], stored["offset"])
        return cls(model.to(device), facts["dev_threshold"], calibration, facts)

    def decide(self, score: float) -> str:
        """'bonafide' or 'spoof', at the EER threshold of dev."""
        return "bonafide" if score > self.threshold else "spoof"

    @property
    def llr_bound(self) -> float:
        """How far from 0 the dev clips can carry a natural-log likelihood ratio: n of them support no more than log(n).

        Raises:
            KeyError: there is no calibration.
        """
        fitted = self.facts["calibration"]
        return math.log(min(fitted["bonafide"], fitted["spoof"]))

    def caution(self) -> str:
        """What the detector was trained on and how far its numbers can be trusted, for whoever reads them."""
        on, encoder = self.facts.get("trained_on"), self.facts["encoder"]["name"]
        trained = f"clips that the checkpoint does not name, with the encoder {encoder}"
        if on:
            speakers = f" of {on['speakers']} speaker{'s' if on['speakers'] > 1 else ''}" if on["speakers"] else ""
            clips = f"{on['bonafide']} bona fide clips{speakers} and {on['spoof']} spoofed ones"
            trained = f"“{on['title']}”: {clips}, corpus {on['corpus']}, encoder {encoder}"
        sentences = [
            f"This detector was trained on {trained}.",
            f"On the dev clips that it was chosen by, which flatters it, its equal error rate is {self.facts['dev_eer']:.1%}.",
            "Other voices, languages, microphones, codecs and attacks than it was trained on make it wrong far more often, "
            "and it does not notice.",
            "A score is a lead to follow. It is no evidence on its own.",
        ]
        if self.calibration:
            fitted, bound = self.facts["calibration"], self.llr_bound
            clips = f"{fitted['bonafide']} bona fide and {fitted['spoof']} spoofed dev clips"
            sentences.insert(2, f"Its likelihood ratios were fitted on {clips}: those beyond ±{bound:.1f} are extrapolated.")
        if self.calibration and self.calibration.scale <= 0:
            sentences.insert(2, "ON DEV A HIGHER SCORE MEANT SPOOF: this detector has not learned its task.")
        return " ".join(sentences)


@dataclass(frozen=True)
class Recording:
    """One scored recording.

    `timeline` has a row a window: `start` and `end` in seconds, `score`, `llr` (where there is a calibration) and `loud`, the
    share of the window that is loud enough to hold speech. `peaks (frames,)` is the largest absolute sample of every 20 ms.
    """

    path: str
    seconds: float
    score: float
    llr: float | None
    timeline: pd.DataFrame
    peaks: NDArray[np.float32]
    warnings: tuple[str, ...]


class LeftOut(NamedTuple):
    """A file or folder that gave no score, and the reason."""

    path: str
    reason: str


@torch.inference_mode()
def score_recording(
    detector: Detector,
    path: str | Path,
    hop_seconds: float | None = None,
    batch_size: int = 16,
    on_progress: Callable[[float], object] | None = None,
) -> Recording:
    """Score one audio file of any length, format, rate and number of channels.

    Args:
        detector: of `Detector.load`.
        path: see `audio.blocks`.
        hop_seconds: from the beginning of a window to the next, at most a window's length; None is half of it.
        batch_size: windows that are computed at once.
        on_progress: called with the seconds of audio that are newly done.

    Raises:
        AudioError: the file cannot be read to its end, or gives scores that are no numbers.
        ScoringError: the hop is not within (0, a window's length].
    """
    length = detector.model.config.samples
    levels, done = Levels(), 0.0
    stream = windows(levels.watching(audio.blocks(path)), length, _hop(hop_seconds, length))
    device = next(detector.model.backend.parameters()).device
    starts, parts = [], []
    while batch := list(islice(stream, batch_size)):
        waves = torch.from_numpy(np.stack([wave for _, wave in batch])).to(device)
        parts.append(log_odds(detector.model(waves)))
        starts += [start for start, _ in batch]
        reached = min(starts[-1] + length, levels.samples) / audio.RATE
        if on_progress:
            on_progress(reached - done)
        done = reached
    scores = np.concatenate(parts)
    if not np.isfinite(scores).all():
        raise audio.AudioError(f"{path}: the detector's scores of it are not finite")
    return _recording(detector, str(path), levels, np.array(starts), scores)


def _hop(seconds: float | None, length: int) -> int:
    if seconds is None:
        return max(1, length // 2)
    hop = round(seconds * audio.RATE)
    if not 0 < hop <= length:
        raise ScoringError(f"hop = {seconds} s: windows are {length / audio.RATE:g} s long; take a hop above 0 and up to that")
    return hop


def _recording(detector: Detector, path: str, levels: Levels, starts: NDArray[np.int64], scores: NDArray) -> Recording:
    ends, loud = np.minimum(starts + detector.model.config.samples, levels.samples), levels.loud
    timeline = pd.DataFrame({"start": starts / audio.RATE, "end": ends / audio.RATE, "score": scores})
    score, llr = float(scores.mean()), None
    if detector.calibration:
        timeline["llr"] = calibrate_apply(detector.calibration, scores)
        llr = float(calibrate_apply(detector.calibration, [score])[0])
    timeline["loud"] = [loud[a // FRAME : -(-b // FRAME)].mean() for a, b in zip(starts, ends, strict=True)]
    warnings, silent = list(levels.warnings()), int((timeline["loud"] < 0.1).sum())
    if 0 < silent < len(timeline):
        warnings.append(f"{silent} of {len(timeline)} windows are almost silent, and count in the mean")
    return Recording(path, levels.samples / audio.RATE, score, llr, timeline, levels.peaks, tuple(warnings))


def posterior(llr: ArrayLike, p_spoof: float) -> NDArray[np.float64]:
    """Probability of bona fide, by Bayes: its log-odds are the natural-log likelihood ratio plus the prior's log-odds.

    Args:
        llr: of bona fide against spoof, any shape.
        p_spoof: how probable a spoof is before anything is heard, a fraction within (0, 1).

    Raises:
        ScoringError: `p_spoof` is not within (0, 1).
    """
    if not 0 < p_spoof < 1:
        raise ScoringError(f"prior of spoof = {p_spoof}: a fraction between 0 and 1, both excluded")
    return expit(np.asarray(llr, dtype=np.float64) - logit(p_spoof))


def score_recordings(
    detector: Detector,
    paths: Iterable[str | Path],
    hop_seconds: float | None = None,
    on_progress: Callable[[float], object] | None = None,
    unfinished: Unfinished | None = None,
) -> Iterator[Recording | LeftOut]:
    """Score files, and all audio below folders, one after the other; what cannot be scored does not stop the rest.

    Args:
        detector: of `Detector.load`.
        paths: files, and folders, which are searched for names that end as `audio.EXTENSIONS`; each file is taken once.
        hop_seconds, on_progress: as `score_recording`.
        unfinished: what an earlier call left; its recordings are not scored again, and have no peaks. New ones are added.

    Raises:
        ScoringError: as `score_recording`.
    """
    for file in _files(paths):
        if os.path.isdir(file):  # Path.is_dir has an error for a name that is too long
            yield LeftOut(audio.printable(file), f"no audio in this folder; looked for {', '.join(audio.EXTENSIONS)}")
            continue
        if unfinished is not None and (fields := unfinished.find(file)):
            yield Recording(**fields)
            continue
        try:
            recording = score_recording(detector, file, hop_seconds, on_progress=on_progress)
            if unfinished is not None:
                unfinished.add(recording)
            yield recording
        except audio.AudioError as error:
            name = audio.printable(file)
            yield LeftOut(name, str(error).removeprefix(f"{name}: "))


def _files(paths: Iterable[str | Path]) -> list[Path]:
    """Files, the audio of folders, and the folders where there is none; each once."""
    below = (audio.files_below(path) or [path] if os.path.isdir(path) else [path] for path in map(Path, paths))
    return list(dict.fromkeys(file for files in below for file in files))


def results(recordings: Iterable[Recording], detector: Detector, p_spoof: float) -> pd.DataFrame:
    """A row a recording: `utt_id` (its path), `score`, `llr`, `p_bonafide` at the prior `p_spoof`, `decision`, `seconds`,
    `windows`, `lowest_score` of a window and where it begins (`lowest_start`, s), `warnings` in one text.

    Without a calibration there are no columns `llr` and `p_bonafide`.

    Raises:
        ScoringError: as `posterior`.
    """
    columns = ["utt_id", "score", *CALIBRATED, "decision", "seconds", "windows", "lowest_score", "lowest_start", "warnings"]
    table = pd.DataFrame([_row(recording, detector) for recording in recordings], columns=columns)
    if not detector.calibration:
        return table.drop(columns=list(CALIBRATED))
    return table.assign(p_bonafide=posterior(table["llr"].astype("float64"), p_spoof))


def _row(recording: Recording, detector: Detector) -> dict[str, Any]:
    lowest = recording.timeline.loc[recording.timeline["score"].idxmin()]
    return {
        "utt_id": recording.path,
        "score": recording.score,
        "llr": recording.llr,
        "decision": detector.decide(recording.score),
        "seconds": recording.seconds,
        "windows": len(recording.timeline),
        "lowest_score": lowest["score"],
        "lowest_start": lowest["start"],
        "warnings": "; ".join(recording.warnings),
    }


def timelines(recordings: Iterable[Recording]) -> pd.DataFrame:
    """The timelines of recordings below one another, with `utt_id` as the first column."""
    return pd.concat([r.timeline.assign(utt_id=r.path)[["utt_id", *r.timeline.columns]] for r in recordings], ignore_index=True)


def score_to_csv(
    detector: Detector,
    paths: Iterable[str | Path],
    out: Path,
    p_spoof: float,
    timeline: bool = False,
    hop_seconds: float | None = None,
    on_progress: Callable[[float], object] | None = None,
    say: Callable[[str], None] = print,
) -> tuple[pd.DataFrame | None, list[LeftOut]]:
    """Score files and folders into `out`, a CSV as `results` gives it; beside it go `<out>_timeline.csv`, if wanted, and
    `<out>_left_out.csv`, with the columns of `LeftOut`, where anything was left out.

    Processes that were launched together share the files; what they write is what one would. They need the folder of `out` in
    common. Until all are done, `<out>_unfinished.jsonl`, and a list of every further process, hold what is: the same call
    after an interruption goes on from there, with any number of processes.

    Args:
        detector, paths, hop_seconds, on_progress: as `score_recordings`; progress is that of this process.
        out: the CSV to write.
        p_spoof: prior of `p_bonafide`.
        timeline: write every window's score too.
        say: receives a line where an earlier call left something.

    Returns:
        the table written, None where this is not the main process; and what was left out.

    Raises:
        ScoringError: nothing could be scored, or the prior or the hop are impossible. Nothing is written then.
        WorkError, SystemExit: see `processes.agreed`.
    """
    members, table = team(), None
    found: list[list] = [[]]
    unfinished = Unfinished(out, detector.facts, hop_seconds, members.process_index)
    with agreed():
        posterior(0.0, p_spoof)  # before hours of work
        _hop(hop_seconds, detector.model.config.samples)
        if members.is_main_process:
            found = [_files(paths)]
            unfinished.collect()
            if len(unfinished):
                say(f"going on: {len(unfinished)} recordings are scored already, in {unfinished.path}")
    (files,) = broadcast_object_list(found)  # a folder that fills meanwhile would look different to each
    with agreed():
        unfinished.read()
        share = files[members.process_index :: members.num_processes]
        scored = score_recordings(detector, share, hop_seconds, on_progress, unfinished)
        missed = {each.path: each for each in scored if isinstance(each, LeftOut)}
    missed = {path: each for part in gather_object([missed]) for path, each in part.items()}
    printable = map(audio.printable, files)
    left_out = [missed[name] for name in printable if name in missed]
    with agreed():
        if members.is_main_process:
            names = [str(file) for file in files if audio.printable(file) not in missed]
            table = _write(detector, unfinished, names, left_out, out, p_spoof, timeline)
    return table, left_out


def _write(
    detector: Detector,
    unfinished: Unfinished,
    names: list[str],
    left_out: list[LeftOut],
    out: Path,
    p_spoof: float,
    timeline: bool,
) -> pd.DataFrame:
    """Write what `score_to_csv` writes, in the order of `names`, from all processes' lists, and remove these."""
    unfinished.read()
    if not names:
        unfinished.remove()
        raise ScoringError("nothing could be scored:\n  " + "\n  ".join(f"{each.path}: {each.reason}" for each in left_out))
    table = results((_scored(unfinished, name) for name in names), detector, p_spoof)
    _write_csv(table, out)
    if timeline:
        _write_csv(timelines(_scored(unfinished, name) for name in names), _beside(out, "timeline"))
    if left_out:
        _write_csv(pd.DataFrame(left_out), _beside(out, "left_out"))
    else:
        _beside(out, "left_out").unlink(missing_ok=True)  # an earlier call's
    unfinished.remove()
    return table


def _scored(unfinished: Unfinished, name: str) -> Recording:
    if fields := unfinished.scored(name):
        return Recording(**fields)
    raise ScoringError(f"{name}: scored, but not in a list beside {unfinished.path}: put --out where all processes see it")


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index, atomically."""
    with atomic(path) as file:
        table.to_csv(file, index=False)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.stem}_{what}.csv")
