"""Tables of scored recordings, and scoring of many recordings into files, with several processes and resume support."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate.utils import broadcast_object_list, gather_object

from aasist_lib import audio
from aasist_lib.runtime.files import atomic
from aasist_lib.runtime.kept import digest
from aasist_lib.runtime.processes import agreed, launched
from aasist_lib.scoring.detector import Detector, posterior
from aasist_lib.scoring.progress import Progress
from aasist_lib.scoring.recordings import LeftOut, Recording, find, hop_samples, no_audio, score_file
from aasist_lib.scoring.split import ScoringError

CALIBRATED = ("llr", "p_bonafide", "capped")
"""Columns that need a calibration."""
COLUMNS = [
    "utt_id", "channel", "decision", "score", *CALIBRATED, "distance", "seconds", "windows", "lowest_score", "lowest_start",
    "warnings",
]  # fmt: skip


def result_table(recordings: Iterable[Recording], detector: Detector, p_spoof: float) -> pd.DataFrame:
    """One row per recording: `utt_id` (its path), `channel`, `decision`, `score`, `llr`, `p_bonafide` at the prior `p_spoof`,
    `capped` (whether the llr is at the calibration's bound), `distance` (above 1: unlike anything trained on), `seconds`,
    `windows`, `lowest_score` of all decided windows and the start of that window (`lowest_start`, s), `warnings` as one text.

    Without a decision, llr and probability are missing. Without a calibration, their columns are absent.

    Raises:
        ScoringError: as `posterior`.
    """
    table = pd.DataFrame([_row(recording) for recording in recordings], columns=COLUMNS)
    if not detector.calibration:
        return table.drop(columns=list(CALIBRATED))
    return table.assign(llr=table["llr"].astype("float64"), p_bonafide=posterior(table["llr"].astype("float64"), p_spoof))


def _row(recording: Recording) -> dict[str, Any]:
    judged = recording.timeline[recording.timeline["decision"].isin(("bonafide", "spoof"))]
    windows = judged if len(judged) else recording.timeline
    lowest = windows.loc[windows["score"].idxmin()]
    return {
        "utt_id": recording.path,
        "channel": recording.channel,
        "decision": recording.decision,
        "score": recording.score,
        "llr": np.nan if recording.llr is None else recording.llr,
        "capped": recording.capped,
        "distance": recording.distance,
        "seconds": recording.seconds,
        "windows": len(recording.timeline),
        "lowest_score": lowest["score"],
        "lowest_start": lowest["start"],
        "warnings": "; ".join(recording.warnings),
    }


def timelines(recordings: Iterable[Recording]) -> pd.DataFrame:
    """Combine the timelines of all recordings into one table, with `utt_id` and `channel` as the first columns."""
    parts = [
        each.timeline.assign(utt_id=each.path, channel=each.channel)[["utt_id", "channel", *each.timeline.columns]]
        for each in recordings
    ]
    return pd.concat(parts, ignore_index=True)


def for_terminal(table: pd.DataFrame) -> str:
    """Format `results` as lines for a terminal: file, decision, probability, warnings."""
    several = table.groupby("utt_id")["channel"].transform("size") > 1
    names = table["utt_id"].where(~several, table["utt_id"] + " #" + table["channel"])
    lines = [("recording", "decision", "p(bona fide)", "warnings")]
    for name, row in zip(names, table.to_dict("records"), strict=True):
        probability = row.get("p_bonafide", np.nan)
        bound = ("≥ " if row.get("llr", 0) > 0 else "≤ ") if row.get("capped") else ""
        shown = "–" if np.isnan(probability) else f"{bound}{probability:.1%}"
        lines.append((audio.printable(name), row["decision"], shown, row["warnings"]))
    widths = [max(len(line[place]) for line in lines) for place in range(3)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip()
                     for line in lines)  # fmt: skip


def refuse_out(out: Path | None, timeline: bool) -> None:
    """Raise an error before scoring starts if the results could not be written.

    Raises:
        ScoringError: `out` is not a CSV file or its folder is not writable, or a timeline is requested without a file.
    """
    if out is None:
        if timeline:
            raise ScoringError("--timeline writes <out>_timeline.csv next to --out: add --out scores.csv")
        return
    if out.suffix.lower() != ".csv":
        raise ScoringError(f"--out {out}: scores of recordings are written as CSV; use {out.with_suffix('.csv').name}")
    if out.is_dir():
        raise ScoringError(f"--out {out}: is a folder; name a file in it, such as {out / 'scores.csv'}")
    there = next(folder for folder in (out.absolute().parent, *out.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK) or not there.is_dir():
        raise ScoringError(f"--out {out}: {there} is not writable; choose another folder")


def score_to_csv(
    detector: Detector,
    paths: Iterable[str | Path],
    out: Path,
    p_spoof: float,
    timeline: bool = False,
    hop_seconds: float | None = None,
    on_progress: Callable[[float], object] | None = None,
    say: Callable[[str], None] = print,
    each_channel: bool = False,
) -> tuple[pd.DataFrame | None, list[LeftOut]]:
    """Score files and folders into the CSV file `out`, with the columns of `results`; optionally also `<out>_timeline.csv`,
    and, if files were left out, `<out>_left_out.csv` with the columns of `LeftOut`.

    Launched processes share the files, need `out` in a shared folder, and write the same output as one process. Until all are
    done, `<out>_unfinished.jsonl` (and one more list per process) holds the finished recordings, so a call after an
    interruption resumes, with any number of processes.

    Args:
        detector, paths, hop_seconds, on_progress, each_channel: as `score_recordings`; progress covers this process only.
        out: the CSV to write.
        p_spoof: prior of `p_bonafide`.
        timeline: also write the score of every window.
        say: receives a line if an earlier call is resumed, and a line about files left out of folders.

    Returns:
        the table written (None except in the main process), and the files left out.

    Raises:
        ScoringError: nothing could be scored, `out` cannot be written, or the prior or the hop is out of range. In these
            cases nothing is written.
        WorkError, SystemExit: see `processes.agreed`.
    """
    world, table = launched(), None
    shared: list[tuple[list[Path], list[Path]]] = [([], [])]
    content = digest([detector.model.content_digest(), detector.facts, detector.always])
    settings = {"detector": content, "hop_seconds": hop_seconds, "each_channel": each_channel}
    unfinished = Progress(out, settings, world.process_index)
    with agreed():
        posterior(0.0, p_spoof)  # check the prior before hours of scoring
        hop_samples(hop_seconds, detector.model.config.samples)
        refuse_out(out, timeline)
        if world.is_main_process:
            found = find(paths)
            shared = [(found.files, found.empty)]
            if found.left_out:
                say(f"not audio, left out of the folders: {found.left_out}")
            unfinished.collect(say)
            if len(unfinished):
                say(f"resuming: {len(unfinished)} recordings are already scored, in {unfinished.path}")
    ((files, empty),) = broadcast_object_list(shared)  # one listing for all processes, because the folder may change
    missed: dict[str, LeftOut] = {}
    with agreed():
        unfinished.read()
        for file in files[world.process_index :: world.num_processes]:
            if unfinished.has(file):
                continue
            scored = score_file(detector, file, hop_seconds, on_progress, each_channel)
            for each in scored:
                if isinstance(each, LeftOut):
                    missed[each.path] = each
                else:
                    unfinished.add(each, len(scored))
    missed = {path: each for part in gather_object([missed]) for path, each in part.items()}
    left_out = [missed[name] for name in map(audio.printable, files) if name in missed] + [no_audio(folder) for folder in empty]
    with agreed():
        if world.is_main_process:
            names = [str(file) for file in files if audio.printable(file) not in missed]
            table = _write(detector, unfinished, names, left_out, out, p_spoof, timeline)
    return table, left_out


def _write(
    detector: Detector,
    unfinished: Progress,
    names: list[str],
    left_out: list[LeftOut],
    out: Path,
    p_spoof: float,
    timeline: bool,
) -> pd.DataFrame:
    """Write the output of `score_to_csv` in the order of `names` from all processes' lists, then remove the lists."""
    unfinished.read()
    if not names:
        unfinished.remove()
        raise ScoringError("nothing could be scored:\n  " + "\n  ".join(f"{each.path}: {each.reason}" for each in left_out))
    table = result_table(_scored(unfinished, names), detector, p_spoof)
    _write_csv(table, out)
    if timeline:
        _write_csv(timelines(_scored(unfinished, names)), _beside(out, "timeline"))
    if left_out:
        _write_csv(pd.DataFrame(left_out), _beside(out, "left_out"))
    else:
        _beside(out, "left_out").unlink(missing_ok=True)  # from an earlier call
    unfinished.remove()
    return table


def _scored(unfinished: Progress, names: list[str]) -> Iterator[Recording]:
    for name in names:
        found = unfinished.scored(name)
        if not found:
            raise ScoringError(
                f"{name}: scored by another process, but its result file is not visible: there is none next to "
                f"{unfinished.path}; put --out in a folder that all processes share"
            )
        yield from found


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index, atomically."""
    with atomic(path) as file:
        table.to_csv(file, index=False)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.stem}_{what}.csv")
