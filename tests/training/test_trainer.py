from dataclasses import asdict
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
import torch

from aasist_lib import audio
from aasist_lib.augment import Strength
from aasist_lib.config import Profile
from aasist_lib.corpora import TrialTableError, load_trials
from aasist_lib.datasets.training_set import EpochSampler
from aasist_lib.experiments.probe import run_probe
from aasist_lib.metrics import calibrate_fit, eer, split_classes
from aasist_lib.models import build_model
from aasist_lib.models.checkpoints import CheckpointError, load_model, read_facts
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import ScoringError, score_split
from aasist_lib.scoring.detector import Detector
from aasist_lib.scoring.recordings import score_recordings
from aasist_lib.training import Trainer, train
from aasist_lib.training.trainer import TrainingError, _mixing


def changed(profile: Profile, **sections) -> Profile:
    data = profile.model_dump()
    for section, values in sections.items():
        data[section] = {**data[section], **values} if isinstance(values, dict) else values
    return Profile.model_validate(data)


@pytest.fixture
def run(tiny_profile) -> RunFolder:
    return RunFolder.open(tiny_profile)


def test_it_learns_switches_the_loss_by_dev_eer_and_keeps_the_best(tiny_profile, run):
    """On LFCC, which every seed learns; what a random encoder says of 12 clips suffices for some."""
    tiny_profile, seen = changed(tiny_profile, model={"frontend": {"kind": "lfcc"}}), []
    result = train(tiny_profile, run, on_epoch=seen.append)
    history = result.history
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6] == [record.epoch for record in seen]
    assert history["dev_eer"].min() < 0.2
    assert result.best_epoch == history.sort_values(["dev_eer", "dev_loss"])["epoch"].iloc[0]
    below = history.loc[history["dev_eer"] < tiny_profile.loss.switch_eer, "epoch"].iloc[0]
    assert result.switch_epoch == below + 1
    after = history[history["epoch"] >= result.switch_epoch]["focal_weight"]
    assert list(after) == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0][: len(after)] and (history["focal_weight"][:below] == 0).all()
    assert read_facts(result.checkpoint)["epoch"] == result.best_epoch
    assert pd.read_parquet(run.path("metrics", "history.parquet")).equals(history)
    scores = score_split(tiny_profile, load_model(result.checkpoint)[0], "eval")
    bonafide, spoof = (scores.loc[scores["label"] == label, "score"] for label in ("bonafide", "spoof"))
    assert bonafide.mean() > spoof.mean()


def test_resuming_after_a_kill_equals_an_undisturbed_run(tiny_profile, run, tmp_path):
    tiny_profile = changed(tiny_profile, training={"mixup": 0.5, "average": 0.5})
    whole = train(tiny_profile, run)
    other = changed(tiny_profile, run_dir=tmp_path / "other")
    interrupted = RunFolder.open(other)

    class Killed(Exception):
        pass

    def kill(record):
        if record.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        train(other, interrupted, on_epoch=kill)
    resumed = train(other, interrupted)
    columns = [c for c in whole.history.columns if c != "seconds"]
    pd.testing.assert_frame_equal(resumed.history[columns], whole.history[columns], check_exact=True)
    first, second = load_model(whole.checkpoint)[0], load_model(resumed.checkpoint)[0]
    for name, value in first.backend.state_dict().items():
        assert torch.equal(value, second.backend.state_dict()[name]), name


def test_a_finished_training_is_not_repeated_and_changed_settings_start_anew(tiny_profile, run, capsys):
    train(tiny_profile, run)
    epochs = []
    train(tiny_profile, run, on_epoch=epochs.append)
    assert epochs == []
    train(changed(tiny_profile, seed=2), run, on_epoch=epochs.append)
    assert [record.epoch for record in epochs] == [1, 2, 3, 4, 5, 6]
    said = capsys.readouterr().out
    assert "training: finished (6 epochs), nothing to do\n" in said
    (aside,) = run.path("checkpoints").glob("before-*")
    kept = f"the old checkpoint is kept in checkpoints/{aside.name}"
    assert f"training: seed was 1 and is 2: training starts anew ({kept})" in said
    first = read_facts(aside / "best")
    assert first["key"]["settings"]["seed"] == 1 and load_model(aside / "best")[1] == first


def test_other_clips_of_the_same_names_are_other_data(tiny_profile, run, tmp_path, capsys):
    trials = load_trials(tiny_profile.data)
    own = changed(tiny_profile, data={"root": tmp_path, "cache": tmp_path}, training={"epochs": 1})
    trials.to_parquet(tmp_path / "trials.parquet", index=False)
    train(own, run)
    audio.write_flac(tmp_path / "other.flac", audio.read(trials["path"][0])[::-1].copy())
    trials.loc[0, "path"] = str(tmp_path / "other.flac")
    trials.to_parquet(tmp_path / "trials.parquet", index=False)
    train(own, run)
    assert "training: the features of train have changed: training starts anew" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["torch", "audiomentations"])
def test_another_version_of_a_package_that_computes_starts_anew(tiny_profile, run, monkeypatch, capsys, package):
    short, version = changed(tiny_profile, training={"epochs": 1}), metadata.version
    train(short, run)
    monkeypatch.setattr(metadata, "version", lambda name: "0.0" if name == package else version(name))
    train(short, run)
    now, said = f"{package} was {version(package)} and is 0.0", capsys.readouterr().out
    assert now in said.partition("computed anew; the old ones stay in ")[0] and "training starts anew" in said


def test_features_from_the_bank_and_on_the_fly_give_the_same_dev_scores(tiny_profile, run):
    """Nothing random touches dev: a bank in fp16 and the encoder in the loop must agree."""
    model, _ = load_model(train(changed(tiny_profile, training={"epochs": 1}), run).checkpoint)
    kept = score_split(tiny_profile, model, "dev")
    fresh = score_split(changed(tiny_profile, training={"feature_cache": False}), model, "dev")
    assert list(kept["utt_id"]) == list(fresh["utt_id"])
    np.testing.assert_allclose(kept["score"], fresh["score"], atol=5e-3)


def test_training_with_the_encoder_in_the_loop(tiny_profile, run):
    profile = changed(tiny_profile, training={"feature_cache": False, "epochs": 1})
    trainer = Trainer(profile, run)
    trained = {id(p) for group in trainer.optimiser.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in trainer.model.frontend.parameters()}
    before = trainer.model.frontend.identity()
    assert len(trainer.fit(lambda record: None).history) == 1
    assert trainer.model.frontend.identity() == before


def test_cropped_frames_follow_one_another_cyclically(tiny_profile, run):
    trainer = Trainer(changed(tiny_profile, training={"crop_frames": 15}), run)
    data, frames = trainer.train_data, trainer.train_data.source.shape[1]
    starts = set()
    for epoch in range(1, 9):
        data.begin(epoch, Strength(0.5, 1.0))
        states, _, _ = data[2]
        views = data.source[2, slice(None)]
        found = [(v, s) for v in range(len(views)) for s in range(frames)
                 if np.array_equal(states, views[v][:, [(s + k) % frames for k in range(15)]])]  # fmt: skip
        assert len(found) == 1
        starts |= {found[0]}
    assert states.shape[1] == 15 and len(starts) > 4
    assert len(trainer.fit(lambda record: None).history) == 6


@pytest.mark.parametrize("final", [0.0, 0.5, 1.0])
def test_the_learning_rate_falls_to_its_final_share_over_the_real_steps(tiny_profile, run, final):
    profile = changed(tiny_profile, training={"final_rate": final})
    rates = train(profile, run).history["learning_rate"] / profile.training.learning_rate
    assert rates.iloc[-1] == pytest.approx(final, abs=1e-9)
    assert rates.iloc[:3].min() > final + 0.3 * (1 - final) - 1e-9


def test_the_checkpoint_holds_the_moving_average_of_the_weights(tiny_profile, run):
    trainer = Trainer(changed(tiny_profile, training={"average": 0.5, "epochs": 1}), run)
    name, seen = "members.0.nodes.project.weight", []
    step = trainer._step

    def watching(*batch):
        seen.append(trainer.model.backend.state_dict()[name].clone())
        return step(*batch)

    trainer._step = watching
    result = trainer.fit(lambda record: None)
    seen.append(trainer.model.backend.state_dict()[name].clone())
    expected = seen[1]  # the average starts with the weights after the first step
    for weights in seen[2:]:
        expected = 0.5 * expected + 0.5 * weights
    torch.testing.assert_close(load_model(result.checkpoint)[0].backend.state_dict()[name], expected)


def test_mixup_draws_a_share_and_partners_per_batch():
    shares = [_mixing(0.5, 4, torch.device("cpu")) for _ in range(50)]
    assert all(0 <= share <= 1 and sorted(order.tolist()) == [0, 1, 2, 3] for share, order in shares)
    assert len({share for share, _ in shares}) == 50
    assert _mixing(0, 4, torch.device("cpu")) == (1.0, None)


def test_checkpoints_hold_no_encoder(tiny_profile, run):
    result = train(changed(tiny_profile, training={"epochs": 1}), run)
    from safetensors import safe_open

    with safe_open(result.checkpoint / "model.safetensors", "pt") as archive:
        assert not [name for name in archive.keys() if "encoder" in name or "frontend" in name]  # noqa: SIM118


def test_early_stop_counts_epochs_without_a_better_dev_eer(tiny_profile, run):
    profile = changed(tiny_profile, training={"epochs": 30, "patience": 2})
    result = train(profile, run)
    assert len(result.history) == result.best_epoch + 2 < 30


def test_eval_cannot_reach_training(tiny_profile, run, monkeypatch):
    """The trainer's tables hold train and dev, and no eval file is opened."""
    from aasist_lib import audio

    opened = []
    read, read_crop = audio.read, audio.read_crop
    monkeypatch.setattr(audio, "read", lambda path, *rest: opened.append(str(path)) or read(path, *rest))
    monkeypatch.setattr(audio, "read_crop", lambda path, *rest: opened.append(str(path)) or read_crop(path, *rest))
    trainer = Trainer(changed(tiny_profile, seed=77, training={"epochs": 1, "feature_cache": False}), run)
    trainer.fit(lambda record: None)
    assert {split for table in (trainer.train_trials, trainer.dev_trials) for split in table["split"]} == {"train", "dev"}
    assert opened and not [path for path in opened if "eval" in path.rsplit("/", 1)[-1]]


def test_dev_with_one_class_is_an_error(tiny_profile, run, tmp_path):
    table = pd.read_parquet(tiny_profile.data.source / "trials.parquet")
    table[(table["split"] != "dev") | (table["label"] == "spoof")].to_parquet(tmp_path / "trials.parquet", index=False)
    with pytest.raises(TrialTableError, match="split 'dev'"):
        train(changed(tiny_profile, data={"root": tmp_path}), run)


def drawn(trials, batches, seed=1, epoch=1):
    sampler = EpochSampler(trials, seed, batches)
    sampler.epoch = epoch
    rows = list(sampler)
    assert len(rows) == len(sampler)
    return rows


@pytest.fixture
def uneven():
    """60 trials of two speakers, 12 recordings of a and 3 of b, and of three attacks with 24, 15 and 6 clips."""
    rows = [("bonafide", "a" if number < 12 else "b", "-", f"r{number}") for number in range(15)]
    attacks = ["x"] * 24 + ["y"] * 15 + ["z"] * 6
    rows += [("spoof", rows[number % 15][1], attack, f"r{number % 15}") for number, attack in enumerate(attacks)]
    return pd.DataFrame(rows, columns=["label", "speaker", "attack", "recording"])


@pytest.mark.parametrize("batches", ["random", "balanced", "pairs"])
def test_the_order_of_an_epoch_depends_on_seed_and_epoch_only(uneven, batches):
    assert drawn(uneven, batches) == drawn(uneven, batches) != drawn(uneven, batches, epoch=2)
    assert drawn(uneven, batches) != drawn(uneven, batches, seed=2)
    if batches == "random":
        assert sorted(drawn(uneven, batches)) == list(range(60))


def test_balanced_batches_have_speakers_and_attacks_equally_often(uneven):
    rows = uneven.loc[drawn(uneven, "balanced")]
    assert rows["label"].tolist() == ["bonafide", "spoof"] * 30
    assert rows[rows["label"] == "bonafide"]["speaker"].value_counts().to_dict() == {"a": 15, "b": 15}
    assert rows[rows["label"] == "spoof"]["attack"].value_counts().to_dict() == {"x": 10, "y": 10, "z": 10}
    of_b = rows[(rows["label"] == "bonafide") & (rows["speaker"] == "b")].index
    assert of_b.value_counts().to_dict() == {12: 5, 13: 5, 14: 5}, "a clip came again before the others of its speaker"


def test_a_pair_is_a_recording_and_its_copy_or_else_of_one_speaker(uneven):
    rows = uneven.loc[drawn(uneven, "pairs")]
    assert rows["label"].tolist() == ["bonafide", "spoof"] * 30
    assert rows["recording"].tolist()[::2] == rows["recording"].tolist()[1::2]
    counts = rows[rows["label"] == "spoof"]["attack"].value_counts()
    assert counts["z"] > 30 * 6 / 45, "rare attacks are not drawn more often than by chance"
    for trials in (uneven.drop(columns="recording"), uneven.assign(recording="-")):
        rows = trials.loc[drawn(trials, "pairs")]
        assert rows["speaker"].tolist()[::2] == rows["speaker"].tolist()[1::2]
    rows = uneven.assign(recording="-", speaker="-").loc[drawn(uneven.assign(recording="-", speaker="-"), "pairs")]
    assert rows["label"].tolist() == ["bonafide", "spoof"] * 30


def test_loading_with_another_encoder_or_architecture_is_an_error(tiny_profile, run):
    checkpoint = train(changed(tiny_profile, training={"epochs": 1}), run).checkpoint
    other = build_model(tiny_profile.model)
    next(other.frontend.encoder.parameters()).data.add_(1)
    with pytest.raises(CheckpointError, match="sha256"):
        load_model(checkpoint, other)
    wider = build_model(changed(tiny_profile, model={"channels": (4, 16)}).model)
    with pytest.raises(CheckpointError, match="architecture"):
        load_model(checkpoint, wider)
    with pytest.raises(CheckpointError, match="nowhere/"):
        load_model(checkpoint / "nowhere")


def test_the_checkpoint_says_what_it_was_trained_on_and_what_its_dev_scores_mean(tiny_profile, run, monkeypatch):
    # In the batches that dev is judged in: on some processors other batches have another order of sums.
    monkeypatch.setattr("aasist_lib.scoring.split.BATCH", tiny_profile.training.batch_size)
    result = train(changed(tiny_profile, training={"epochs": 2}), run)
    facts = read_facts(result.checkpoint)
    assert facts["trained_on"] == {
        "title": "Toy", "corpus": "demo", "bonafide": 6, "spoof": 6, "speakers": 1, "attacks": ["tone"], "left_out": 0,
    }  # fmt: skip
    dev = score_split(tiny_profile, load_model(result.checkpoint)[0], "dev")
    bonafide, spoof = split_classes(dev["label"], dev["score"])
    fitted = calibrate_fit(bonafide, spoof)
    assert facts["calibration"] == pytest.approx(asdict(fitted) | {"bonafide": 6, "spoof": 6})
    assert facts["key"]["code"].keys() >= {"training/trainer.py", "losses.py", "models/graph.py", "metrics/rates.py"}
    assert (facts["dev_eer"], facts["dev_threshold"]) == pytest.approx(eer(bonafide, spoof))


def test_a_detector_that_scores_all_clips_alike_to_the_end_is_an_error(tiny_profile, run, monkeypatch):
    monkeypatch.setattr(Trainer, "_score_dev", lambda self: (np.zeros(12), np.tile([0, 1], 6), 0.7))
    for _ in range(2):  # the second finds it finished
        with pytest.raises(TrainingError, match="dev .*epoch 1,.*training.learning_rate"):
            train(changed(tiny_profile, training={"epochs": 2}), run)
    checkpoint = run.path("checkpoints", "best")
    assert read_facts(checkpoint)["calibration"] is None and len(pd.read_parquet(run.path("metrics", "history.parquet"))) == 2
    with pytest.raises(ScoringError, match="dev scores"):
        Detector.load(checkpoint)


def test_distortions_rise_from_the_loss_switch_on_and_history_and_checkpoint_say_so(tiny_profile, run):
    rise = {"probability": [0.5, 0.9], "intensity": [1.0, 1.8], "ramp_epochs": 4}
    profile = changed(tiny_profile, augmentation=rise)
    result = train(profile, run)
    history = result.history.set_index("epoch")
    before, after = (history[side] for side in (history.index < result.switch_epoch, history.index >= result.switch_epoch))
    assert len(after) >= 3 and (before["augmentation_probability"] == 0.5).all()
    assert list(after["augmentation_intensity"][:4]) == pytest.approx([1.2, 1.4, 1.6, 1.8][: len(after)])
    assert list(after["augmentation_probability"][:4]) == pytest.approx([0.6, 0.7, 0.8, 0.9][: len(after)])
    best = read_facts(result.checkpoint)
    assert best["augmentation_intensity"] == history.loc[result.best_epoch, "augmentation_intensity"]
    state = torch.load(run.path("checkpoints", "last.pt"), weights_only=True)
    assert [r["augmentation_intensity"] for r in state["records"]] == list(history["augmentation_intensity"])


def test_risen_views_of_a_bank_are_taken_as_often_as_the_rise_has_come_far(tiny_profile, run):
    profile = changed(tiny_profile, augmentation={"views": 3, "ramp_epochs": 4, "probability": [0.0, 1.0]})
    data = Trainer(profile, run).train_data
    views = [data.source[0, view] for view in range(data.source.views)]
    assert not np.array_equal(views[0], views[2]), "the last view is made at the end of the rise"

    def taken(progress: float) -> list[int]:
        found = []
        for epoch in range(1, 120):
            data.begin(epoch, Strength(0.5, 1.0, progress))
            states = data[0][0]
            found.append(2 if np.array_equal(states, views[2]) else 0)
        return found

    assert set(taken(0.0)) == {0} and set(taken(1.0)) == {2}
    assert 0.35 < np.mean(taken(0.5)) / 2 < 0.65


def test_a_loss_that_is_focal_throughout_lets_distortions_rise_from_the_first_epoch(tiny_profile, run):
    rise = {"probability": [0.5, 0.9], "ramp_epochs": 2}
    profile = changed(tiny_profile, augmentation=rise, loss={"kind": "focal"}, training={"epochs": 2})
    assert list(train(profile, run).history["augmentation_probability"]) == pytest.approx([0.7, 0.9])
    plain = changed(tiny_profile, augmentation=rise, loss={"kind": "ce"}, training={"epochs": 2}, run_dir=run.folder / "ce")
    assert list(train(plain, RunFolder.open(plain)).history["augmentation_probability"]) == [0.5, 0.5]


@pytest.mark.parametrize("kind", ["lfcc", "sinc"])
def test_front_ends_without_weights_train_are_probed_and_score_from_a_bank_and_on_the_fly(tiny_profile, run, kind, tmp_path):
    profile = changed(tiny_profile, model={"frontend": {"kind": kind}}, training={"epochs": 1})
    result = train(profile, run)
    model, facts = load_model(result.checkpoint)
    assert facts["encoder"] == model.frontend.identity() and facts["encoder"]["name"] == kind
    kept = score_split(profile, model, "dev")
    live = changed(profile, training={"feature_cache": False}, run_dir=tmp_path / "live")
    np.testing.assert_allclose(score_split(live, model, "dev")["score"], kept["score"], atol=2e-2)
    assert len(train(live, RunFolder.open(live)).history) == 1
    scored = {each.path: each.score for each in score_recordings(Detector.load(result.checkpoint), kept["path"])}
    np.testing.assert_allclose([scored[path] for path in kept["path"]], kept["score"], atol=2e-2)
    tables = run_probe(profile, model.frontend)["eval"], run_probe(live, model.frontend)["eval"]
    np.testing.assert_allclose(tables[0]["score"], tables[1]["score"], atol=2e-2)
    assert eer(*split_classes(tables[0]["label"], tables[0]["score"]))[0] < 0.1, (
        "noise and chords are told apart by any features"
    )


def test_loading_with_another_front_end_is_an_error(tiny_profile, run):
    checkpoint = train(changed(tiny_profile, model={"frontend": {"kind": "lfcc"}}, training={"epochs": 1}), run).checkpoint
    with pytest.raises(CheckpointError, match="lfcc .*sha256 .*sinc "):
        load_model(checkpoint, build_model(changed(tiny_profile, model={"frontend": {"kind": "sinc"}}).model))


@pytest.mark.parametrize("cached", [True, False])
def test_the_number_of_worker_processes_changes_nothing(tiny_profile, tmp_path, cached):
    settings = {"epochs": 2, "feature_cache": cached, "mixup": 0.2, "average": 0.9}
    profiles = [
        changed(tiny_profile, training=settings | {"workers": workers}, run_dir=tmp_path / str(workers)) for workers in (0, 2)
    ]
    results = [train(profile, RunFolder.open(profile)) for profile in profiles]
    histories = [result.history.drop(columns="seconds") for result in results]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    scores = [score_split(p, load_model(r.checkpoint)[0], "eval") for p, r in zip(profiles, results, strict=True)]
    pd.testing.assert_frame_equal(*scores, check_exact=True)


def test_one_process_may_train_in_one_precision_and_then_in_another(tiny_profile, tmp_path):
    for precision in ("bf16", "no"):
        profile = changed(tiny_profile, training={"epochs": 1, "mixed_precision": precision}, run_dir=tmp_path / precision)
        assert Trainer(profile, RunFolder.open(profile)).accelerator.mixed_precision == precision


def test_what_is_left_out_is_neither_trained_on_nor_selected_by(tiny_profile, tmp_path):
    table = pd.read_parquet(tiny_profile.data.root / "trials.parquet")
    spoof = table["label"] == "spoof"
    table.loc[spoof, "attack"] = np.resize(["tone-a", "tone-b", "buzz"], spoof.sum())
    table.to_parquet(tmp_path / "trials.parquet", index=False)
    data = tiny_profile.data.model_copy(update={"root": tmp_path, "cache": tmp_path / "cache"})

    def trainer(*leave_out: str, cache: bool = True) -> Trainer:
        training = tiny_profile.training.model_copy(update={"leave_out": list(leave_out), "feature_cache": cache})
        profile = tiny_profile.model_copy(update={"data": data, "training": training})
        return Trainer(profile, RunFolder.open(profile, overwrite=True))

    whole = trainer()
    for cache in (True, False):
        part = trainer("tone", cache=cache)
        for split in ("train", "dev"):
            trials, all_trials = getattr(part, f"{split}_trials"), getattr(whole, f"{split}_trials")
            assert set(trials["attack"]) == {"-", "buzz"} and len(trials) == 8
            rows = all_trials.index[~all_trials["attack"].str.startswith("tone")]
            if cache:
                source, all_source = getattr(part, f"{split}_source"), getattr(whole, f"{split}_source")
                assert source.folder == all_source.folder, "the bank is not computed again"
                assert source.utt_ids == tuple(trials["utt_id"]) and len(source) == 8
                for row, of_all in enumerate(rows):
                    np.testing.assert_array_equal(source[row, 0], all_source[of_all, 0])
            else:
                assert getattr(part, f"{split}_source").ids == trials["utt_id"].tolist()
    assert set(trainer("tone-b").train_trials["attack"]) == {"-", "tone-a", "buzz"}
    with pytest.raises(TrialTableError, match=r"leave_out.*'hum'.*\bbuzz, tone, tone-a, tone-b$"):
        trainer("hum")
    with pytest.raises(TrialTableError, match=r"leave_out.*'-'"):
        trainer("-")
    with pytest.raises(TrialTableError, match="both needed"):
        trainer("tone", "buzz")
