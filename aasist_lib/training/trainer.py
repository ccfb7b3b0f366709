"""Training with `accelerate`: one function for the notebook and for `accelerate launch`, on CPU, one GPU or many.

Model selection uses dev only: the best checkpoint, the loss switch and early stopping follow the dev EER, and nothing here
opens an evaluation split. Every process computes the dev EER from the gathered scores, so all processes agree.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
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
from aasist_lib.config.profile import TrainingConfig
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.check import usable
from aasist_lib.datasets.source import Source, content, open_source
from aasist_lib.datasets.training_set import EpochSampler, TrialData, both_classes, contents, refuse_unknown, rows_without
from aasist_lib.losses import LossSchedule
from aasist_lib.metrics import eer
from aasist_lib.models import AASIST, build_model, log_odds
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
)
from aasist_lib.runtime.kept import Key, changes, make_key, trials_digest
from aasist_lib.runtime.processes import agreed, launched, launched_alone
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.training.averaging import WeightAverage
from aasist_lib.training.history import EpochRecord, History, TrainingResult
from aasist_lib.training.nan_guard import NanGuard
from aasist_lib.training.nan_guard import TrainingError as TrainingError
from aasist_lib.training.reliability import add_typicality, fit_calibration

DevScores = tuple[np.ndarray, np.ndarray]
"""Scores of the bona fide and of the spoofed dev trials."""


def train(profile: Profile, run: RunFolder, on_epoch: Callable[[EpochRecord], None] | None = None) -> TrainingResult:
    """Train the profile's detector on its train split and select on dev, or resume where an earlier call stopped.

    A training made with other settings, data, code or versions is moved to `checkpoints/before-<time>`, and training starts
    again from the first epoch.

    Args:
        profile: everything that determines the result.
        run: receives `checkpoints/best`, `checkpoints/last.pt` and `metrics/history.parquet`.
        on_epoch: called with each epoch's record (main process), e.g. to draw a curve.

    Raises:
        TrainingError: another process trains in the same folder, loss or gradients are NaN or infinite, or the detector gives
            all dev clips the same score.
        TrialTableError, BadAudio, EncoderUnavailable: the data or the encoder is at fault; train or dev may lack a class.
    """
    busy = TrainingError(f"another training is working in {run.folder}; wait for it, or set run_dir")
    with launched_alone(run.path("checkpoints", ".train.lock"), busy):
        if launched().is_main_process:
            run.sweep()
        return Trainer(profile, run).fit(on_epoch or (lambda record: None))


class Trainer:
    """The state of one training; call `train` to use it. In order: data, model, optimiser, epoch, dev, checkpoints."""

    trained: nn.Module

    def __init__(self, profile: Profile, run: RunFolder) -> None:
        self.profile, self.run, self.settings = profile, run, profile.training
        self.accelerator = _accelerator(profile, run)
        set_seed(profile.seed)
        self.model = build_model(profile.model)
        self.encoder_facts = self.model.frontend.identity()
        self.schedule, self.records = LossSchedule(profile.loss), History()
        self._load_data()
        self._prepare()
        self.key = self._key()

    # ---- data --------------------------------------------------------------------------------------------------------

    def _load_data(self) -> None:
        """The train and dev trials with readable audio, and their inputs: encoder states from a feature bank, or waveforms."""
        listed = load_trials(self.profile.data)
        trials = usable(self.profile, listed, ("train", "dev"))
        self.left_out = int(listed["split"].isin(("train", "dev")).sum()) - len(trials)
        refuse_unknown(trials, self.settings.leave_out)
        (self.train_trials, self.train_source), (self.dev_trials, self.dev_source) = (
            self._split(trials, split) for split in ("train", "dev")
        )

    def _split(self, trials: pd.DataFrame, split: str) -> tuple[pd.DataFrame, Source]:
        """A split's trials without what is left out, and their inputs. The feature bank is that of the whole split."""
        whole, profile = both_classes(trials, split), self.profile
        source = open_source(profile, self.model.frontend, whole, split == "train", profile.seed, self.accelerator.device)
        rows = rows_without(whole, self.settings.leave_out)
        return both_classes(whole.iloc[rows], split), source.only(rows)

    def _loaders(self) -> tuple[DataLoader, DataLoader]:
        """Batches of train, in an order that depends on (seed, epoch) only, and of dev."""
        settings, seed = self.settings, self.profile.seed
        risen = self.profile.augmentation.first_risen_view
        self.train_data = TrialData(self.train_trials, self.train_source, seed, settings.crop_frames, risen)
        dev_data = TrialData(self.dev_trials, self.dev_source, seed)
        self.sampler = EpochSampler(self.train_trials, seed, settings.batches)
        options: dict[str, Any] = {"batch_size": settings.batch_size, "num_workers": settings.workers}
        options |= {"persistent_workers": settings.workers > 0, "pin_memory": self.accelerator.device.type == "cuda"}
        if settings.workers:  # a generator of their own, so that the workers' seeds do not change the dropout: see `_epoch`
            options["generator"] = torch.Generator()
        with agreed():
            _refuse_too_few(len(self.train_data), settings.batch_size, self.accelerator.num_processes)
        # A last batch of one clip would break batch normalisation; another epoch's order includes the remainder.
        drop = len(self.train_data) > settings.batch_size
        return DataLoader(self.train_data, sampler=self.sampler, drop_last=drop, **options), DataLoader(dev_data, **options)

    # ---- model and optimiser -----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Model, optimiser and loaders, handed to accelerate. With a feature bank only the back end takes part."""
        settings = self.settings
        # accelerate puts autocast into the forward of the module it is given. The back end itself stays without it: dev is
        # scored in fp32 like everything else, behind an encoder of `model.frontend.precision`.
        trained: nn.Module = nn.Sequential(self.model.backend) if settings.feature_cache else self.model
        train_loader, dev_loader = self._loaders()
        optimiser = _optimiser(self.model, settings)
        self.trained, self.optimiser, self.train_loader, self.dev_loader = self.accelerator.prepare(
            trained, optimiser, train_loader, dev_loader
        )
        self.averaged = WeightAverage(self.model, settings.average) if settings.average else None
        steps = len(self.train_loader) * settings.epochs
        warmup = max(1, round(len(self.train_loader) * settings.warmup_epochs))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser.optimizer, lambda step: _cosine(step, warmup, steps, settings.final_rate)
        )

    # ---- epochs ------------------------------------------------------------------------------------------------------

    def fit(self, on_epoch: Callable[[EpochRecord], None]) -> TrainingResult:
        """Run the remaining epochs."""
        settings, accelerator = self.settings, self.accelerator
        if accelerator.num_processes > 1:
            accelerator.print(f"training: {accelerator.num_processes} processes")
        first = self._resume() + 1
        if self.records.has_stalled(settings.patience) or first > settings.epochs:
            accelerator.print(f"training: finished ({first - 1} epochs), nothing to do")
        for epoch in range(first, settings.epochs + 1):
            if self.records.has_stalled(settings.patience):
                break
            record, dev_scores = self._epoch(epoch)
            self._keep(record, dev_scores)
            if accelerator.is_main_process:
                on_epoch(record)
        if accelerator.is_main_process:  # once more: a kill may have come between the last checkpoint and its history
            self.run.write_parquet("metrics/history.parquet", self.records.table())
            with self.run.manifest_update() as manifest:
                manifest["trained"] = {"epochs": len(self.records), "settings": self.profile.training_settings()}
        best, checkpoint = self.records.best.epoch, self.run.path("checkpoints", BEST)
        if accelerator.is_main_process:
            train, dev = (TrialData(trials, source, self.profile.seed) for trials, source in (
                (self.train_trials, self.train_source), (self.dev_trials, self.dev_source),
            ))  # fmt: skip
            add_typicality(checkpoint, self.model, train, dev, settings)
        accelerator.wait_for_everyone()
        (self.trained,) = accelerator.free_memory(self.trained)
        accelerator.end_training()
        _refuse_constant(checkpoint, best)
        return TrainingResult(self.records.table(), best, self.schedule.switch_epoch, checkpoint)

    def _epoch(self, epoch: int) -> tuple[EpochRecord, DevScores]:
        """Train for one epoch and score dev."""
        started = time.monotonic()
        at = self._strength(epoch)
        self.sampler.epoch = epoch
        self.train_data.begin(epoch, at)
        # Dropout draws from torch's generator. Seeding it per epoch makes a resumed run equal an undisturbed one; processes,
        # which see different clips, get different seeds.
        set_seed(self.profile.seed * 100_003 + epoch, device_specific=True)
        if self.settings.workers:
            # A loader without workers draws one number at the start of every epoch; one with workers draws only when it starts
            # them, here from a generator of its own. Drawing here keeps the dropout the same in both cases.
            torch.empty((), dtype=torch.int64).random_()
        self.trained.train()
        guard = NanGuard(self.accelerator, epoch, self.train_trials["utt_id"].tolist())
        hidden = None if self.accelerator.is_main_process else True  # None: hidden unless there is a terminal
        for inputs, labels, rows in tqdm(self.train_loader, f"epoch {epoch}", leave=False, mininterval=5, disable=hidden):
            guard.note(*self._step(inputs, labels, epoch), rows)
        train_loss = guard.mean_loss()
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
        """Strength of the augmentation. It rises from the loss switch on, or from epoch 1 if the loss is focal throughout."""
        config, switch = self.profile.augmentation, self.schedule.switch_epoch
        return strength(config, progress(config, epoch, 1 if self.profile.loss.kind == "focal" else switch))

    def _step(self, inputs: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """One optimiser step: the loss and the norm of its gradients, both on the device."""
        inputs = inputs.float()
        share, order = _mixing(self.settings.mixup, len(inputs), inputs.device)
        if share < 1:
            inputs = inputs.lerp(inputs[order], 1 - share)
        logits = self.trained(inputs).float()
        loss = self.schedule.loss(logits, labels, epoch)
        if share < 1:
            loss = share * loss + (1 - share) * self.schedule.loss(logits, labels[order], epoch)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.trained.parameters(), self.settings.clip_norm or math.inf)
        self.optimiser.step()
        if self.averaged is not None:
            self.averaged.update()
        self.scheduler.step()
        self.optimiser.zero_grad()
        return loss.detach(), norm

    # ---- dev ---------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _score_dev(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Scores and labels of all dev trials on every process, and the mean cross-entropy in nats."""
        for tensor in trained_weights(self.model).values():
            broadcast(tensor)  # batch-norm statistics differ between processes; score what the checkpoint will hold
        model, parts = self.model.eval(), []
        for inputs, labels, rows in self.dev_loader:
            states = inputs if self.settings.feature_cache else model.frontend(inputs)
            logits = model.backend(states.float()).float()
            parts.append(self.accelerator.gather_for_metrics((logits, labels, rows)))
        logits, labels, rows = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
        order = rows.argsort()
        logits, labels = logits[order], labels[order]
        loss = nn.functional.cross_entropy(logits, labels, weight=torch.tensor(self.profile.loss.class_weights))
        return log_odds(logits), labels.numpy(), float(loss)

    def _judged(self) -> AbstractContextManager[None]:
        """Inside the `with` the model has the weights that dev judges and the checkpoint stores: the moving average, if any."""
        return nullcontext() if self.averaged is None else self.averaged.applied()

    # ---- checkpoints -------------------------------------------------------------------------------------------------

    def _keep(self, record: EpochRecord, dev_scores: DevScores) -> None:
        """Record the epoch, move the loss if dev allows it, and write the best checkpoint and the state to resume from."""
        improved = not self.records or record.rank < self.records.best.rank
        self.records.append(record)
        self.schedule.observe(record.epoch, record.dev_eer)
        if not self.accelerator.is_main_process:
            return
        if improved:
            with self._judged():
                facts = self._facts(record, dev_scores)
                save_checkpoint(self.run.path("checkpoints", BEST), trained_weights(self.model), facts)
        state = {
            "key": self.key, "weights": trained_weights(self.model),
            "averaged": None if self.averaged is None else self.averaged.weights, "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(), "switch_epoch": self.schedule.switch_epoch,
            "records": [asdict(r) for r in self.records],
        }  # fmt: skip
        save_state(self.run.path("checkpoints", STATE), state)
        self.run.write_parquet("metrics/history.parquet", self.records.table())

    def _facts(self, record: EpochRecord, dev_scores: DevScores) -> dict[str, Any]:
        """Stored with the best checkpoint: its model, its training data, and the calibration of its scores on dev."""
        return {
            "model": self.profile.model.model_dump(mode="json"), "encoder": self.encoder_facts,
            "trained_on": {"title": self.profile.title, "corpus": self.profile.data.corpus} | contents(self.train_trials)
            | {"left_out": self.left_out},
            "calibration": fit_calibration(*dev_scores), "key": self.key, **asdict(record),
        }  # fmt: skip

    def _resume(self) -> int:
        """The last finished epoch: 0 if there is none, or if it was made by other code, settings or data."""
        last = self.run.path("checkpoints", STATE)
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
        self.records = History(EpochRecord(**record) for record in state["records"])
        if len(self.records) < self.settings.epochs:
            self.accelerator.print(f"training: resumes after epoch {len(self.records)}")
        return len(self.records)

    def _key(self) -> Key:
        """What the result depends on; a state with another key is not resumed from."""
        settings = self.profile.training_settings()
        del settings["data"]  # its content counts
        data = {"the trials": trials_digest(pd.concat([self.train_trials, self.dev_trials]))}
        sources = ("train", self.train_trials, self.train_source), ("dev", self.dev_trials, self.dev_source)
        for name, trials, source in sources:
            kind, digest = content(source, trials)
            data[f"the {kind} of {name}"] = digest
        entries = ["aasist_lib.training.trainer", "aasist_lib.models.aasist"]
        return make_key(entries, settings | {"encoder": self.encoder_facts}, data)


def _accelerator(profile: Profile, run: RunFolder) -> Accelerator:
    """accelerate's view of devices and processes, in the profile's precision, with its tracker."""
    launched()  # first: it sets how long processes wait for one another
    AcceleratorState._reset_state()  # or the precision of a kernel's first training would apply to all
    tracker = None if profile.training.tracker == "none" else profile.training.tracker
    accelerator = Accelerator(
        mixed_precision=profile.training.mixed_precision, log_with=tracker, project_dir=str(run.folder),
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
    )  # fmt: skip
    if tracker:
        accelerator.init_trackers(profile.name, config={"profile": profile.model_dump_json()})
    return accelerator


def _optimiser(model: AASIST, settings: TrainingConfig) -> torch.optim.Optimizer:
    groups = _groups(model, settings)
    if settings.optimiser == "nadam":
        return torch.optim.NAdam(groups, weight_decay=settings.weight_decay, decoupled_weight_decay=True)
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)


def _groups(model: AASIST, settings: TrainingConfig) -> list[dict[str, Any]]:
    """The optimiser's parameter groups: the back end, and the fine-tuned part of the encoder at its own rate."""
    backend, tuned = (
        [parameter for parameter in part.parameters() if parameter.requires_grad] for part in (model.backend, model.frontend)
    )
    groups = [{"params": backend, "lr": settings.learning_rate}]
    return [*groups, {"params": tuned, "lr": settings.encoder_learning_rate}] if tuned else groups


def _cosine(step: int, warmup: int, steps: int, final: float) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine from 1 down to `final` at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _mixing(mixup: float, size: int, device: torch.device) -> tuple[float, Tensor | None]:
    """Mixup (Zhang et al. 2018): each clip's own share, and the order of the partners; (1, None) if `mixup` is 0."""
    if not mixup:
        return 1.0, None
    share = torch.distributions.Beta(mixup, mixup).sample().item()
    return share, torch.randperm(size, device=device)


def _refuse_too_few(clips: int, size: int, processes: int) -> None:
    """Batches are shared among the processes, and each process needs one."""
    if size < clips < size * processes:
        raise TrainingError(
            f"{clips} train clips make {clips // size} full batch(es) of {size}, and {processes} processes each need one: "
            f"set training.batch_size={max(2, clips // processes)}, or start fewer processes"
        )


def _refuse_constant(checkpoint: Path, best: int) -> None:
    if read_facts(checkpoint).get("calibration", True) is None:  # it is fitted unless all scores are equal
        raise TrainingError(
            f"every dev clip has the same score, also in epoch {best}, the best: the detector has not learned to "
            "separate the classes. Lower training.learning_rate, or look at the features (a bank or encoder that gives the "
            "same for all clips)"
        )
