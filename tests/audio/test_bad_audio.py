"""What becomes of files that are odd or bad, case by case (`tests/bad_audio.py`): reading, crops, scoring, training."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib import audio
from aasist_lib.audio import decoding
from aasist_lib.augment import Augmenter
from aasist_lib.config import ModelConfig
from aasist_lib.config.augmentation import AugmentationConfig, catalogue
from aasist_lib.corpora import TrialTableError, load_trials
from aasist_lib.datasets import check as preflight
from aasist_lib.datasets.clips import Clips
from aasist_lib.metrics import Calibration
from aasist_lib.models import build_model
from aasist_lib.models.checkpoints import read_facts
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.scoring.batch import score_to_csv
from aasist_lib.scoring.detector import Detector
from aasist_lib.scoring.recordings import score_recording
from aasist_lib.training import train
from tests.bad_audio import BAD, RATE, SOUND, in_blocks
from tests.conftest import profile_for

SMALL = {"samples": 8_000, "projection": 24, "channels": (4, 8), "blocks": 3, "graph_dims": (8, 8), "heads": 2}
STARTS = (0, 3_000, 8_000, 10**9)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every case's file, each in a folder of its own."""
    root = tmp_path_factory.mktemp("cases")
    made = {}
    for number, (name, case) in enumerate((SOUND | BAD).items()):
        (root / str(number)).mkdir()
        made[name] = case.make(root / str(number))
    return made


@pytest.fixture(scope="module")
def detector() -> Detector:
    """An untrained one: it is the files that are tried."""
    model = build_model(ModelConfig.model_validate(SMALL | {"frontend": {"kind": "lfcc"}})).eval()
    return Detector(model, 0.0, Calibration(1.0, 0.0), {"model": model.config.model_dump(mode="json")})


def test_there_are_enough_cases():
    assert len(SOUND) + len(BAD) >= 100


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_file_is_read_whole_and_in_crops(files, name):
    wave = audio.read(files[name])
    assert wave.dtype == np.float32 and np.isfinite(wave).all()
    assert abs(len(wave) - SOUND[name].length) <= 1  # the length at 16 kHz is rounded
    for start in STARTS:
        assert np.array_equal(audio.read_crop(files[name], 8_000, lambda length, s=start: s), audio.fit(wave, 8_000, start))
    assert preflight.unusable_reason(str(files[name])) == ""


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_an_error_that_names_it(files, name):
    case, path = BAD[name], files[name]
    with pytest.raises(audio.AudioError) as error:
        audio.read(path)
    assert str(error.value).startswith(f"{audio.printable(path)}: ") and re.search(case.reason, str(error.value))
    assert "\n" not in str(error.value).removeprefix(str(path))
    str(error.value).encode()  # can be written anywhere
    assert preflight.unusable_reason(str(path)) == str(error.value).removeprefix(f"{audio.printable(path)}: ")
    if case.early:
        assert np.isfinite(audio.read_crop(path, 4_000)).all()
    else:
        with pytest.raises(audio.AudioError, match=re.escape(audio.printable(path))):
            audio.read_crop(path, 4_000)


@pytest.mark.parametrize("name", [name for name, case in BAD.items() if case.early])
def test_a_crop_of_the_damaged_part_is_an_error_too(files, name):
    """`read` and `read_crop` agree wherever the crop reaches what cannot be read."""
    with pytest.raises(audio.AudioError, match=re.escape(str(files[name]))):
        audio.read_crop(files[name], 10**6)


def test_every_file_is_scored_or_left_out_with_the_reason(files, detector, tmp_path):
    table, left_out = score_to_csv(detector, files.values(), tmp_path / "scores.csv", 0.5)
    assert table is not None and np.isfinite(table["score"]).all()
    assert list(table["utt_id"]) == [str(files[name]) for name in SOUND]
    folder = str(files["a folder"])
    assert {path: text for path, text in left_out} == {
        audio.printable(files[name]): preflight.unusable_reason(str(files[name])) for name in BAD if name != "a folder"
    } | {folder: f"no audio in this folder; looked for {', '.join(audio.EXTENSIONS)}"}
    listed = pd.read_csv(tmp_path / "scores_left_out.csv", keep_default_na=False)
    assert len(listed) == len(BAD) and listed["reason"].ne("").all()
    scores = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    assert list(scores["utt_id"]) == list(table["utt_id"]), "names with newlines and quotes come back"


@pytest.fixture(scope="module")
def corpus(files, tiny_corpus, tmp_path_factory) -> Path:
    """The toy corpus, and in its train split every case that a trial table can hold: plain files."""
    folder = tmp_path_factory.mktemp("mixed")
    trials = pd.read_parquet(tiny_corpus / "trials.parquet")
    trials["path"] = [str(tiny_corpus / Path(path).name) for path in trials["path"]]
    plain = {name: path for name, path in files.items() if name != "a name that is not UTF-8" and os.path.isfile(path)}
    rows = [
        (f"case{number}", str(path), ("bonafide", "spoof")[number % 2], "-", "-", "-", "train", name)
        for number, (name, path) in enumerate(plain.items())
    ]
    pd.concat([trials, pd.DataFrame(rows, columns=trials.columns)]).to_parquet(folder / "trials.parquet", index=False)
    return folder


def test_training_tells_all_bad_files_before_the_first_step(corpus, files, tiny_encoder, tmp_path):
    profile, before = profile_for(tiny_encoder, corpus, tmp_path), sorted(corpus.glob("features/*"))
    with pytest.raises(preflight.BadAudio) as error:
        train(profile, RunFolder.open(profile))
    text, listed = str(error.value), pd.read_csv(tmp_path / "run" / "trials" / "bad_audio_train.csv", keep_default_na=False)
    bad = [path for name, path in files.items() if name in BAD and name != "a name that is not UTF-8" and os.path.isfile(path)]
    assert set(listed["path"]) == set(map(str, bad))
    assert text.startswith(f"{len(bad)} clip(s)") and f"(train {len(bad)}" in text
    assert str(tmp_path / "run" / "trials" / "bad_audio_train.csv") in text and "training.bad_audio=skip" in text
    assert text.count("\n  ") == preflight.SHOWN + 1 and f"and {len(bad) - preflight.SHOWN} more" in text
    assert sorted(corpus.glob("features/*")) == before, "nothing was computed"


@pytest.mark.parametrize("kind", ["encoder", "lfcc", "sinc"])
def test_training_leaves_bad_files_out_and_learns_from_odd_ones(corpus, tiny_encoder, tmp_path, kind, capsys):
    profile = profile_for(tiny_encoder, corpus, tmp_path)
    settings = {"bad_audio": "skip", "epochs": 1, "feature_cache": kind != "sinc"}
    distortions = [{"kind": name, "p": 1.0} for name in ("noise", "rawboost", "codec", "reverberation", "gain")]
    profile = profile.model_copy(update={
        "model": profile.model.model_copy(update={"frontend": profile.model.frontend.model_copy(update={"kind": kind})}),
        "training": profile.training.model_copy(update=settings),
        "augmentation": AugmentationConfig.model_validate({"views": 2, "distortions": distortions, "speed": (0.9, 1.1)}),
    })  # fmt: skip
    run = RunFolder.open(profile)
    result = train(profile, run)
    bad = len(pd.read_csv(tmp_path / "run" / "trials" / "bad_audio_train.csv"))
    facts = read_facts(result.checkpoint)["trained_on"]
    assert facts["left_out"] == run.manifest["notes"]["bad_audio_train"] == bad > 40
    assert facts["bonafide"] + facts["spoof"] + bad == len(pd.read_parquet(corpus / "trials.parquet")) - 24
    assert math.isfinite(result.history["train_loss"].iloc[0])
    assert f"{bad} clip(s) cannot be used as audio (train {bad} of" in capsys.readouterr().out


ODD = (
    "1 sample", "1 sample at 8 kHz", "2 samples", "all zeros", "a constant (DC)", "full-scale clipping", "one impulse",
    "floats of the range of 16-bit numbers", "floats that are next to nothing", "AAC in M4A", "FLAC named .raw", "6 channels",
)  # fmt: skip
KINDS = [item.kind for item in catalogue()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_distortion_takes_odd_clips(files, kind):
    """And takes them as babble: an error of any of them would come at whatever hour it is drawn."""
    trials = pd.DataFrame({"path": [str(files[name]) for name in ODD], "utt_id": ODD})
    config = AugmentationConfig.model_validate({"distortions": [{"kind": kind, "p": 1.0}], "speed": (0.8, 1.25)})
    waves = Clips(trials, 8_000, 1, Augmenter(config, trials["path"].tolist()))
    for row in range(len(ODD)):
        for view in range(3):
            wave = waves[row, view]
            assert wave.shape == (8_000,) and np.isfinite(wave).all(), ODD[row]


def test_scoring_a_split_tells_or_leaves_out_and_says_so(corpus, tiny_encoder, tmp_path, detector):
    profile = profile_for(tiny_encoder, corpus, tmp_path).model_copy(update={"model": detector.model.config})
    with pytest.raises(preflight.BadAudio, match=r"\d+ clip\(s\)"):
        score_split(profile, detector.model, "train")
    skipping = profile.model_copy(update={"training": profile.training.model_copy(update={"bad_audio": "skip"})})
    table = score_split(skipping, detector.model, "train")
    listed = pd.read_csv(tmp_path / "run" / "trials" / "bad_audio_train.csv")
    trials = pd.read_parquet(corpus / "trials.parquet").query("split == 'train'")
    assert set(table["utt_id"]) | set(listed["utt_id"]) == set(trials["utt_id"]) and len(table) + len(listed) == len(trials)
    assert np.isfinite(table["score"]).all()


@pytest.mark.parametrize(
    "name", ["a dangling link", "a link to itself", "a named pipe", "a socket", "a folder", "a link to a device"]
)
def test_a_trial_table_does_not_take_what_is_no_plain_file(corpus, files, tiny_encoder, tmp_path, name):
    trials = pd.read_parquet(corpus / "trials.parquet")
    trials.loc[3, "path"] = str(files[name])
    (tmp_path / "corpus").mkdir()
    trials.to_parquet(tmp_path / "corpus" / "trials.parquet", index=False)
    profile = profile_for(tiny_encoder, tmp_path / "corpus", tmp_path)
    with pytest.raises(TrialTableError, match=f"1 of {len(trials)} .*\n  .*:5: {re.escape(str(files[name]))}"):
        load_trials(profile.data)


def test_three_hours(tmp_path, detector, monkeypatch):
    """Of a long file a crop costs nothing, and the rest no more memory than a block; the detector is a quick one."""
    path = in_blocks("long.flac", 3 * 3600, RATE)(tmp_path)
    started = time.monotonic()
    assert len(audio.read_crop(path, 8_000, lambda length: length - 8_000)) == 8_000
    assert time.monotonic() - started < 5
    lengths = [len(block) for block in audio.blocks(path)]
    assert sum(lengths) == 3 * 3600 * RATE and max(lengths) <= decoding.BLOCK
    assert preflight.unusable_reason(str(path)) == ""
    monkeypatch.setattr(Detector, "judge", lambda self, waves: (np.zeros(len(waves)), np.zeros(len(waves))))
    scored = score_recording(detector, path, hop_seconds=0.5, batch_size=512)
    assert scored.seconds == 3 * 3600 and len(scored.timeline) == 6 * 3600 and "almost no speech" in scored.warnings[0]


def test_what_may_not_be_read_is_an_error():
    """As root everything may be read, so another user tries."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        soundfile.write(folder / "file.flac", np.zeros(100), RATE)
        (folder / "closed").mkdir()
        soundfile.write(folder / "closed" / "a.flac", np.zeros(100), RATE)
        for path, mode in ((folder, 0o755), (folder / "file.flac", 0), (folder / "closed", 0)):
            path.chmod(mode)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)
        try:
            for path in (folder / "file.flac", folder / "closed" / "a.flac"):
                with pytest.raises(audio.AudioError, match=f"{path}: .*Permission denied"):
                    audio.read(path)
            with pytest.raises(audio.AudioError, match="closed: .*Permission denied"):
                audio.files_below(folder)
        finally:
            os.seteuid(user)
    finally:
        (folder / "closed").chmod(0o700)
        shutil.rmtree(folder)
