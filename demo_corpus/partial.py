"""Build a partial-spoof set from the demo's recordings: clips with known times of the spoofed segments.

Each recording gives three clips with a segment at the same place, through the same channel: a spoofed segment inside the bona
fide clip, the bona fide segment inside the spoofed clip, and a control. In the control, a segment of the bona fide clip is
replaced by the same clip shifted by a few milliseconds: it has joints like the others, but nothing in it is spoofed. Only
attacks that keep the timing of their source are used, so that words continue across the joints (envelopes agree within 8 ms).
The method follows PartialSpoof (Zhang et al., IEEE/ACM TASLP 2023, arXiv 2204.05177).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.signal import correlate, correlation_lags

from aasist_lib.audio import RATE, write_flac
from aasist_lib.config import DataConfig, project_root
from aasist_lib.conventions import SPLITS
from aasist_lib.corpora.table import COLUMNS, read_columns, validate
from aasist_lib.runtime.files import atomic, in_turn, sweep
from aasist_lib.runtime.kept import Key, changes, make_key
from aasist_lib.runtime.processes import end_with_parent, environment
from demo_corpus import channel
from demo_corpus.attacks import ATTACKS, KNOWN_ATTACKS, TTS_ATTACKS, UNSEEN_ATTACKS, Source
from demo_corpus.builder import ONE_THREAD, reference
from demo_corpus.packages import SourceError
from demo_corpus.plan import Task, draw
from demo_corpus.seeds import generator
from demo_corpus.sources import collect, load, seconds

KINDS = ("spoof in bona fide", "bona fide in spoof", "control")
SEGMENT_SECONDS = (0.4, 1.2)
FADE_SECONDS = 0.01
MARGIN_SECONDS = 0.1
"""Minimum distance between a segment and the clip's edges."""
MOVE_SECONDS = (0.004, 0.012)
"""Range of the time shift of a control's segment."""
MIN_SECONDS = 1.5
_LOUD_DB, _SPOKEN = 30.0, 0.8
_TRIMMED = 0.5
_HOP = RATE // 100


@dataclass(frozen=True)
class _Job:
    """A recording and the attack applied to it; `name` is the prefix of the clips' ids."""

    name: str
    path: Path
    speaker: str
    language: str
    split: str
    attack: str


def build_partial(
    data: DataConfig, split: str, clips: int, samples: int, workers: int | None = None, say: Callable[[str], None] = print
) -> pd.DataFrame:
    """Make the partial-spoof set of a split, or read it if it exists already.

    It is stored in `<data.root>/partial/`: `<split>/*.flac` and `partial-<split>.parquet`, which is written last.

    Args:
        data: the profile's `data` section; all random choices depend on `data.seed`.
        split: the split whose speakers are used; 'eval' has the unseen attacks in addition to the known ones.
        clips: number of clips of each kind; the set has three times as many. A smaller set is a subset of a larger one.
        samples: length of the detector's input; clips are not longer.
        workers: number of processes; by default one per core.
        say: called with one line per step.

    Returns:
        the trial columns (a partly spoofed clip is 'spoof'; a control 'bonafide', attack '-'), `kind` (from `KINDS`), `start`
        and `end` of the inserted segment in seconds (middle of the cross-fades of 10 ms), `recording` (three clips each) and
        `attacks` ('known' or 'unseen', the group of the recording's attack).

    Raises:
        SourceError: the corpus is not the demo, or its recordings cannot be obtained or used.
        ValueError: the split is unknown, or `clips` or `samples` is too small.
    """
    if data.corpus != "demo":
        raise SourceError(
            f"data.corpus = {data.corpus}: partial spoofs are made from the demo's recordings; set data.corpus: demo"
        )
    if split not in SPLITS:
        raise ValueError(f"split = {split!r}: choose one of {', '.join(SPLITS)}")
    if clips < 1 or samples < MIN_SECONDS * RATE:
        raise ValueError(f"clips = {clips}, samples = {samples}: at least 1 and {MIN_SECONDS * RATE:.0f} are needed")
    folder, key = data.source / "partial", _key(data, split, samples)
    table = folder / f"partial-{split}.parquet"
    found = _finished(table, key, clips)
    if found is not None:
        return found
    with in_turn(folder / f".{split}.lock", f"partial spoofs: another process is making {folder / split}; waiting for it"):
        found = _finished(table, key, clips)
        return _make_set(data, split, clips, samples, workers, say, table) if found is None else found


def _make_set(
    data: DataConfig, split: str, clips: int, samples: int, workers: int | None, say: Callable[[str], None], table: Path
) -> pd.DataFrame:
    folder, key = table.parent, _key(data, split, samples)
    sweep(folder, deep=False)
    if table.is_file() and (said := changes(_noted(table).get("key"), key)):
        say(f"partial spoofs, {split}: {said}: they are rebuilt")
    table.unlink(missing_ok=True)
    shutil.rmtree(folder / split, ignore_errors=True)
    recordings = collect(data.bonafide, data.full, project_root() / "data" / "downloads", data.seed, say)
    jobs = _jobs(draw(recordings, data.clips_per_speaker, data.seed), split, clips, data.seed)
    workers = min(workers or os.cpu_count() or 1, max(len(jobs), 1))
    say(f"partial spoofs, {split}: {len(jobs)} recordings, three clips each, {workers} processes")
    made = _run(partial(_make, folder=folder / split, samples=samples, seed=data.seed), jobs, workers)
    rows = list(chain.from_iterable(rows for rows, _ in made))
    skipped = [reason for _, reason in made if reason]
    for reason in skipped:
        say(f"partial spoofs, {split}: left out {reason}")
    if not rows:
        raise SourceError(f"partial spoofs, {split}: none of {len(jobs)} recordings gives {MIN_SECONDS} s of speech")
    notes = {"key": key, "seed": data.seed, "samples": samples, "asked": clips}
    _write(pd.DataFrame(rows), table, notes | {"recordings": [job.name for job in jobs], "skipped": skipped})
    return read_columns(table)


def _key(data: DataConfig, split: str, samples: int) -> Key:
    settings = data.model_dump(mode="json", include={"bonafide", "full", "clips_per_speaker", "seed"})
    left_out = ("aasist_lib.config", "aasist_lib.runtime.text_tables", "aasist_lib.corpora.table")
    return make_key(["demo_corpus.partial"], settings | {"split": split, "samples": samples}, leave_out=left_out)


def _finished(table: Path, key: Key, clips: int) -> pd.DataFrame | None:
    """Return the set on disk, or its first `clips` recordings, if the set is complete; else None."""
    written = _noted(table)
    if not table.is_file() or written.get("key") != key or written["asked"] < clips:
        return None
    rows = read_columns(table)
    if not all(Path(path).is_file() for path in rows["path"]):
        return None
    return rows[rows["recording"].isin(written["recordings"][:clips])].reset_index(drop=True)


def _noted(table: Path) -> dict[str, Any]:
    notes = table.with_suffix(".json")
    return json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else {}


def _write(rows: pd.DataFrame, table: Path, notes: dict[str, object]) -> None:
    """Write the notes, then the table, so that an existing table always has matching notes."""
    checked = validate(rows, table)[COLUMNS]
    with atomic(table.with_suffix(".json")) as file:
        file.write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    own = checked.assign(path=[os.path.relpath(path, table.parent) for path in checked["path"]])
    with atomic(table) as file:
        pd.concat([own, rows.drop(columns=COLUMNS)], axis=1).to_parquet(file, index=False)


def _jobs(tasks: list[Task], split: str, clips: int, seed: int) -> list[_Job]:
    """Choose recordings and attacks: speakers in turn, each recording at most once, attacks in rounds of one each."""
    own: dict[str, list[Task]] = {}
    for task in tasks:
        if task.recording.split == split and seconds(task.recording.path) >= MIN_SECONDS + _TRIMMED:
            own.setdefault(task.recording.speaker, []).append(task)
    queues = []
    for speaker, group in own.items():
        order = generator(seed, "partial", speaker).permutation(len(group))
        queues.append([group[index] for index in order])
    turns = [task for turn in zip_longest(*queues) for task in turn if task is not None][:clips]
    names = aligned_attacks(split)
    rng = generator(seed, "partial attacks", split)
    dealt: list[str] = []
    while len(dealt) < len(turns):
        dealt += [names[index] for index in rng.permutation(len(names))]
    return [_job(task, attack) for task, attack in zip(turns, dealt, strict=False)]


def aligned_attacks(split: str) -> tuple[str, ...]:
    """Return the attacks whose output keeps the timing of its source, known ones first; unseen attacks are for eval only."""
    attacks = KNOWN_ATTACKS + (UNSEEN_ATTACKS if split == "eval" else ())
    return tuple(name for name in attacks if name not in TTS_ATTACKS)


def _job(task: Task, attack: str) -> _Job:
    recording, name = task.recording, task.clips[0].utt_id.removesuffix("-bonafide")
    return _Job(name, recording.path, recording.speaker, recording.language, recording.split, attack)


def _run(make: Callable[[_Job], tuple[list[dict], str]], jobs: list[_Job], workers: int) -> list[tuple[list[dict], str]]:
    if workers == 1:
        return list(map(make, jobs))
    with environment(ONE_THREAD), ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        return list(pool.map(make, jobs))


def _make(job: _Job, folder: Path, samples: int, seed: int) -> tuple[list[dict], str]:
    """Write the clips of one recording, in a worker. Returns their rows, or no rows and the reason."""
    try:
        wave = reference(load(job.path))
    except (ValueError, OSError) as error:
        return [], f"{job.path.name}: {type(error).__name__}: {error}"
    if len(wave) < MIN_SECONDS * RATE:
        return [], f"{job.path.name}: {len(wave) / RATE:.2f} s of speech, less than {MIN_SECONDS} s"
    rng = generator(seed, "partial", job.name)
    begin = rng.integers(max(len(wave) - samples, 0) + 1)
    wave = wave[begin : begin + samples]
    source = Source(wave, job.language, job.speaker)
    spoof = channel.band_limit(ATTACKS[job.attack](source, generator(seed, "partial attack", job.name)))
    top = channel.top_of(wave)
    codec = str(generator(seed, "codec", job.name).choice(channel.CODEC_NAMES))
    rows = []
    for kind, (whole, start, end) in zip(KINDS, compose(wave, spoof, rng), strict=True):
        sent = channel.transmit(whole, codec, generator(seed, "channel", job.name), top)
        late = delay(whole, sent)
        attack = "-" if kind == "control" else job.attack
        name = f"{job.name}-{kind.replace(' ', '-')}"
        write_flac(folder / f"{name}.flac", sent[:samples])
        label = "bonafide" if kind == "control" else "spoof"
        values = (name, str(folder / f"{name}.flac"), label, job.speaker, attack, codec, job.split, "demo-partial")
        places = {"kind": kind, "start": (start + late) / RATE, "end": (end + late) / RATE}
        group = "unseen" if job.attack in UNSEEN_ATTACKS else "known"
        rows.append(dict(zip(COLUMNS, values, strict=True)) | places | {"recording": job.name, "attacks": group})
    return rows, ""


def compose(bonafide: np.ndarray, spoof: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, int, int]]:
    """Return the clips of one recording before the channel, in the order of `KINDS`, each with the segment's start and end.

    Args:
        bonafide: `(samples,)` at 16 kHz.
        spoof: the same words at the same times; the longer of the two is cut to the length of the shorter.
        rng: draws the segment, over speech, and the time shift of the control.
    """
    size = min(len(bonafide), len(spoof))
    bonafide, spoof = bonafide[:size], spoof[:size]
    start, end = draw_segment(bonafide, rng)
    moved = np.roll(bonafide, round(rng.choice([-1, 1]) * rng.uniform(*MOVE_SECONDS) * RATE))
    pairs = ((bonafide, spoof), (spoof, bonafide), (bonafide, moved))
    return [(splice(host, inside, start, end), start, end) for host, inside in pairs]


def draw_segment(wave: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a segment of at most half the clip and return its start and end in samples.

    At least four fifths of the segment are speech, or as much as possible if no segment has that much.
    """
    longest = min(SEGMENT_SECONDS[1], len(wave) / RATE / 2)
    length = round(rng.uniform(SEGMENT_SECONDS[0], longest) * RATE)
    energy = np.mean(wave[: len(wave) // _HOP * _HOP].reshape(-1, _HOP) ** 2, axis=1)
    loud = np.concatenate([[0], np.cumsum(energy > energy.max() * 10 ** (-_LOUD_DB / 10))])
    margin, width = round(MARGIN_SECONDS * RATE / _HOP), length // _HOP
    firsts = np.arange(margin, len(energy) - width - margin)
    spoken = (loud[firsts + width] - loud[firsts]) / width
    start = int(rng.choice(firsts[spoken >= min(_SPOKEN, spoken.max())])) * _HOP
    return start, start + length


def splice(host: np.ndarray, inside: np.ndarray, start: int, end: int) -> np.ndarray:
    """Replace samples `start..end` of `host` by those of `inside`, scaled to the level of the replaced samples.

    The joints are cross-faded over 10 ms. More than 5 ms outside the segment nothing changes. All arrays are `(samples,)`.
    """
    half = round(FADE_SECONDS * RATE / 2)
    weight = np.zeros(len(host))
    rise = np.sin((np.arange(2 * half) + 0.5) / (2 * half) * np.pi / 2) ** 2
    weight[start + half : end - half] = 1
    weight[start - half : start + half], weight[end - half : end + half] = rise, rise[::-1]
    levels = [np.sqrt(np.mean(wave[start:end] ** 2)) for wave in (host, inside)]
    return host + weight * (inside * levels[0] / max(levels[1], 1e-9) - host)


def delay(wave: np.ndarray, sent: np.ndarray) -> int:
    """Return the delay of `sent` relative to `wave` in samples; negative if the channel trimmed the beginning."""
    lags = correlation_lags(len(sent), len(wave))
    return int(lags[np.argmax(correlate(sent, wave, method="fft"))])
