"""Feature bank: frozen features, computed once, stored on disk and memory-mapped by every epoch and every run.

A bank holds one or more *views* of each clip. View 0 of dev and eval is the clip's first `samples` samples, undistorted.
Views of train are random crops with random distortions, both drawn from (data.seed, view, utt_id): trainings with other seeds
share one bank. If the profile's distortions become stronger, the later views have the final strength. The folder's name is
a digest of the bank's key (`kept.make_key`): front end and its weights, layers, crop, distortions, seed, clips, code, versions.

On disk: `index.parquet` (the shard and the row of every utterance), `bank.json` (the key), and NumPy files
`shard-00000.npy` of shape `(clips, views, layers, frames, features)`. A shard is written by one process, so processes on
several machines can share the work.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from aasist_lib.config import Profile
from aasist_lib.datasets.clips import Clips, clips_for
from aasist_lib.errors import AasistError
from aasist_lib.models.base import Frontend
from aasist_lib.runtime.files import WriteError, advise, atomic, in_turn, sweep, to_json
from aasist_lib.runtime.kept import BY_CONTENT, Key, changes, clips_digest, digest, make_key
from aasist_lib.runtime.processes import agreed, launched

CHUNK = 32
"""Views of clips encoded at once; an interrupted computation resumes after the last such chunk."""
LARGEST_SHARD = 4096
"""Maximum number of views of clips per shard: 1.7 GB for one layer of XLS-R. An open shard uses a file descriptor."""
SHARDS = 16
"""Minimum number of shards, if there are as many clips: at most this many processes can share the work."""


class FeatureError(AasistError, ValueError):
    """A feature bank cannot be computed or read; the message says how to fix it."""


@dataclass(frozen=True)
class FeatureBank:
    """Finished features of a set of trials, memory-mapped: `bank[row, view]` is `(layers, frames, features)` float16, or
    float32 if the profile says so."""

    folder: Path
    shards: tuple[np.ndarray, ...]
    utt_ids: tuple[str, ...]
    rows: np.ndarray
    """Stored row of each clip, `(clips,)`."""

    def only(self, rows: np.ndarray) -> FeatureBank:
        """The bank of these rows."""
        return replace(self, utt_ids=tuple(np.array(self.utt_ids, dtype=object)[rows]), rows=self.rows[rows])

    @property
    def views(self) -> int:
        """Views of each clip."""
        return self.shards[0].shape[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(layers, frames, features)` of a clip."""
        return self.shards[0].shape[2:]

    def __len__(self) -> int:
        return len(self.utt_ids)

    def __getitem__(self, item: tuple[int, int]) -> np.ndarray:
        row, view = item
        shard, inside = divmod(int(self.rows[row]), len(self.shards[0]))
        return self.shards[shard][inside, view]

    def batches(self, batch_size: int, view: int = 0, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
        """Batches `(batch, layers, frames, features)` float32 of one view of rows `start` to `stop`, in their order."""
        stop = len(self) if stop is None else stop
        for first in range(start, stop, batch_size):
            rows = [self[row, view] for row in range(first, min(first + batch_size, stop))]
            # Torch widens fp16 several times as fast as NumPy.
            yield torch.from_numpy(np.stack(rows)).float()


def build_bank(
    profile: Profile, encoder: Frontend, trials: pd.DataFrame, *, train: bool, device: str | torch.device = "cpu"
) -> FeatureBank:
    """The bank of these trials; it is computed if it is not on disk, and an interrupted computation is resumed.

    Launched processes share the work by shards; the content of a shard does not depend on their number. Size and time are
    printed first.

    Args:
        profile: crop, distortions and `data.seed`.
        encoder: the front end (`build_frontend`), not fine-tuned.
        trials: rows of a trial table.
        train: True gives `augmentation.views` distorted views, False one clean view.
        device: where the encoder runs.

    Raises:
        FeatureError: the disk is too small, the encoder is fine-tuned, or features exceed the range of the stored number type.
        AudioError: a clip cannot be read.
    """
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise FeatureError(
            f"{encoder.name} is fine-tuned (model.frontend.finetune): cached features would belong to other weights; "
            "set training.feature_cache: false"
        )
    views = profile.augmentation.views if train else 1
    key = _key(profile, encoder, trials, views, train)
    folder = profile.data.cache_folder / "features" / digest(key)
    plan = _Plan(folder, len(trials), views, np.dtype(profile.training.feature_dtype))
    notice = f"features: another process is computing {folder}; waiting for it"
    with in_turn(folder / ".lock", notice) if launched().is_main_process and not plan.is_finished() else nullcontext():
        launched().wait_for_everyone()
        if not plan.is_finished():
            if launched().is_main_process:
                _say_what_changed(folder, key)
            waves = clips_for(profile, trials, train, profile.data.seed)
            _compute(plan, _Job(encoder.to(device), waves, profile.training.workers, device))
            with agreed():
                if launched().is_main_process:
                    _finish(plan, trials, key)
    shards = tuple(_mapped(plan.file(shard)) for shard in range(plan.count))
    return FeatureBank(folder, shards, tuple(trials["utt_id"]), np.arange(len(trials)))


def _mapped(file: Path) -> np.memmap:
    """Memory-map a finished shard; a file with anything but numbers, such as a pickle, is refused."""
    try:
        return np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:
        raise FeatureError(f"{file}: no array of numbers, or damaged: {error}; delete {file.parent}") from error


def _key(profile: Profile, encoder: Frontend, trials: pd.DataFrame, views: int, train: bool) -> Key:
    settings: dict[str, Any] = {"encoder": encoder.identity(), "samples": profile.model.samples, "views": views}
    settings["dtype"] = profile.training.feature_dtype
    if train:
        settings |= {"augmentation": profile.augmentation.model_dump(mode="json", exclude={"rise"}), "seed": profile.data.seed}
    undistorted = () if train else ("aasist_lib.augment", "aasist_lib.config.augmentation")
    entries = ("aasist_lib.datasets.feature_bank", type(encoder).__module__)
    return make_key(entries, settings, {"the clips": clips_digest(trials)}, (*BY_CONTENT, *undistorted))


def _say_what_changed(folder: Path, key: Key) -> None:
    """If features with the same settings and clips were made by other code, print why they are not used."""
    for file in sorted(folder.parent.glob("*/bank.json"), key=os.path.getmtime, reverse=True):
        old = json.loads(file.read_text(encoding="utf-8"))
        if file.parent != folder and all(old.get(part) == key[part] for part in ("settings", "data")):
            size = sum(shard.stat().st_size for shard in file.parent.glob("*.npy")) / 1e9
            print(
                f"features: {changes(old, key)}: computed anew; the old ones stay in {file.parent} ({size:.1f} GB, which you "
                "may delete)",
                flush=True,
            )  # fmt: skip
            return


# ---- shards ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """How the features of `clips` clips in `views` views are laid out in files of `folder`."""

    folder: Path
    clips: int
    views: int
    dtype: np.dtype

    @property
    def rows(self) -> int:
        """Clips of a shard; the last may have fewer."""
        return max(1, min(LARGEST_SHARD // self.views, -(-self.clips // SHARDS)))

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-self.clips // self.rows)

    def file(self, shard: int) -> Path:
        """The file of a finished shard."""
        return self.folder / f"shard-{shard:05d}.npy"

    def part(self, shard: int) -> Path:
        """The file of an unfinished shard."""
        return self.folder / f"shard-{shard:05d}.part.npy"

    def counter(self, shard: int) -> Path:
        """The file with the number of items in an unfinished shard."""
        return self.folder / f"shard-{shard:05d}.part.json"

    def is_finished(self) -> bool:
        """Whether the bank is complete."""
        return (self.folder / "bank.json").is_file() and not self.unfinished()

    def unfinished(self) -> list[int]:
        """Missing shards."""
        return [shard for shard in range(self.count) if not self.file(shard).is_file()]

    def items(self, shard: int) -> list[tuple[int, int]]:
        """The `(row, view)`s of a shard in the order in which they are computed."""
        rows = range(shard * self.rows, min((shard + 1) * self.rows, self.clips))
        return [(row, view) for view in range(self.views) for row in rows]

    def done(self, shard: int) -> int:
        """Number of items of an unfinished shard that an earlier call computed."""
        kept = self.counter(shard).is_file() and self.part(shard).is_file()
        return int(self.counter(shard).read_text()) if kept else 0

    def open_part(self, shard: int, shape: tuple[int, ...]) -> np.memmap:
        """The array `(clips, views, layers, frames, features)` of an unfinished shard, for writing."""
        if self.done(shard):
            return np.load(self.part(shard), mmap_mode="r+")
        part, clips = self.part(shard), len(self.items(shard)) // self.views
        whole = (clips, self.views, *shape)
        try:
            array = np.lib.format.open_memmap(part, mode="w+", dtype=self.dtype, shape=whole)
            with open(part, "r+b") as file:  # allocate now: a disk that fills up later would kill the process (SIGBUS)
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise WriteError(advise(error, part)) from error
        return array


class _Writer:
    """Writes features into shards in the order of `_Plan.items`; a kill loses at most the current chunk."""

    def __init__(self, plan: _Plan) -> None:
        self.plan, self.shard, self.done = plan, -1, 0
        self.array: Any = np.zeros(0)  # later the open shard, a memory map

    def add(self, shard: int, items: list[tuple[int, int]], states: np.ndarray) -> None:
        """`states (items, layers, frames, features)` of these items of a shard."""
        plan = self.plan
        if shard != self.shard:
            self.shard, self.array, self.done = shard, plan.open_part(shard, states.shape[1:]), plan.done(shard)
        rows, views = np.array(items).T
        self.array[rows - shard * plan.rows, views] = states
        self.array.flush()
        self.done += len(items)
        if self.done < len(self.array) * plan.views:
            with atomic(plan.counter(shard)) as file:
                file.write_text(str(self.done))
            return
        plan.part(shard).rename(plan.file(shard))
        plan.counter(shard).unlink(missing_ok=True)


# ---- work ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """Computes features of items: an encoder on its device, waveforms, and worker processes that read them."""

    encoder: Frontend
    waves: Clips
    workers: int
    device: str | torch.device

    def cost(self, items: list[tuple[int, int]]) -> tuple[int, float]:
        """Numbers and seconds per item, measured; with worker processes one item is read while another is encoded."""
        started = time.perf_counter()
        batch = _stacked([self.waves[item] for item in items]).to(self.device)
        reading = (time.perf_counter() - started) / len(items)
        for _ in range(2):  # the first warms up
            started = time.perf_counter()
            states = self.encoder(batch).cpu()
        encoding = (time.perf_counter() - started) / len(items)
        return states[0].numel(), max(reading / self.workers, encoding) if self.workers else reading + encoding

    def features(self, batches: list[list[tuple[int, int]]], dtype: np.dtype) -> Iterator[np.ndarray]:
        """States `(batch, layers, frames, features)` of each batch of items. On a GPU a batch is copied back
        and written while the next is computed."""
        on_gpu, kept = torch.device(self.device).type == "cuda", torch.from_numpy(np.zeros(0, dtype)).dtype
        options: dict[str, Any] = {"num_workers": self.workers, "collate_fn": _stacked, "pin_memory": on_gpu}
        loader = DataLoader(self.waves, batch_sampler=batches, **options)
        if not on_gpu:
            yield from (self.encoder(waveform.to(self.device)).to(kept).cpu().numpy() for waveform in loader)
            return
        waiting: tuple[Tensor, torch.cuda.Event] | None = None
        for waveform in loader:
            states = self.encoder(waveform.to(self.device, non_blocking=True)).to(kept).to("cpu", non_blocking=True)
            arrived = torch.cuda.current_stream().record_event()
            if waiting:
                waiting[1].synchronize()
                yield waiting[0].numpy()
            waiting = states, arrived
        if waiting:
            waiting[1].synchronize()
            yield waiting[0].numpy()


def _stacked(waves: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(waves))


def _compute(plan: _Plan, job: _Job) -> None:
    """Compute the missing shards, shared among the launched processes."""
    unfinished, world = plan.unfinished(), launched()
    if not unfinished:  # killed between the last shard and the index
        return
    with agreed():
        if world.is_main_process:
            _announce(plan, unfinished, job)
    with agreed():
        _write(plan, unfinished[world.process_index :: world.num_processes], job)


def _write(plan: _Plan, shards: list[int], job: _Job) -> None:
    """Compute these shards; resume where an earlier call stopped."""
    work = []
    for shard in shards:
        todo = plan.items(shard)[plan.done(shard) :]
        work += [(shard, todo[start : start + CHUNK]) for start in range(0, len(todo), CHUNK)]
    batches = [items for _, items in work]
    title = "features" if launched().num_processes == 1 else f"features, 1 of {launched().num_processes}"
    hidden = None if launched().is_main_process else True  # None: hidden unless there is a terminal
    writer, bar = _Writer(plan), tqdm(total=sum(map(len, batches)), desc=title, unit="clip", mininterval=5, disable=hidden)
    for (shard, items), states in zip(work, job.features(batches, plan.dtype), strict=True):
        _refuse_infinite(states, [job.waves.ids[row] for row, _ in items], plan.dtype)
        writer.add(shard, items, states)
        bar.update(len(items))
    bar.close()


def _refuse_infinite(states: np.ndarray, ids: list[str], dtype: np.dtype) -> None:
    if np.isfinite(states).all():
        return
    bad = {utt_id for utt_id, each in zip(ids, states, strict=True) if not np.isfinite(each).all()}
    raise FeatureError(
        f"features of {', '.join(sorted(bad))} are not finite in {dtype}; if these clips are intact, the range of the "
        "number type is too small: set training.feature_dtype=float32"
    )


def _announce(plan: _Plan, unfinished: list[int], job: _Job) -> None:
    """Print what will be computed, its size and its duration; raise an error if the disk is too small."""
    todo = sum(len(plan.items(shard)) - plan.done(shard) for shard in unfinished)
    numbers, seconds = job.cost([(row, 0) for row in range(min(8, plan.clips))])
    size = plan.dtype.itemsize * numbers
    needed, free = todo * size, shutil.disk_usage(plan.folder).free
    hours = seconds * todo / min(launched().num_processes, len(unfinished)) / 3600
    whole = plan.clips * plan.views
    there = f", {whole - todo} of {whole} there already" if todo < whole else ""
    time_left = f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"
    print(
        f"features: {plan.clips} clips x {plan.views} view(s), {whole * size / 1e9:.2f} GB in {plan.folder}{there}; "
        f"{needed / 1e9:.2f} GB to be computed, {free / 1e9:.0f} GB free; about {time_left}",
        flush=True,
    )
    if needed > free:
        raise FeatureError(
            f"{plan.folder}: {needed / 1e9:.1f} GB of features, {free / 1e9:.1f} GB free; "
            "keep fewer layers (model.frontend), fewer augmentation.views, or set training.feature_cache=false"
        )


def _finish(plan: _Plan, trials: pd.DataFrame, key: Key) -> None:
    sweep(plan.folder)
    for shard in range(plan.count):
        plan.counter(shard).unlink(missing_ok=True)  # left if a process was killed between its last two steps
    shards, rows = np.divmod(np.arange(plan.clips), plan.rows)
    index = pd.DataFrame({"utt_id": trials["utt_id"].to_numpy(), "shard": shards, "row": rows})
    with atomic(plan.folder / "index.parquet") as file:
        index.to_parquet(file, index=False)
    with atomic(plan.folder / "bank.json") as file:
        file.write_text(to_json(key))
