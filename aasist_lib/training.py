"""Training on `accelerate`: one function for the notebook and for `accelerate launch`, on CPU, one GPU or many.

Selection sees dev only: the best checkpoint, the loss switch and early stopping follow the dev EER, and nothing here takes
or opens an evaluation split. Every process computes the dev EER from the gathered scores, so all agree on the loss.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, Sampler

from aasist_lib.augment import Strength, progress, strength
from aasist_lib.checkpoints import save_checkpoint
from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.features import FeatureBank, Waves, build_bank, waves_for
from aasist_lib.losses import LossSchedule
from aasist_lib.metrics import eer
from aasist_lib.models import AASIST, build_model
from aasist_lib.runs import RunFolder, atomic, to_json


class TrainingError(ValueError):
    """Training cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class EpochRecord:
    """One row of `metrics/history.parquet`; EER as a fraction, `seconds` of wall clock. The loss' and the distortions' schedule
    stand in it as they were in that epoch."""

    epoch: int
    train_loss: float
    dev_loss: float
    dev_eer: float
    dev_threshold: float
    learning_rate: float
    focal_weight: float
    augmentation_probability: float
    augmentation_intensity: float
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """`history` has the columns of `EpochRecord`; epochs count from 1; `switch_epoch` is the first with focal loss."""

    history: pd.DataFrame
    best_epoch: int
    switch_epoch: int | None
    checkpoint: Path


class TrialData(Dataset):
    """`row -> (input, label, row)`: encoder states from a bank (fp16), or the waveform (float32) where there is none.

    On the fly every epoch sees a fresh distortion of the strength set. From a bank it sees one of the views; those of the end
    of the rise as often as the rise has come far. With `crop_frames` that many frames are cut from a random one on; the end
    goes on at the beginning, as in the repeated waveform.
    """

    def __init__(
        self, trials: pd.DataFrame, source: FeatureBank | Waves, seed: int, crop_frames: int | None = None,
        first_risen_view: int | None = None,
    ) -> None:  # fmt: skip
        self.source, self.seed, self.crop_frames, self.first_risen_view = source, seed, crop_frames, first_risen_view
        self.labels = (trials["label"] == "bonafide").to_numpy().astype(np.int64)
        # In shared memory: what is set here reaches workers that are running already.
        self._now = torch.zeros(4, dtype=torch.float64).share_memory_()

    def begin(self, epoch: int, at: Strength) -> None:
        """What the next pass over the data is to give."""
        self._now[:] = torch.tensor([epoch, at.probability, at.intensity, at.progress], dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int, int]:
        epoch, *at = self._now.tolist()
        if isinstance(self.source, Waves):
            return self.source.wave(row, int(epoch), Strength(*at)), self.labels[row], row
        rng = np.random.default_rng([self.seed, int(epoch), row])
        states = self.source[row, self._view(rng, Strength(*at).progress)]
        if self.crop_frames:
            start = rng.integers(states.shape[1])
            return states.take(range(start, start + self.crop_frames), axis=1, mode="wrap"), self.labels[row], row
        return np.array(states), self.labels[row], row

    def _view(self, rng: np.random.Generator, progress: float) -> int:
        views, first = self.source.views, self.first_risen_view
        if first is None or first == views:
            return rng.integers(views)
        return rng.integers(first, views) if rng.random() < progress else rng.integers(first)


class EpochSampler(Sampler[int]):
    """A permutation of the rows that depends on (seed, epoch) only, so that a resumed run sees the same batches."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist())


def train(profile: Profile, run: RunFolder, on_epoch: Callable[[EpochRecord], None] | None = None) -> TrainingResult:
    """Train the profile's detector on its train split, selecting on dev, or go on where an earlier call stopped.

    Args:
        profile: everything that determines the result.
        run: gets `checkpoints/best`, `checkpoints/last.pt` and `metrics/history.parquet`.
        on_epoch: called with each epoch's record (main process), e.g. to draw.

    Raises:
        TrainingError: train or dev lacks a class, or the loss is NaN or infinite.
        TrialTableError, AudioError, EncoderUnavailable: the data or the encoder is at fault.
    """
    trainer = Trainer(profile, run)
    return trainer.fit(on_epoch or (lambda record: None))


class Trainer:
    """The state of one training; `train` is the way in."""

    def __init__(self, profile: Profile, run: RunFolder) -> None:
        self.profile, self.run, self.settings = profile, run, profile.training
        tracker = None if self.settings.tracker == "none" else self.settings.tracker
        self.accelerator = Accelerator(
            mixed_precision=self.settings.mixed_precision, log_with=tracker, project_dir=str(run.folder)
        )
        if tracker:
            self.accelerator.init_trackers(profile.name, config={"profile": profile.model_dump_json()})
        set_seed(profile.seed)
        self.model = build_model(profile.model)
        self.encoder_facts = self.model.frontend.identity()
        trials = load_trials(profile.data)
        self.train_trials, self.dev_trials = (_both_classes(trials, split) for split in ("train", "dev"))
        self.schedule = LossSchedule(profile.loss)
        self.records: list[EpochRecord] = []
        self._prepare()

    def fit(self, on_epoch: Callable[[EpochRecord], None]) -> TrainingResult:
        """Run the epochs that are left."""
        last = self.run.path("checkpoints", "last.pt")
        first = self._resume(last) + 1
        for epoch in range(first, self.settings.epochs + 1):
            if self._out_of_patience():
                break
            record = self._epoch(epoch)
            self._keep(record, last)
            if self.accelerator.is_main_process:
                on_epoch(record)
        self.accelerator.end_training()
        return TrainingResult(
            self._history(), self._best().epoch, self.schedule.switch_epoch, self.run.path("checkpoints", "best")
        )

    def _prepare(self) -> None:
        """Data, optimiser and schedule, handed to accelerate. With a bank only the back end takes part."""
        profile, settings = self.profile, self.settings
        trained: nn.Module = self.model.backend if settings.feature_cache else self.model
        train_source, dev_source = self._source(self.train_trials, True), self._source(self.dev_trials, False)
        risen = profile.augmentation.first_risen_view
        train_data = TrialData(self.train_trials, train_source, profile.seed, settings.crop_frames, risen)
        dev_data = TrialData(self.dev_trials, dev_source, profile.seed)
        self.sampler, self.train_data = EpochSampler(len(train_data), profile.seed), train_data
        # A batch of one would break batch normalisation; the remainder comes round in another epoch's order.
        options = {"batch_size": settings.batch_size, "num_workers": settings.workers}
        options["persistent_workers"] = settings.workers > 0
        train_loader = DataLoader(train_data, sampler=self.sampler, drop_last=len(train_data) > settings.batch_size, **options)
        dev_loader = DataLoader(dev_data, **options)
        parameters = [p for p in trained.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
        self.trained, self.optimiser, self.train_loader, self.dev_loader = self.accelerator.prepare(
            trained, optimiser, train_loader, dev_loader
        )
        self.averaged = None
        if settings.average:
            average = get_ema_multi_avg_fn(settings.average)
            self.averaged = AveragedModel(self._trained_backend(), multi_avg_fn=average, use_buffers=True)
        steps = len(self.train_loader) * settings.epochs
        warmup = max(1, round(len(self.train_loader) * settings.warmup_epochs))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser.optimizer, lambda step: _cosine(step, warmup, steps, settings.final_rate)
        )

    def _source(self, trials: pd.DataFrame, train: bool) -> FeatureBank | Waves:
        profile = self.profile
        if not self.settings.feature_cache:
            return waves_for(profile, trials, train, profile.seed)
        with self.accelerator.main_process_first():
            return build_bank(profile, self.model.frontend, trials, train=train, device=self.accelerator.device)

    def _epoch(self, epoch: int) -> EpochRecord:
        started = time.monotonic()
        at = self._strength(epoch)
        self.sampler.epoch = epoch
        self.train_data.begin(epoch, at)
        # Dropout draws from torch's generator: seeding it an epoch makes a resumed run equal an undisturbed one.
        set_seed(self.profile.seed * 100_003 + epoch)
        self.trained.train()
        losses = [self._step(*batch[:2], epoch) for batch in self.train_loader]
        train_loss = float(self.accelerator.gather(torch.stack(losses).mean().reshape(1)).mean())
        if not math.isfinite(train_loss):
            raise TrainingError(
                f"epoch {epoch}: the loss is {train_loss}; lower training.learning_rate (last.pt is of epoch {epoch - 1})"
            )
        scores, labels, dev_loss = self._score_dev()
        rate, threshold = eer(scores[labels == 1], scores[labels == 0])
        record = EpochRecord(
            epoch, train_loss, dev_loss, rate, threshold, self.scheduler.get_last_lr()[0],
            self.schedule.focal_weight(epoch), at.probability, at.intensity, time.monotonic() - started,
        )  # fmt: skip
        self.accelerator.log({k: v for k, v in asdict(record).items() if k != "epoch"}, step=epoch)
        return record

    def _strength(self, epoch: int) -> Strength:
        """Of the distortions: they rise from the loss switch on, or from the first epoch where the loss is focal throughout."""
        config, switch = self.profile.augmentation, self.schedule.switch_epoch
        return strength(config, progress(config, epoch, 1 if self.profile.loss.kind == "focal" else switch))

    def _step(self, inputs: Tensor, labels: Tensor, epoch: int) -> Tensor:
        inputs = inputs.float()
        share, order = self._mixing(len(inputs), inputs.device)
        if share < 1:
            inputs = inputs.lerp(inputs[order], 1 - share)
        logits = self.trained(inputs).float()
        loss = self._loss(logits, labels, epoch)
        if share < 1:
            loss = share * loss + (1 - share) * self._loss(logits, labels[order], epoch)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.trained.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self._trained_backend())
        self.scheduler.step()
        self.optimiser.zero_grad()
        return loss.detach()

    def _loss(self, logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """Mean over members, where the back end has several: their logits are `(members, batch, 2)`."""
        logits = logits.flatten(0, -2)
        return self.schedule.loss(logits, labels.repeat(len(logits) // len(labels)), epoch)

    def _mixing(self, size: int, device: torch.device) -> tuple[float, Tensor | None]:
        """Mixup (Zhang et al. 2018): the share of the batch itself, and the order of the partners. (1, None) without."""
        if not self.settings.mixup:
            return 1.0, None
        share = torch.distributions.Beta(self.settings.mixup, self.settings.mixup).sample().item()
        return share, torch.randperm(size).to(device)

    @torch.inference_mode()
    def _score_dev(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Scores and labels of all dev trials on every process, and the mean cross-entropy in nats."""
        backend = self._backend().eval()
        parts = []
        for inputs, labels, rows in self.dev_loader:
            states = inputs if self.settings.feature_cache else self.model.frontend(inputs)
            logits = backend(states.float()).float()
            parts.append(self.accelerator.gather_for_metrics((logits, labels, rows)))
        logits, labels, rows = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
        order = rows.argsort()
        logits, labels = logits[order], labels[order]
        loss = nn.functional.cross_entropy(logits, labels, weight=torch.tensor(self.profile.loss.class_weights))
        return (logits[:, 1] - logits[:, 0]).numpy().astype(np.float64), labels.numpy(), float(loss)

    def _keep(self, record: EpochRecord, last: Path) -> None:
        """Note the epoch, move the loss if dev says so, and write best and last checkpoints."""
        improved = not self.records or _rank(record) < _rank(self._best())
        self.records.append(record)
        self.schedule.observe(record.epoch, record.dev_eer)
        if not self.accelerator.is_main_process:
            return
        if improved:
            facts = {"model": self.profile.model.model_dump(mode="json"), "encoder": self.encoder_facts, **asdict(record)}
            save_checkpoint(self.run.path("checkpoints", "best"), self._backend().state_dict(), facts)
        state = {
            "key": self._key(), "backend": self._trained_backend().state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(), "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(), "switch_epoch": self.schedule.switch_epoch,
            "records": [asdict(r) for r in self.records],
        }  # fmt: skip
        with atomic(last) as file:
            torch.save(state, file)
        self.run.write_parquet("metrics/history.parquet", self._history())

    def _resume(self, last: Path) -> int:
        """The last finished epoch: 0 when there is none, or when it belongs to other settings."""
        if not last.is_file():
            return 0
        state = torch.load(last, map_location="cpu", weights_only=True)
        if state["key"] != self._key():
            self.accelerator.print("training: settings or data have changed since the last checkpoint; starting anew")
            return 0
        self._trained_backend().load_state_dict(state["backend"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.schedule.switch_epoch = state["switch_epoch"]
        self.records = [EpochRecord(**record) for record in state["records"]]
        self.accelerator.print(f"training: going on after epoch {len(self.records)}")
        return len(self.records)

    def _key(self) -> str:
        """A hash of all that determines the result: a checkpoint with another key is not gone on from."""
        profile = self.profile.model_dump(mode="json", include={"seed", "model", "loss", "augmentation", "training"})
        columns = ["utt_id", "label", "split"]
        ids = pd.concat([self.train_trials, self.dev_trials])[columns].to_csv()
        return hashlib.sha256((to_json([profile, self.encoder_facts]) + ids).encode()).hexdigest()

    def _backend(self) -> nn.Module:
        """What dev judges and the checkpoint keeps: the averaged back end where there is one."""
        return self._trained_backend() if self.averaged is None else self.averaged.module

    def _trained_backend(self) -> nn.Module:
        unwrapped = self.accelerator.unwrap_model(self.trained)
        return unwrapped.backend if isinstance(unwrapped, AASIST) else unwrapped

    def _history(self) -> pd.DataFrame:
        return pd.DataFrame([asdict(record) for record in self.records])

    def _best(self) -> EpochRecord:
        return min(self.records, key=_rank)

    def _out_of_patience(self) -> bool:
        return bool(self.records) and len(self.records) - self._best().epoch >= self.settings.patience


def _rank(record: EpochRecord) -> tuple[float, float]:
    """Lower is better: dev EER first, dev loss among equals."""
    return record.dev_eer, record.dev_loss


def _cosine(step: int, warmup: int, steps: int, final: float) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine from 1 down to `final` at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _both_classes(trials: pd.DataFrame, split: str) -> pd.DataFrame:
    chosen: Any = trials[trials["split"] == split].reset_index(drop=True)
    counts = chosen["label"].value_counts().to_dict()
    if len(counts) < 2:
        raise TrainingError(f"split '{split}' has {counts or 'no trials'}; bona fide and spoofed trials are both needed")
    return chosen
