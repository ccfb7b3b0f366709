import numpy as np
import pytest
import torch

from aasist_lib import features
from aasist_lib.corpora import load_trials
from aasist_lib.features import FeatureError, build_bank
from aasist_lib.models.frontend import SpeechEncoder
from tests.test_training import changed


@pytest.fixture
def parts(tiny_profile, tmp_path):
    """Profile with a fresh features folder, encoder, and train trials."""
    trials = load_trials(tiny_profile.data)
    trials.to_parquet(tmp_path / "trials.parquet", index=False)
    profile = changed(tiny_profile, data={"root": tmp_path})
    return profile, SpeechEncoder(profile.model.frontend), trials[trials["split"] == "train"].reset_index(drop=True)


def test_a_clean_bank_holds_what_the_encoder_says(parts):
    profile, encoder, trials = parts
    bank = build_bank(profile, encoder, trials, train=False)
    wave = features.audio.fit(features.audio.read(trials["path"][3]), profile.model.samples)
    expected = encoder(torch.from_numpy(wave)[None])[0].numpy()
    assert bank.array.shape == (len(trials), 1, *expected.shape) and bank.utt_ids[3] == trials["utt_id"][3]
    np.testing.assert_allclose(bank[3, 0], expected, atol=2e-3, rtol=2e-3)


def test_views_of_train_differ_and_depend_on_the_seed_only(parts):
    profile, encoder, trials = parts
    bank = build_bank(profile, encoder, trials, train=True)
    assert bank.views == 2 and not np.array_equal(bank.array[:, 0], bank.array[:, 1])
    assert build_bank(changed(profile, seed=5), encoder, trials, train=True).folder == bank.folder
    other = build_bank(changed(profile, data={"seed": 5}), encoder, trials, train=True)
    assert other.folder != bank.folder and not np.array_equal(bank.array, other.array)
    kept = np.array(bank.array)
    (bank.folder / "bank.json").unlink()
    (bank.folder / "features.npy").unlink()
    reordered = build_bank(changed(profile, training={"workers": 2}), encoder, trials, train=True)
    assert np.array_equal(reordered.array, kept)


def test_a_finished_bank_is_read_not_computed(parts, monkeypatch):
    profile, encoder, trials = parts
    build_bank(profile, encoder, trials, train=False)
    monkeypatch.setattr(features, "_compute", lambda *_: pytest.fail("computed again"))
    build_bank(profile, encoder, trials, train=False)


def test_a_killed_bank_goes_on_where_it_stopped(parts, monkeypatch):
    profile, encoder, trials = parts
    whole = np.array(build_bank(profile, encoder, trials, train=False).array)
    folder = build_bank(profile, encoder, trials, train=False).folder
    for file in folder.iterdir():
        file.unlink()
    monkeypatch.setattr(features, "CHUNK", 4)
    calls = []

    def counting(waveform, _forward=encoder.forward):
        calls.append(len(waveform))
        if len(calls) == 4:  # one example, then chunks
            raise KeyboardInterrupt
        return _forward(waveform)

    monkeypatch.setattr(encoder, "forward", counting)
    with pytest.raises(KeyboardInterrupt):
        build_bank(profile, encoder, trials, train=False)
    calls[:] = [0] * 10
    bank = build_bank(profile, encoder, trials, train=False)
    assert calls[10:] == [4] and np.array_equal(bank.array, whole)


def test_changing_a_clip_changes_the_bank(parts, tmp_path):
    profile, encoder, trials = parts
    first = build_bank(profile, encoder, trials, train=False)
    copy = tmp_path / "copy.flac"
    features.audio.write_flac(copy, features.audio.read(trials["path"][0])[::-1].copy())
    trials.loc[0, "path"] = str(copy)
    assert build_bank(profile, encoder, trials, train=False).folder != first.folder


def test_too_small_a_disk_is_said_before_anything_is_written(parts, monkeypatch):
    profile, encoder, trials = parts
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(FeatureError, match="free; keep fewer layers"):
        build_bank(profile, encoder, trials, train=False)
    assert not list(profile.data.folder.glob("features/*/features.npy"))
