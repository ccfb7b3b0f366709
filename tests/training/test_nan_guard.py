"""Numbers gone wrong: training stops, names the utterances, and keeps what was good."""

import numpy as np
import pytest
import torch

from aasist_lib.datasets.training_set import TrialData
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.training import Trainer, TrainingError
from aasist_lib.training import nan_guard as watch


@pytest.fixture
def run(tiny_profile) -> RunFolder:
    return RunFolder.open(tiny_profile)


@pytest.mark.parametrize("every", [1, 2, 100])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_clip_that_gives_no_number_is_among_those_named_and_the_last_good_checkpoint_stays(
    tiny_profile, run, monkeypatch, every, value
):
    monkeypatch.setattr(watch, "EVERY", every)
    take = TrialData.__getitem__
    trainer = Trainer(tiny_profile, run)
    train_data = trainer.train_data

    def poisoned(data, row):
        states, label, row = take(data, row)
        bad = data is train_data and data._now[0] == 3 and row == 5
        return np.full_like(states, value) if bad else states, label, row

    monkeypatch.setattr(TrialData, "__getitem__", poisoned)
    name = trainer.train_trials["utt_id"][5]
    with pytest.raises(TrainingError, match=rf"epoch 3, step [123]: .*\bnan\b.*\b{name}\b.*epoch 2"):
        trainer.fit(lambda record: None)
    state = torch.load(run.path("checkpoints", "last.pt"), weights_only=True)
    assert len(state["records"]) == 2 and all(tensor.isfinite().all() for tensor in state["weights"].values())
    monkeypatch.setattr(TrialData, "__getitem__", take)
    assert len(Trainer(tiny_profile, run).fit(lambda record: None).history) == 6


def test_gradients_that_are_no_numbers_stop_it_too(tiny_profile, run, monkeypatch):
    trainer = Trainer(tiny_profile, run)
    clip = trainer.accelerator.clip_grad_norm_
    monkeypatch.setattr(trainer.accelerator, "clip_grad_norm_", lambda *given: clip(*given) * torch.tensor(torch.inf))
    with pytest.raises(TrainingError, match=r"step 1: .*\b\d\.\d+.*\binf\b.* train"):
        trainer.fit(lambda record: None)
    assert not run.path("checkpoints", "best", "model.safetensors").is_file()


def test_long_lists_of_utterances_are_cut(tiny_profile, run, monkeypatch):
    monkeypatch.setattr(watch, "_SHOWN", 2)
    trainer = Trainer(tiny_profile, run)
    monkeypatch.setattr(trainer.schedule, "loss", lambda logits, labels, epoch: logits.sum() * torch.nan)
    with pytest.raises(TrainingError, match=r" train\d+, train\d+, … 2 more"):
        trainer.fit(lambda record: None)
