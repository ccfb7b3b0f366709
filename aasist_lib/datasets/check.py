"""Check of the audio: every clip is read to its end once, and unreadable clips are reported before training starts.

The check decodes the audio, because the header of a truncated file looks intact. Intact clips are stored in the corpus's cache
by path, size and modification time and are not checked again; damaged clips are checked every time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from aasist_lib import audio
from aasist_lib.config import Profile, project_root
from aasist_lib.config.augmentation import Background, Reverberation
from aasist_lib.errors import AasistError
from aasist_lib.runtime.files import atomic, sweep
from aasist_lib.runtime.kept import Key, changes, file_state, make_key, stored_key, write_table
from aasist_lib.runtime.processes import agreed, launched
from aasist_lib.runtime.run_folder import RunFolder

CHUNK = 64
"""Clips per task of a worker process."""
KEEP_SECONDS = 60
"""Seconds between two writes of the results so far."""
SHOWN = 10
_KEY = ["path", "size", "mtime_ns"]
_SPLITS = ("train", "dev", "eval")


class BadAudio(AasistError, ValueError):
    """Some clips cannot be used as audio; the message says how many, which, why, and how to fix it."""


def usable(profile: Profile, trials: pd.DataFrame, splits: Sequence[str] = _SPLITS) -> pd.DataFrame:
    """The trials of these splits whose clips can be read to their end.

    Of launched processes the main one checks, and the others wait. The rows that are left out, with reasons, are written to
    `trials/bad_audio_<split>.csv` of the run folder, and their number to the notes of its manifest.

    Args:
        profile: gives the corpus and the run folder; `training.bad_audio` says what to do with unreadable clips.
        trials: of `load_trials`.
        splits: the splits to check; rows of other splits are dropped.

    Raises:
        BadAudio: there are unreadable clips and the profile does not say `skip`, or a split has no other clips; or, if train
            is among the splits, the profile's folders of noises and impulse responses hold unreadable files.
        WorkError, SystemExit: see `processes.agreed`.
    """
    trials, memory = trials[trials["split"].isin(splits)].reset_index(drop=True), profile.data.cache_folder / "checked.parquet"
    found: list[list[int]] = [[]]
    with agreed():
        if launched().is_main_process:
            if "train" in splits:
                _refuse_bad_noises(profile, memory)
            bad = find_bad(trials, memory)
            found = [bad.index.tolist()]
            _report(profile, trials, bad)
    (left_out,) = broadcast_object_list(found)
    return trials.drop(index=left_out).reset_index(drop=True)


def find_bad(trials: pd.DataFrame, memory: Path) -> pd.DataFrame:
    """Rows of a trial table whose clips cannot be read to their end, with a column `reason` and the table's index.

    Args:
        trials: at least `path`; each path is checked once.
        memory: the parquet file that lists intact clips; new ones are added.
    """
    paths = trials["path"].unique().tolist()
    clips = pd.DataFrame([(path, *_state(path)) for path in paths], columns=_KEY)
    known = _read(memory)
    merged = clips.merge(known, on=_KEY, how="left", indicator=True)
    new = clips[(merged["_merge"] == "left_only").to_numpy()]
    reasons = _check(new, known, memory)
    bad = trials[trials["path"].isin(reasons)]
    return bad.assign(reason=bad["path"].map(reasons))


def _state(path: str) -> tuple[int, int]:
    try:
        size, mtime_ns = file_state(path)
    except OSError:  # the check will report it; no intact file has this state
        return -1, -1
    return size, mtime_ns


class _Clips(Dataset):
    """`row` -> why a clip cannot be read; '' if it can."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> str:
        return unusable_reason(self.paths[row])


def unusable_reason(path: str) -> str:
    """Why a file cannot be read to its end as audio; '' if it can."""
    try:
        for _ in audio.blocks(path):
            pass
    except audio.AudioError as error:
        return str(error).removeprefix(f"{audio.printable(path)}: ")
    return ""


def _check(clips: pd.DataFrame, known: pd.DataFrame, memory: Path) -> dict[str, str]:
    """Path -> reason for the unreadable clips; the others are added to the memory."""
    workers = min(len(os.sched_getaffinity(0)), len(clips) // CHUNK)
    if len(clips):
        print(
            f"audio: {len(clips)} clip(s) are read to their end by {workers or 1} process(es); intact clips only once",
            flush=True,
        )
    loader = DataLoader(_Clips(clips["path"].tolist()), CHUNK, num_workers=workers, collate_fn=list)
    reasons: list[str] = []
    bar, written = tqdm(total=len(clips), desc="checking audio", unit="clip", mininterval=5, disable=None), time.monotonic()
    try:
        for part in loader:
            reasons += part
            bar.update(len(part))
            if time.monotonic() - written > KEEP_SECONDS:
                _keep(clips, reasons, known, memory)
                written = time.monotonic()
    finally:
        bar.close()
        _keep(clips, reasons, known, memory)
    return {path: text for path, text in zip(clips["path"], reasons, strict=True) if text}


def _read(memory: Path) -> pd.DataFrame:
    nothing = pd.DataFrame(columns=_KEY).astype({"path": "str", "size": "int64", "mtime_ns": "int64"})
    if not memory.is_file():
        return nothing
    if different := changes(stored_key(memory), _key()):
        print(f"audio: {memory.name}: {different}: all clips are checked again", flush=True)
        return nothing
    return pd.read_parquet(memory, columns=_KEY)


def _key() -> Key:
    """The key of the list of intact clips: the code that reads audio."""
    return make_key(["aasist_lib.audio.io"], {})


def _keep(clips: pd.DataFrame, reasons: list[str], known: pd.DataFrame, memory: Path) -> None:
    """Write what is known to be sound; where the corpus' folder is read-only it is said, and checked again another time."""
    sound = clips.iloc[: len(reasons)][[not text for text in reasons]]
    if sound.empty:
        return
    sweep(memory.parent, deep=False)
    try:
        write_table(pd.concat([known[~known["path"].isin(sound["path"])], sound]), memory, _key())
    except OSError as error:
        print(
            f"audio: the list of {len(sound)} intact clips cannot be written, so the next run checks them again: {error}",
            flush=True,
        )


def _refuse_bad_noises(profile: Profile, memory: Path) -> None:
    """Unreadable noises and impulse responses are always an error: leaving them out would change the augmentation."""
    folders = []
    for item in profile.augmentation.items:
        if isinstance(item, Background):
            folders += [item.folder / kind for kind in item.kinds or (".",)]
        elif isinstance(item, Reverberation) and item.folder is not None:
            folders.append(item.folder)
    files = pd.DataFrame({"path": [str(file.absolute()) for folder in folders for file in audio.files_below(folder)]})
    if files.empty:
        return
    bad = find_bad(files, memory).drop_duplicates("path")
    if len(bad):
        names = ", ".join(map(str, folders))
        raise BadAudio(
            f"{len(bad)} file(s) of augmentation.distortions, in {names}, cannot be used as audio:{_first(bad)}\n"
            "Remove them from there, or fetch them again."
        )


def _first(bad: pd.DataFrame) -> str:
    lines = "".join(f"\n  {row.path}: {row.reason}" for row in bad.head(SHOWN).itertuples())
    return lines + (f"\n  … and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")


def _report(profile: Profile, trials: pd.DataFrame, bad: pd.DataFrame) -> None:
    """Write the lists, tell, note the numbers, and refuse where the profile says so or nothing is left."""
    run = RunFolder(project_root() / profile.folder)
    totals = trials["split"].value_counts()
    lists = [_write_list(run, split, bad[bad["split"] == split]) for split in totals.index]
    counts = {split: int((bad["split"] == split).sum()) for split in totals.index}
    if (run.folder / "manifest.json").is_file():
        run.annotate(**{f"bad_audio_{split}": number for split, number in counts.items()})
    if bad.empty:
        return
    of = ", ".join(f"{split} {number} of {totals[split]}" for split, number in counts.items() if number)
    where = ", ".join(str(path) for path in lists if path)
    text = f"{len(bad)} clip(s) cannot be used as audio ({of}):{_first(bad)}\nall of them, with the reasons: {where}"
    if profile.training.bad_audio == "error":
        raise BadAudio(
            f"{text}\nFetch or build these files again, take their lines out of the protocol, or set "
            "training.bad_audio=skip: the number skipped is recorded in the manifest and in the checkpoint."
        )
    if empty := [split for split, number in counts.items() if number == totals[split]]:
        raise BadAudio(f"{text}\nNothing is left of {', '.join(empty)}: is data.root = {profile.data.root} the right folder?")
    print(f"audio: {text}\nThey are left out (training.bad_audio: skip).", flush=True)


def _write_list(run: RunFolder, split: str, bad: pd.DataFrame) -> Path | None:
    """Write the unreadable clips of a split as CSV; without any, remove an earlier list."""
    path = run.folder / "trials" / f"bad_audio_{split}.csv"
    if bad.empty:
        path.unlink(missing_ok=True)
        return None
    with atomic(path) as file:
        bad[["utt_id", "path", "reason"]].to_csv(file, index=False)
    return path
