import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from aasist_lib import audio
from aasist_lib.corpora import load_trials
from aasist_lib.datasets import feature_bank as features
from aasist_lib.datasets.feature_bank import FeatureError, build_bank
from aasist_lib.models.checkpoints import load_model
from aasist_lib.models.encoder import SpeechEncoder
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.training import train
from tests.training.test_trainer import changed


@pytest.fixture
def parts(tiny_profile, tmp_path):
    """Profile with a fresh features folder, encoder, and train trials."""
    trials = load_trials(tiny_profile.data)
    trials.to_parquet(tmp_path / "trials.parquet", index=False)
    profile = changed(tiny_profile, data={"root": tmp_path, "cache": tmp_path})
    return profile, SpeechEncoder(profile.model.frontend), trials[trials["split"] == "train"].reset_index(drop=True)


def whole(bank) -> np.ndarray:
    """All of a bank, `(clips, views, layers, frames, features)`."""
    return np.concatenate(bank.shards)


def test_a_clean_bank_holds_what_the_encoder_says(parts):
    profile, encoder, trials = parts
    bank = build_bank(profile, encoder, trials, train=False)
    wave = audio.fit(audio.read(trials["path"][3]), profile.model.samples)
    expected = encoder(torch.from_numpy(wave)[None])[0].numpy()
    assert whole(bank).shape == (len(trials), 1, *expected.shape) and bank.utt_ids[3] == trials["utt_id"][3]
    assert bank.shape == expected.shape and bank[3, 0].dtype == np.float16 and isinstance(bank.shards[0], np.memmap)
    np.testing.assert_allclose(bank[3, 0], expected, atol=2e-3, rtol=2e-3)


def test_one_layer_and_chosen_layers_are_those_of_the_whole(parts):
    profile, encoder, trials = parts
    every = whole(build_bank(profile, encoder, trials, train=False))
    for layer, chosen in ((2, [2]), ((0, 3), [0, 3]), ("last", [3])):
        part = changed(profile, model={"frontend": {**profile.model.frontend.model_dump(), "layer": layer}})
        found = whole(build_bank(part, SpeechEncoder(part.model.frontend), trials, train=False))
        np.testing.assert_allclose(found, every[:, :, chosen], atol=1e-2)


def test_index_and_shards_say_where_every_utterance_is(parts, monkeypatch):
    profile, encoder, trials = parts
    monkeypatch.setattr(features, "SHARDS", 5)
    bank = build_bank(profile, encoder, trials, train=True)
    index = pd.read_parquet(bank.folder / "index.parquet")
    assert index["utt_id"].tolist() == trials["utt_id"].tolist() and index["shard"].nunique() == 4
    for row, place in enumerate(index.itertuples()):
        shard = np.load(bank.folder / f"shard-{place.shard:05d}.npy")
        assert np.array_equal(shard[place.row, 1], bank[row, 1])
    batches = list(bank.batches(5, view=1, start=2, stop=9))
    assert [len(batch) for batch in batches] == [5, 2]
    assert np.array_equal(torch.cat(batches).numpy(), whole(bank)[2:9, 1].astype(np.float32))


def test_the_largest_shard_bounds_all_of_them(parts, monkeypatch):
    profile, encoder, trials = parts
    expected = whole(build_bank(profile, encoder, trials, train=True))
    monkeypatch.setattr(features, "LARGEST_SHARD", 6)
    monkeypatch.setattr(features, "SHARDS", 1)
    _forget(build_bank(profile, encoder, trials, train=True).folder)
    bank = build_bank(profile, encoder, trials, train=True)
    assert [len(shard) for shard in bank.shards] == [3, 3, 3, 3]
    np.testing.assert_allclose(whole(bank), expected, atol=2e-3, rtol=2e-3)


def _forget(folder):
    for file in folder.iterdir():
        file.unlink()


def test_views_of_train_differ_and_depend_on_the_seed_only(parts):
    profile, encoder, trials = parts
    bank = build_bank(profile, encoder, trials, train=True)
    kept = whole(bank)
    assert bank.views == 2 and not np.array_equal(kept[:, 0], kept[:, 1])
    assert build_bank(changed(profile, seed=5), encoder, trials, train=True).folder == bank.folder
    other = build_bank(changed(profile, data={"seed": 5}), encoder, trials, train=True)
    assert other.folder != bank.folder and not np.array_equal(whole(other), kept)
    _forget(bank.folder)
    reordered = build_bank(changed(profile, training={"workers": 2}), encoder, trials, train=True)
    assert np.array_equal(whole(reordered), kept)


def test_a_finished_bank_is_read_not_computed(parts, monkeypatch):
    profile, encoder, trials = parts
    build_bank(profile, encoder, trials, train=False)
    monkeypatch.setattr(features, "_compute", lambda *_: pytest.fail("computed again"))
    build_bank(profile, encoder, trials, train=False)


def test_a_lost_shard_is_computed_again_and_no_other(parts, capsys):
    profile, encoder, trials = parts
    bank = build_bank(profile, encoder, trials, train=False)
    expected, (first, second, *_) = whole(bank), sorted(bank.folder.glob("shard-*.npy"))
    unchanged = second.stat().st_mtime_ns
    first.unlink()
    assert np.array_equal(whole(build_bank(profile, encoder, trials, train=False)), expected)
    assert second.stat().st_mtime_ns == unchanged and "11 of 12 there already" in capsys.readouterr().out


def test_a_kill_between_the_last_shard_and_the_index_costs_nothing(parts, monkeypatch):
    profile, encoder, trials = parts
    bank = build_bank(profile, encoder, trials, train=False)
    kept = whole(bank)
    for name in ("bank.json", "index.parquet"):
        (bank.folder / name).unlink()
    monkeypatch.setattr(features._Writer, "add", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(whole(build_bank(profile, encoder, trials, train=False)), kept)
    assert (bank.folder / "bank.json").is_file() and (bank.folder / "index.parquet").is_file()


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_killed_bank_goes_on_where_it_stopped(parts, monkeypatch, stop_at):
    profile, encoder, trials = parts
    for name, value in (("CHUNK", 2), ("SHARDS", 3)):
        monkeypatch.setattr(features, name, value)
    expected = build_bank(profile, encoder, trials, train=True)
    kept = whole(expected)
    _forget(expected.folder)
    add, calls = features._Writer.add, []

    def counting(writer, shard, items, states):
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        calls.append(len(items))
        add(writer, shard, items, states)

    monkeypatch.setattr(features._Writer, "add", counting)
    with pytest.raises(KeyboardInterrupt):
        build_bank(profile, encoder, trials, train=True)
    done, stop_at = sum(calls), 1000
    bank = build_bank(profile, encoder, trials, train=True)
    assert done > 0 and sum(calls) == len(trials) * bank.views, "nothing twice, nothing left out"
    assert np.array_equal(whole(bank), kept)
    assert sorted(file.name for file in bank.folder.glob("*.part*")) == []


def test_changing_a_clip_changes_the_bank(parts, tmp_path):
    profile, encoder, trials = parts
    first = build_bank(profile, encoder, trials, train=False)
    copy = tmp_path / "copy.flac"
    audio.write_flac(copy, audio.read(trials["path"][0])[::-1].copy())
    trials.loc[0, "path"] = str(copy)
    assert build_bank(profile, encoder, trials, train=False).folder != first.folder


def test_size_and_time_are_said_before_anything_is_computed(parts, capsys, monkeypatch):
    profile, encoder, trials = parts
    monkeypatch.setattr(features._Writer, "add", lambda *_: pytest.fail("computed"))
    with pytest.raises(pytest.fail.Exception):
        build_bank(profile, encoder, trials, train=True)
    said = capsys.readouterr().out
    frames = 24
    size = len(trials) * 2 * 4 * frames * 32 * 2 / 1e9
    assert f"{len(trials)} clips x 2 view(s), {size:.2f} GB in" in said and "GB free; about 0 min" in said


def test_too_small_a_disk_is_said_before_anything_is_written(parts, monkeypatch):
    profile, encoder, trials = parts
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(FeatureError, match="GB .*training.feature_cache=false"):
        build_bank(profile, encoder, trials, train=False)
    assert not list(profile.data.cache_folder.glob("features/*/*.npy"))


def test_features_beyond_half_precision_name_the_clip_and_the_remedy(parts, monkeypatch):
    profile, encoder, trials = parts
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda waveform: forward(waveform) * 1e6)
    with pytest.raises(FeatureError, match=r"train0.* float16.*training\.feature_dtype=float32"):
        build_bank(profile, encoder, trials, train=False)
    wide = changed(profile, training={"feature_dtype": "float32"})
    assert np.isfinite(whole(build_bank(wide, encoder, trials, train=False))).all()


def test_training_from_a_bank_in_single_precision_equals_training_on_the_fly_to_the_last_bit(tiny_profile, tmp_path):
    plain = changed(tiny_profile, augmentation={"views": 1, "distortions": []}, training={"feature_dtype": "float32"})
    plain = changed(plain, data={"root": _own_root(tiny_profile, tmp_path)}, run_dir=tmp_path / "bank")
    frontend = {"name": str(_wide_encoder(tmp_path / "encoder")), "layer": "last"}
    plain = changed(plain, model={"frontend": frontend})
    live = changed(plain, training={"feature_cache": False}, run_dir=tmp_path / "live")
    results = [train(profile, RunFolder.open(profile)) for profile in (plain, live)]
    histories = [result.history.drop(columns="seconds") for result in results]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    banked, live_weights = (load_file(result.checkpoint / "model.safetensors") for result in results)
    assert all(torch.equal(banked[name], live_weights[name]) for name in banked) and len(banked) == len(live_weights)
    scores = [score_split(plain, load_model(result.checkpoint)[0], "dev")["score"] for result in results]
    assert np.array_equal(*scores)
    half = changed(plain, training={"feature_dtype": "float16"}, run_dir=tmp_path / "half")
    found = score_split(half, load_model(results[0].checkpoint)[0], "dev")["score"]
    assert 0 < abs(found - scores[0]).max() < 1e-3


def _wide_encoder(folder):
    """A wav2vec 2.0 of one layer whose convolutions are as wide as in real ones: with fewer channels oneDNN sums a batch
    of one in another order than a larger batch."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, conv_dim=(512,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, do_stable_layer_norm=True, feat_extract_norm="layer",
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def _own_root(profile, folder):
    load_trials(profile.data).to_parquet(folder / "trials.parquet", index=False)
    return folder
