"""Training on `accelerate`: one function for the notebook and for `accelerate launch`, on CPU, one GPU or many.

Selection sees dev only: the best checkpoint, the loss switch and early stopping follow the dev EER, and nothing here takes
or opens an evaluation split. Every process computes the dev EER from the gathered scores, so all agree on the loss.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, broadcast, set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from aasist_lib.augment import Strength, progress, strength
from aasist_lib.config import Profile
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.check import usable
from aasist_lib.datasets.clips import Waves, waves_for
from aasist_lib.datasets.feature_bank import FeatureBank, build_bank
from aasist_lib.datasets.training_set import EpochSampler, TrialData, both_classes, contents
from aasist_lib.losses import LossSchedule
from aasist_lib.metrics import ScoreWarning, calibrate_fit, eer
from aasist_lib.models import build_model
from aasist_lib.models.checkpoints import (
    BEST,
    STATE,
    put_aside,
    put_weights,
    read_facts,
    read_state,
    save_checkpoint,
    save_state,
    trained_weights,
)  # fmt: skip
from aasist_lib.runtime.kept import Key, changes, clips_digest, make_key, trials_digest
from aasist_lib.runtime.processes import agreed, team, team_alone
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.training.averaging import WeightAverage
from aasist_lib.training.nan_guard import TrainingError as TrainingError
from aasist_lib.training.nan_guard import Watch

DevScores = tuple[np.ndarray, np.ndarray]
"""Scores of the bona fide and of the spoofed dev trials."""


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


def train(profile: Profile, run: RunFolder, on_epoch: Callable[[EpochRecord], None] | None = None) -> TrainingResult:
    """Train the profile's detector on its train split, selecting on dev, or resume where an earlier call stopped.

    A training that was made with other settings, data, code or versions is put aside, in `checkpoints/before-<time>`, and this
    one starts anew.

    Args:
        profile: everything that determines the result.
        run: gets `checkpoints/best`, `checkpoints/last.pt` and `metrics/history.parquet`.
        on_epoch: called with each epoch's record (main process), e.g. to draw.

    Raises:
        TrainingError: another process trains in the same folder, train or dev lacks a class, loss or gradients are NaN or
            infinite, or the detector gives all dev clips the same score.
        TrialTableError, BadAudio, EncoderUnavailable: the data or the encoder is at fault.
    """
    busy = TrainingError(f"another training is working in {run.folder}; wait for it, or set run_dir")
    with team_alone(run.path("checkpoints", ".train.lock"), busy):
        if team().is_main_process:
            run.sweep()
        return Trainer(profile, run).fit(on_epoch or (lambda record: None))


class Trainer:
    """The state of one training; `train` is the way in."""

    trained: nn.Module

    def __init__(self, profile: Profile, run: RunFolder) -> None:
        self.profile, self.run, self.settings = profile, run, profile.training
        tracker = None if self.settings.tracker == "none" else self.settings.tracker
        team()  # first, for its patience
        AcceleratorState._reset_state()  # else the precision of a kernel's first training would hold for all
        self.accelerator = Accelerator(
            mixed_precision=self.settings.mixed_precision, log_with=tracker, project_dir=str(run.folder),
            dataloader_config=DataLoaderConfiguration(non_blocking=True),
        )  # fmt: skip
        if tracker:
            self.accelerator.init_trackers(profile.name, config={"profile": profile.model_dump_json()})
        set_seed(profile.seed)
        self.model = build_model(profile.model)
        self.encoder_facts = self.model.frontend.identity()
        listed = load_trials(profile.data)
        trials = usable(profile, listed, ("train", "dev"))
        self.left_out = int(listed["split"].isin(("train", "dev")).sum()) - len(trials)
        self.train_trials, self.dev_trials = (both_classes(trials, split) for split in ("train", "dev"))
        self.schedule = LossSchedule(profile.loss)
        self.records: list[EpochRecord] = []
        self._prepare()
        self.key = self._key()

    def fit(self, on_epoch: Callable[[EpochRecord], None]) -> TrainingResult:
        """Run the epochs that are left."""
        if self.accelerator.num_processes > 1:
            self.accelerator.print(f"training: {self.accelerator.num_processes} processes")
        last = self.run.path("checkpoints", STATE)
        first = self._resume(last) + 1
        if self._out_of_patience() or first > self.settings.epochs:
            self.accelerator.print(f"training: finished ({first - 1} epochs), nothing to do")
        for epoch in range(first, self.settings.epochs + 1):
            if self._out_of_patience():
                break
            record, dev_scores = self._epoch(epoch)
            self._keep(record, dev_scores, last)
            if self.accelerator.is_main_process:
                on_epoch(record)
        if self.accelerator.is_main_process:  # once more: a kill may have come between the last checkpoint and its history
            self.run.write_parquet("metrics/history.parquet", self._history())
            with self.run.manifest_update() as manifest:
                manifest["trained"] = {"epochs": len(self.records), "settings": self.profile.training_settings()}
        self.accelerator.wait_for_everyone()  # and with nothing left that would still talk to the others
        (self.trained,) = self.accelerator.free_memory(self.trained)
        self.accelerator.end_training()
        self._refuse_constant(self._best())
        return TrainingResult(
            self._history(), self._best().epoch, self.schedule.switch_epoch, self.run.path("checkpoints", BEST)
        )

    def _refuse_constant(self, best: EpochRecord) -> None:
        facts = read_facts(self.run.path("checkpoints", BEST))
        if facts.get("calibration", True) is None:  # it was fitted unless all scores were equal
            raise TrainingError(
                f"every dev clip has the same score, also in epoch {best.epoch}, the best: the detector tells nothing apart. "
                "Lower training.learning_rate, or look at the features (a bank or encoder that gives the same for all clips)"
            )

    def _prepare(self) -> None:
        """Data, optimiser and schedule, handed to accelerate. With a bank only the back end takes part."""
        profile, settings = self.profile, self.settings
        # accelerate puts autocast into the forward of the very module it is given. The back end stays without: dev is scored
        # as everything else is, in fp32 behind an encoder of `model.frontend.precision`.
        trained: nn.Module = nn.Sequential(self.model.backend) if settings.feature_cache else self.model
        train_source, dev_source = self._source(self.train_trials, True), self._source(self.dev_trials, False)
        self.sources = ("train", self.train_trials, train_source), ("dev", self.dev_trials, dev_source)
        risen = profile.augmentation.first_risen_view
        train_data = TrialData(self.train_trials, train_source, profile.seed, settings.crop_frames, risen)
        dev_data = TrialData(self.dev_trials, dev_source, profile.seed)
        self.sampler, self.train_data = EpochSampler(len(train_data), profile.seed), train_data
        # A batch of one would break batch normalisation; the remainder comes round in another epoch's order.
        options: dict[str, Any] = {"batch_size": settings.batch_size, "num_workers": settings.workers}
        options |= {"persistent_workers": settings.workers > 0, "pin_memory": self.accelerator.device.type == "cuda"}
        if settings.workers:  # their seeds, of which nothing here is drawn, come from elsewhere than the dropout: see `_epoch`
            options["generator"] = torch.Generator()
        with agreed():
            self._refuse_too_few(len(train_data))
        train_loader = DataLoader(train_data, sampler=self.sampler, drop_last=len(train_data) > settings.batch_size, **options)
        dev_loader = DataLoader(dev_data, **options)
        optimiser = torch.optim.AdamW(self._groups(), weight_decay=settings.weight_decay, fused=True)
        self.trained, self.optimiser, self.train_loader, self.dev_loader = self.accelerator.prepare(
            trained, optimiser, train_loader, dev_loader
        )
        self.averaged = WeightAverage(self.model, settings.average) if settings.average else None
        steps = len(self.train_loader) * settings.epochs
        warmup = max(1, round(len(self.train_loader) * settings.warmup_epochs))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser.optimizer, lambda step: _cosine(step, warmup, steps, settings.final_rate)
        )

    def _refuse_too_few(self, clips: int) -> None:
        """Batches are shared among processes, and each needs one."""
        size, processes = self.settings.batch_size, self.accelerator.num_processes
        if size < clips < size * processes:
            raise TrainingError(
                f"{clips} train clips make {clips // size} full batch(es) of {size}, and {processes} processes each need one: "
                f"set training.batch_size={max(2, clips // processes)}, or start fewer processes"
            )

    def _groups(self) -> list[dict[str, Any]]:
        """The optimiser's parameter groups: the back end, and at its own rate what of the encoder is fine-tuned."""
        backend, tuned = (
            [parameter for parameter in part.parameters() if parameter.requires_grad]
            for part in (self.model.backend, self.model.frontend)
        )
        groups = [{"params": backend, "lr": self.settings.learning_rate}]
        return [*groups, {"params": tuned, "lr": self.settings.encoder_learning_rate}] if tuned else groups

    def _source(self, trials: pd.DataFrame, train: bool) -> FeatureBank | Waves:
        profile = self.profile
        if not self.settings.feature_cache:
            return waves_for(profile, trials, train, profile.seed)
        return build_bank(profile, self.model.frontend, trials, train=train, device=self.accelerator.device)

    def _epoch(self, epoch: int) -> tuple[EpochRecord, DevScores]:
        started = time.monotonic()
        at = self._strength(epoch)
        self.sampler.epoch = epoch
        self.train_data.begin(epoch, at)
        # Dropout draws from torch's generator: seeding it an epoch makes a resumed run equal an undisturbed one. Processes that
        # see other clips drop other things.
        set_seed(self.profile.seed * 100_003 + epoch, device_specific=True)
        if self.settings.workers:
            # A loader without workers draws a number at the beginning of every epoch, one with workers only as it starts
            # them. So that neither their number nor a restart changes the dropout, it has its own generator, and we draw here.
            torch.empty((), dtype=torch.int64).random_()
        self.trained.train()
        watch = Watch(self.accelerator, epoch, self.train_trials["utt_id"].tolist())
        hidden = None if self.accelerator.is_main_process else True  # None: where there is no terminal
        for inputs, labels, rows in tqdm(self.train_loader, f"epoch {epoch}", leave=False, mininterval=5, disable=hidden):
            watch.note(*self._step(inputs, labels, epoch), rows)
        train_loss = watch.mean_loss()
        with self._judged():
            scores, labels, dev_loss = self._score_dev()
        dev_scores = scores[labels == 1], scores[labels == 0]
        rate, threshold = eer(*dev_scores)
        record = EpochRecord(
            epoch, train_loss, dev_loss, rate, threshold, float(self.scheduler.get_last_lr()[0]),
            self.schedule.focal_weight(epoch), at.probability, at.intensity, time.monotonic() - started,
        )  # fmt: skip
        self.accelerator.log({k: v for k, v in asdict(record).items() if k != "epoch"}, step=epoch)
        return record, dev_scores

    def _strength(self, epoch: int) -> Strength:
        """Of the distortions: they rise from the loss switch on, or from the first epoch where the loss is focal throughout."""
        config, switch = self.profile.augmentation, self.schedule.switch_epoch
        return strength(config, progress(config, epoch, 1 if self.profile.loss.kind == "focal" else switch))

    def _step(self, inputs: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """One step of the optimiser: the loss and the norm of its gradients, both on the device."""
        inputs = inputs.float()
        share, order = self._mixing(len(inputs), inputs.device)
        if share < 1:
            inputs = inputs.lerp(inputs[order], 1 - share)
        logits = self.trained(inputs).float()
        loss = self._loss(logits, labels, epoch)
        if share < 1:
            loss = share * loss + (1 - share) * self._loss(logits, labels[order], epoch)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.trained.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        if self.averaged is not None:
            self.averaged.update()
        self.scheduler.step()
        self.optimiser.zero_grad()
        return loss.detach(), norm

    def _loss(self, logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        """Mean over members, where the back end has several: their logits are `(members, batch, 2)`."""
        logits = logits.flatten(0, -2)
        return self.schedule.loss(logits, labels.repeat(len(logits) // len(labels)), epoch)

    def _mixing(self, size: int, device: torch.device) -> tuple[float, Tensor | None]:
        """Mixup (Zhang et al. 2018): the share of the batch itself, and the order of the partners. (1, None) without."""
        if not self.settings.mixup:
            return 1.0, None
        share = torch.distributions.Beta(self.settings.mixup, self.settings.mixup).sample().item()
        return share, torch.randperm(size, device=device)

    @torch.inference_mode()
    def _score_dev(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Scores and labels of all dev trials on every process, and the mean cross-entropy in nats."""
        for tensor in trained_weights(self.model).values():
            broadcast(tensor)  # each process' batch normalisation saw other clips; all judge what the checkpoint will hold
        model, parts = self.model.eval(), []
        for inputs, labels, rows in self.dev_loader:
            states = inputs if self.settings.feature_cache else model.frontend(inputs)
            logits = model.backend(states.float()).float()
            parts.append(self.accelerator.gather_for_metrics((logits, labels, rows)))
        logits, labels, rows = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
        order = rows.argsort()
        logits, labels = logits[order], labels[order]
        loss = nn.functional.cross_entropy(logits, labels, weight=torch.tensor(self.profile.loss.class_weights))
        return (logits[:, 1] - logits[:, 0]).numpy().astype(np.float64), labels.numpy(), float(loss)

    def _keep(self, record: EpochRecord, dev_scores: DevScores, last: Path) -> None:
        """Note the epoch, move the loss if dev says so, and write best and last checkpoints."""
        improved = not self.records or _rank(record) < _rank(self._best())
        self.records.append(record)
        self.schedule.observe(record.epoch, record.dev_eer)
        if not self.accelerator.is_main_process:
            return
        if improved:
            with self._judged():
                save_checkpoint(
                    self.run.path("checkpoints", BEST), trained_weights(self.model), self._facts(record, dev_scores)
                )
        state = {
            "key": self.key, "weights": trained_weights(self.model),
            "averaged": None if self.averaged is None else self.averaged.weights, "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(), "switch_epoch": self.schedule.switch_epoch,
            "records": [asdict(r) for r in self.records],
        }  # fmt: skip
        save_state(last, state)
        self.run.write_parquet("metrics/history.parquet", self._history())

    def _facts(self, record: EpochRecord, dev_scores: DevScores) -> dict[str, Any]:
        """What the best checkpoint says of itself: what it is, what it was trained on, and what its dev scores mean."""
        return {
            "model": self.profile.model.model_dump(mode="json"), "encoder": self.encoder_facts,
            "trained_on": {"title": self.profile.title, "corpus": self.profile.data.corpus} | contents(self.train_trials)
            | {"left_out": self.left_out},
            "calibration": _calibration(*dev_scores), "key": self.key, **asdict(record),
        }  # fmt: skip

    def _resume(self, last: Path) -> int:
        """The last finished epoch: 0 when there is none, or when it was made by other code or of other settings or data."""
        state = read_state(last) if last.is_file() else None
        if state is None or (different := changes(state["key"], self.key)):
            with agreed():
                if state is not None and self.accelerator.is_main_process:
                    aside = put_aside(last.parent)
                    kept = f"the old checkpoint is kept in {aside.relative_to(self.run.folder)}"
                    print(f"training: {different}: training starts anew ({kept})", flush=True)
            return 0
        put_weights(self.model, state["weights"])
        if self.averaged is not None:
            self.averaged.weights = {name: tensor.to(self.accelerator.device) for name, tensor in state["averaged"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.schedule.switch_epoch = state["switch_epoch"]
        self.records = [EpochRecord(**record) for record in state["records"]]
        if len(self.records) < self.settings.epochs:
            self.accelerator.print(f"training: resumes after epoch {len(self.records)}")
        return len(self.records)

    def _key(self) -> Key:
        """What the result depends on: a state with another key is not resumed from."""
        settings = self.profile.training_settings()
        del settings["data"]  # its content counts
        data = {"the trials": trials_digest(pd.concat([self.train_trials, self.dev_trials]))}
        for name, trials, source in self.sources:
            if isinstance(source, FeatureBank):
                data[f"the features of {name}"] = source.folder.name
            else:
                data[f"the clips of {name}"] = clips_digest(trials)
        return make_key(
            ["aasist_lib.training.trainer", "aasist_lib.models.aasist"], settings | {"encoder": self.encoder_facts}, data
        )

    def _judged(self) -> AbstractContextManager[None]:
        """The weights that dev judges and the checkpoint keeps: the average where there is one."""
        return nullcontext() if self.averaged is None else self.averaged.applied()

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


def _calibration(bonafide: np.ndarray, spoof: np.ndarray) -> dict[str, float] | None:
    """Scale and offset from scores to natural-log likelihood ratios, and the numbers of clips that they were fitted on; None
    of a detector that gives every clip the same score."""
    if np.ptp(np.concatenate((bonafide, spoof))) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScoreWarning)  # not in every epoch: `Detector.caution` says it of the best
        fitted = asdict(calibrate_fit(bonafide, spoof))
    return fitted | {"bonafide": len(bonafide), "spoof": len(spoof)}
