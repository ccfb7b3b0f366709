import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from aasist_lib.config import ConfigError, load_profile, project_root
from aasist_lib.corpora import load_trials
from aasist_lib.datasets.feature_bank import FeatureError, build_bank
from aasist_lib.experiments.probe import run_probe
from aasist_lib.metrics import eer, split_classes
from aasist_lib.models import build_model
from aasist_lib.models.checkpoints import (
    TYPICALITY,
    CheckpointError,
    load_model,
    load_typicality,
    put_weights,
    read_facts,
    read_tensors,
    trained_weights,
)
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.scoring.detector import Detector
from aasist_lib.scoring.recordings import score_recordings
from aasist_lib.training import Trainer, train
from tests.training.test_trainer import changed


@pytest.fixture
def profile(tiny_profile):
    """The top layer of three is trained; the tiny encoder's dropout is that of its configuration, 0.1."""
    return tuning(tiny_profile, 1)


def tuning(profile, finetune, **training):
    settings = {"feature_cache": False, "epochs": 1, "encoder_learning_rate": 1e-3, **training}
    frontend = profile.model.frontend.model_dump() | {"finetune": finetune}
    return changed(profile, model={"frontend": frontend}, training=settings)


def trained(profile):
    run = RunFolder.open(profile)
    trainer = Trainer(profile, run)
    before = {name: tensor.clone() for name, tensor in trainer.model.frontend.state_dict().items()}
    return trainer, before, trainer.fit(lambda record: None)


def all_tensors(value):
    if isinstance(value, dict | list):
        return [tensor for item in (value.values() if isinstance(value, dict) else value) for tensor in all_tensors(item)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.mark.parametrize("finetune", [1, 2, "all"])
def test_what_is_tuned_changes_and_all_else_stays_bit_equal(profile, finetune):
    trainer, before, _ = trained(tuning(profile, finetune))
    after = trainer.model.frontend.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    if finetune == "all":
        assert set(before) - moved == {"encoder.masked_spec_embed"}
    else:
        tops = tuple(f"encoder.encoder.layers.{number}." for number in range(3)[-finetune:])
        assert moved == {name for name in before if name.startswith(tops)}


def test_checkpoints_hold_the_tuned_tensors_and_the_pretrained_sha256(profile):
    profile = tuning(profile, 1, average=0.5)
    trainer, _, result = trained(profile)
    kept = read_tensors(result.checkpoint, lambda name: not name.startswith(TYPICALITY))
    assert load_typicality(result.checkpoint) is not None
    encoder = {name for name in kept if name.startswith("frontend.")}
    layer = trainer.model.frontend.encoder.encoder.layers[2]
    assert encoder == {f"frontend.encoder.encoder.layers.2.{name}" for name, _ in layer.named_parameters()}
    assert kept.keys() - encoder == trainer.model.backend.state_dict().keys()
    pretrained = build_model(changed(profile, model={"frontend": profile.model.frontend.model_dump() | {"finetune": 0}}).model)
    assert read_facts(result.checkpoint)["encoder"]["sha256"] == pretrained.frontend.identity()["sha256"]
    last = torch.load(trainer.run.path("checkpoints", "last.pt"), weights_only=True)
    assert last["weights"].keys() == last["averaged"].keys() == kept.keys()
    assert sum(map(torch.numel, all_tensors(last))) < 4.1 * sum(map(torch.numel, kept.values())), (
        "weights, average, two moments"
    )


@pytest.mark.parametrize("finetune", [1, "all"])
def test_resuming_after_a_kill_equals_an_undisturbed_run(profile, finetune, tmp_path):
    profile = tuning(profile, finetune, epochs=3, average=0.5)
    whole = train(profile, RunFolder.open(profile))
    other = changed(profile, run_dir=tmp_path / "other")

    class Killed(Exception):
        pass

    def kill(record):
        raise Killed

    with pytest.raises(Killed):
        train(other, RunFolder.open(other), on_epoch=kill)
    resumed = train(other, RunFolder.open(other))
    columns = [column for column in whole.history.columns if column != "seconds"]
    pd.testing.assert_frame_equal(resumed.history[columns], whole.history[columns], check_exact=True)
    first, second = (load_file(result.checkpoint / "model.safetensors") for result in (whole, resumed))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_scores_after_loading_equal_those_in_memory_and_those_that_dev_was_judged_by(profile, average, monkeypatch):
    profile = tuning(profile, "all", average=average)
    # In the batches that dev is judged in: on some processors other batches have another order of sums.
    monkeypatch.setattr("aasist_lib.scoring.split.BATCH", profile.training.batch_size)
    trainer, _, result = trained(profile)
    with trainer._judged():
        expected = score_split(profile, trainer.model, "dev")
    model, facts = load_model(result.checkpoint)
    assert not model.training and not any(module.training for module in model.frontend.modules())
    scores = score_split(profile, model, "dev")
    pd.testing.assert_frame_equal(scores, expected, check_exact=True)
    assert eer(*split_classes(scores["label"], scores["score"])) == (facts["dev_eer"], facts["dev_threshold"])
    untuned = changed(profile, model={"frontend": profile.model.frontend.model_dump() | {"finetune": 0}})
    frozen = build_model(untuned.model)
    frozen.backend.load_state_dict(model.backend.state_dict())
    assert np.abs(score_split(untuned, frozen, "dev")["score"] - scores["score"]).max() > 1e-3, "tuning changed no score"


def test_files_are_scored_with_the_tuned_encoder(profile):
    trainer, _, result = trained(profile)
    expected = score_split(profile, trainer.model, "eval")
    scored = list(score_recordings(Detector.load(result.checkpoint), expected["path"]))
    np.testing.assert_allclose([each.score for each in scored], expected["score"], atol=1e-5)


def test_the_average_covers_the_tuned_weights(profile):
    profile = tuning(profile, 1, average=0.75)
    trainer = Trainer(profile, RunFolder.open(profile))
    name, seen, step = "frontend.encoder.encoder.layers.2.attention.k_proj.weight", [], trainer._step

    def watching(*batch):
        loss = step(*batch)
        seen.append(trained_weights(trainer.model)[name].clone())
        return loss

    trainer._step = watching
    result = trainer.fit(lambda record: None)
    expected = seen[0]
    for weights in seen[1:]:
        expected = 0.75 * expected + 0.25 * weights
    torch.testing.assert_close(load_file(result.checkpoint / "model.safetensors")[name], expected)
    assert torch.equal(trained_weights(trainer.model)[name], seen[-1]), "judging leaves the weights that are trained alone"


def test_encoder_and_back_end_have_rates_of_their_own_on_one_schedule(profile):
    profile = tuning(profile, 1, learning_rate=1e-2, encoder_learning_rate=1e-4, final_rate=0.5, epochs=2)
    trainer, _, result = trained(profile)
    backend, encoder = trainer.optimiser.param_groups
    assert {id(p) for p in encoder["params"]} == {id(p) for p in trainer.model.frontend.parameters() if p.requires_grad}
    assert {id(p) for p in backend["params"]} == {id(p) for p in trainer.model.backend.parameters() if p.requires_grad}
    assert (backend["lr"], encoder["lr"]) == pytest.approx((5e-3, 5e-5))
    assert result.history["learning_rate"].iloc[-1] == pytest.approx(5e-3)


def test_the_encoders_rate_is_what_moves_it(profile):
    """Adam's first steps are about the learning rate long whatever the gradient."""
    longest = []
    for rate in (1e-5, 1e-3):
        run_dir = profile.run_dir.parent / f"rate{rate}"
        trainer, before, _ = trained(changed(tuning(profile, 1, encoder_learning_rate=rate), run_dir=run_dir))
        after = trainer.model.frontend.state_dict()
        longest.append(max((after[name] - tensor).abs().max().item() for name, tensor in before.items()))
    assert 30 < longest[1] / longest[0] < 300


@pytest.mark.parametrize(
    ("made_with", "put_into", "said"), [(1, 0, r" \d\d .* 0;"), (0, 1, r" 0 .* \d\d;"), (2, 1, r"layers\.1\.")]
)
def test_weights_of_another_tuning_are_refused(profile, made_with, put_into, said):
    source, target = (build_model(tuning(profile, finetune).model) for finetune in (made_with, put_into))
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"model\.frontend\.finetune") as error:
        put_weights(target, trained_weights(source))
    assert re.search(said, str(error.value))
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_a_checkpoint_of_another_tuning_names_itself(profile):
    checkpoint = trained(profile)[2].checkpoint
    with pytest.raises(CheckpointError, match=rf"{checkpoint}: .*\d+ fine-tuned"):
        load_model(checkpoint, build_model(tuning(profile, 0).model))


@pytest.mark.parametrize("train_split", [True, False])
def test_no_bank_is_made_of_an_encoder_that_changes(profile, train_split):
    trials = load_trials(profile.data)
    with pytest.raises(FeatureError, match=r"set training\.feature_cache: false"):
        build_bank(profile, build_model(profile.model).frontend, trials[:4], train=train_split)


def test_a_profile_that_would_cache_and_tune_is_refused(tmp_path):
    file = tmp_path / "tuned.yaml"
    file.write_text("name: x\ntitle: X\nmodel: {frontend: {finetune: 2}}\n")
    with pytest.raises(ConfigError, match=r"set training\.feature_cache: false"):
        load_profile(file)
    assert load_profile(file, ["training.feature_cache=false"]).model.frontend.finetune == 2


def test_the_probe_hears_a_tuned_encoder_too(profile):
    tables = run_probe(profile, build_model(profile.model).frontend)
    assert np.isfinite(tables["eval"]["score"]).all()


SCRIPT = """
import hashlib, sys
from pathlib import Path
from aasist_lib.models.checkpoints import TYPICALITY, load_typicality, read_tensors, trained_weights
from aasist_lib.config import Profile
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.training import Trainer

profile = Profile.model_validate_json(Path(sys.argv[1]).read_text())
trainer = Trainer(profile, RunFolder.open(profile))
trainer.fit(lambda record: None)
weights = [tensor for name, tensor in trained_weights(trainer.model).items() if "running" not in name]
digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in weights)).hexdigest()
Path(f"{sys.argv[1]}.{trainer.accelerator.process_index}of{trainer.accelerator.num_processes}").write_text(digest)
"""


def test_two_processes_tune_one_encoder(profile, tmp_path):
    """Every tuned parameter takes part in every step, or the processes would wait for each other in vain."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "profile.json").write_text(tuning(profile, "all", average=0.5).model_dump_json())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    # `accelerate launch --cpu` starts one process, whatever number it is given.
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project_root())}
    command = [*launch, str(tmp_path / "script.py"), str(tmp_path / "profile.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = ((tmp_path / f"profile.json.{rank}of2").read_text() for rank in (0, 1))
    assert first == second
