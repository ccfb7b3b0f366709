"""Build the corpus: in parallel, resumable, byte-identical for the same seed."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from aasist_lib.audio import RATE, write_flac
from aasist_lib.config import DataConfig, project_root
from aasist_lib.corpora.table import COLUMNS, write_trials
from aasist_lib.runtime.files import atomic, in_turn, sha256, sweep
from aasist_lib.runtime.fingerprint import code, versions
from aasist_lib.runtime.kept import PLUMBING, changes, different, make_key, read_key
from aasist_lib.runtime.processes import end_with_parent, environment
from demo_corpus import channel
from demo_corpus.attacks import ATTACKS, Source
from demo_corpus.attacks.neural import WEIGHTS
from demo_corpus.attacks.source import MAX_SECONDS
from demo_corpus.packages import SourceError
from demo_corpus.plan import Clip, Task, draw
from demo_corpus.seeds import generator
from demo_corpus.sources import MIN_SECONDS, collect, load

RECIPE = "recipe.json"
"""File in a corpus' folder with the key of the code and settings that made its clips, and the code of each attack.

Clips are rebuilt if their code or settings have changed.
"""
_READS_OR_STORES = (*PLUMBING, "aasist_lib.config", "aasist_lib.runtime.text_tables", "aasist_lib.corpora.table")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""One thread per worker: the libraries read these variables when a worker starts."""
Recipe = dict[str, Any]


@dataclass(frozen=True)
class BuildReport:
    """Result of a build: its table, the numbers of all and of new clips, and what was skipped (file or id -> reason)."""

    root: Path
    trials: Path
    clips: int
    made: int
    skipped: dict[str, str]


@dataclass(frozen=True)
class _Outcome:
    rows: list[dict[str, str]]
    made: int
    skipped: dict[str, str]


def build(data: DataConfig, workers: int | None = None, say: Callable[[str], None] = print) -> BuildReport:
    """Build the demo corpus into `data.root`: `flac/<split>/*.flac`, `trials.parquet` and `build.json`.

    Finished clips with the same settings, code and versions are kept, so an interrupted build resumes where it stopped, and a
    finished one returns at once. If the code of an attack changes, only the clips of this attack are rebuilt. A damaged
    recording is skipped and listed in the report.

    Args:
        data: the profile's `data` section; a relative root is relative to the project root.
        workers: number of processes; by default one per core.
        say: called with one line per step.

    Raises:
        SourceError: the recordings cannot be obtained, or none of them is usable.
    """
    root = data.root if data.root.is_absolute() else project_root() / data.root
    recipe = _recipe(data)
    report = _finished(root, recipe)
    if report is not None:
        return report
    with in_turn(root / ".build.lock", f"demo corpus: another process is building {root}; waiting for it"):
        return _finished(root, recipe) or _build(data, root, recipe, workers or os.cpu_count() or 1, say)


def _build(data: DataConfig, root: Path, recipe: Recipe, workers: int, say: Callable[[str], None]) -> BuildReport:
    _start(root, recipe, say)
    recordings = collect(data.bonafide, data.full, project_root() / "data" / "downloads", data.seed, say)
    tasks = draw(recordings, data.clips_per_speaker, data.seed)
    clips = sum(len(task.clips) for task in tasks)
    say(f"demo corpus: {clips} clips from {len(tasks)} recordings, {workers} processes")
    outcomes = _run(tasks, root, data.seed, workers)
    return _finish(root, recipe, data, outcomes)


def _recipe(data: DataConfig) -> Recipe:
    """Return what the clips depend on: `key` for all clips, and `attacks` with the code of each attack."""
    settings = data.model_dump(mode="json", include={"bonafide", "full", "clips_per_speaker", "seed"})
    modules = {name: attack.__module__ for name, attack in ATTACKS.items()}
    key = make_key(["demo_corpus.builder"], settings, leave_out=(*_READS_OR_STORES, *set(modules.values())))
    attacks = {name: code([module], _READS_OR_STORES) for name, module in modules.items()}
    key["versions"] |= versions({file for files in attacks.values() for file in files})
    for name, weights in WEIGHTS.items():
        attacks[name] |= {weights.name: sha256(weights)}
    return {"key": key, "attacks": attacks}


def _finished(root: Path, recipe: Recipe) -> BuildReport | None:
    """Return the report of a finished build if all its clips still exist, else None."""
    table, notes = root / "trials.parquet", root / "build.json"
    if not (table.is_file() and notes.is_file()):
        return None
    written = json.loads(notes.read_text(encoding="utf-8"))
    paths = pd.read_parquet(table, columns=["path"])["path"]
    present = {f"flac/{split.name}/{clip.name}" for split in (root / "flac").glob("*") for clip in os.scandir(split)}
    if written["recipe"] != recipe or not present.issuperset(paths):
        return None
    return BuildReport(root, table, len(paths), 0, written["skipped"])


def _start(root: Path, recipe: Recipe, say: Callable[[str], None]) -> None:
    """Delete earlier clips that this recipe would make differently, and write the recipe."""
    mark, clips = root / RECIPE, root / "flac"
    old = read_key(mark)
    known = old if isinstance(old, dict) else {"key": old, "attacks": {}}
    if clips.is_dir() and (said := changes(known["key"], recipe["key"])):
        say(f"demo corpus: {said}: the clips in {root} are rebuilt")
        shutil.rmtree(clips)
    for name, files in recipe["attacks"].items():
        if clips.is_dir() and (edited := different(known["attacks"].get(name, {}), files)):
            say(f"demo corpus: {' and '.join(edited)} changed: clips of {name} are rebuilt")
            for clip in clips.glob(f"*/*-{name}.flac"):
                clip.unlink()
    for name in ("trials.parquet", "build.json"):
        (root / name).unlink(missing_ok=True)
    sweep(root)
    with atomic(mark) as file:
        file.write_text(json.dumps(recipe, indent=1), encoding="utf-8")


def _run(tasks: list[Task], root: Path, seed: int, workers: int) -> list[_Outcome]:
    bar = tqdm(total=len(tasks), desc="recordings", **_bar_style())
    with bar, environment(ONE_THREAD):
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin)
        try:
            waiting = {pool.submit(_make, task, root, seed): index for index, task in enumerate(tasks)}
            done: dict[int, _Outcome] = {}
            for future in as_completed(waiting):
                done[waiting[future]] = future.result()
                bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return [done[index] for index in range(len(tasks))]


class _PlainLines(io.TextIOBase):
    """Standard output for a progress bar: one line per update, without carriage returns."""

    def write(self, text: str) -> int:
        line = text.strip("\r\n ")
        return sys.stdout.write(f"{line}\n") if line else 0

    def flush(self) -> None:
        sys.stdout.flush()


def _bar_style() -> dict[str, Any]:
    if os.environ.get("AASIST_HEADLESS") != "1":
        return {}
    layout = "{desc}: {n_fmt} of {total_fmt}, {elapsed} gone, {remaining} to go"
    return {"file": _PlainLines(), "mininterval": 10, "bar_format": layout}


def _begin() -> None:
    """Initialise a worker: ignore Ctrl-C, which the parent process handles, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _make(task: Task, root: Path, seed: int) -> _Outcome:
    """Write every clip of one recording; runs in a worker."""
    try:
        wave = reference(load(task.recording.path))
    except (ValueError, OSError) as error:
        return _Outcome([], 0, {str(task.recording.path): f"{type(error).__name__}: {error}"})
    if len(wave) < MIN_SECONDS * RATE:
        reason = f"{len(wave) / RATE:.2f} s of speech, less than {MIN_SECONDS} s"
        return _Outcome([], 0, {task.clips[0].utt_id: reason})
    rows, made, skipped = [], 0, {}
    for clip in task.clips:
        path = root / "flac" / task.recording.split / f"{clip.utt_id}.flac"
        codec = codec_of(clip, seed)
        if not path.is_file():
            audio = render(clip, wave, task.recording.language, seed)
            if len(audio) < MIN_SECONDS * RATE:
                skipped[clip.utt_id] = f"{len(audio) / RATE:.2f} s left after trimming"
                continue
            write_flac(path, audio)
            made += 1
        rows.append(_row(clip, path, codec, task))
    return _Outcome(rows, made, skipped)


def reference(wave: np.ndarray) -> np.ndarray:
    """Prepare a recording for both classes: without rumble, trimmed, at most `MAX_SECONDS`, at a fixed level."""
    wave = channel.trim(channel.band_limit(wave.astype(np.float64)))[: round(MAX_SECONDS * RATE)]
    return channel.set_level(wave, -23.0)


def codec_of(clip: Clip, seed: int) -> str:
    """Draw the clip's channel codec, uniformly for both classes."""
    return str(generator(seed, "codec", clip.utt_id).choice(channel.CODEC_NAMES))


def render(clip: Clip, wave: np.ndarray, language: str, seed: int) -> np.ndarray:
    """Return the finished audio of one clip, `(samples,)` float32: the attack, if any, then the common channel."""
    top = channel.top_of(wave)
    if clip.attack in ATTACKS:
        rng = generator(seed, "attack", clip.utt_id)
        wave = ATTACKS[clip.attack](Source(wave, language, clip.voice), rng)
    return channel.transmit(wave, codec_of(clip, seed), generator(seed, "channel", clip.utt_id), top)


def _row(clip: Clip, path: Path, codec: str, task: Task) -> dict[str, str]:
    label = "bonafide" if clip.attack == "-" else "spoof"
    values = (clip.utt_id, str(path), label, clip.voice, clip.attack, codec, task.recording.split, "demo")
    return dict(zip(COLUMNS, values, strict=True)) | {"recording": task.clips[0].utt_id.removesuffix("-bonafide")}


def _finish(root: Path, recipe: Recipe, data: DataConfig, outcomes: list[_Outcome]) -> BuildReport:
    rows = [row for outcome in outcomes for row in outcome.rows]
    skipped = {name: reason for outcome in outcomes for name, reason in outcome.skipped.items()}
    if not rows:
        raise SourceError(f"none of {len(outcomes)} recordings is usable: {list(skipped.values())[:3]}")
    trials = pd.DataFrame(rows)
    write_trials(trials, root / "trials.parquet")
    counts = Counter((row["split"], row["label"], row["attack"]) for row in rows)
    notes = {
        "recipe": recipe,
        "seed": data.seed,
        "settings": data.model_dump(mode="json", exclude={"root"}),
        "clips": len(rows),
        "counts": {" ".join(key): counts[key] for key in sorted(counts)},
        "skipped": skipped,
    }
    with atomic(root / "build.json") as file:
        file.write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return BuildReport(root, root / "trials.parquet", len(rows), sum(outcome.made for outcome in outcomes), skipped)
