"""Scoring recordings: windows, calibrated numbers, what is left out, and the files written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from aasist_lib import audio
from aasist_lib.audio.windows import windows
from aasist_lib.config import Profile
from aasist_lib.metrics import Calibration
from aasist_lib.models.checkpoints import CheckpointError, load_model, read_facts, save_checkpoint, trained_weights
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import ScoringError, score_split
from aasist_lib.scoring.batch import for_terminal, result_table, score_to_csv
from aasist_lib.scoring.detector import Detector, posterior
from aasist_lib.scoring.recordings import LeftOut, Recording, score_recording, score_recordings
from aasist_lib.training import train
from tests.conftest import SAMPLES, profile_for

RATE = 16_000


@pytest.fixture(scope="module")
def profile(tiny_encoder: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The toy profile with LFCC, which quickly learns to separate noise from chords."""
    toy = profile_for(tiny_encoder, tiny_corpus, tmp_path_factory.mktemp("recordings"))
    return toy.model_copy(update={
        "training": toy.training.model_copy(update={"epochs": 12}),  # well separated scores, whatever the rounding
        "model": toy.model.model_copy(update={
            "frontend": toy.model.frontend.model_copy(update={"kind": "lfcc"}), "layer_norm": True, "activation": "selu",
            "dropout": 0.0, "pool_dropout": 0.0, "readout_dropout": 0.0, "attention_dropout": 0.0,
        }),
    })  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(profile: Profile) -> Path:
    return train(profile, RunFolder.open(profile)).checkpoint


@pytest.fixture(scope="module")
def detector(checkpoint: Path) -> Detector:
    return Detector.load(checkpoint)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two seconds of noise, two of a chord, both in sequence, a damaged file and an empty folder."""
    rng, time = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    noise, chord = 0.1 * rng.standard_normal(2 * RATE), 0.1 * np.sin(2 * np.pi * 300 * time)
    folder = tmp_path / "files"
    (folder / "empty").mkdir(parents=True)
    for name, wave in (("chord", chord), ("noise", noise), ("both", np.concatenate((noise, chord)))):
        soundfile.write(folder / f"{name}.wav", wave, RATE)
    (folder / "broken.wav").write_bytes((folder / "noise.wav").read_bytes()[:20_000])
    return folder


def starts_of(samples: int, length: int, hop: int, block: int) -> list[int]:
    """Return the starts of a ramp's windows, after checking that each has the ramp's values."""
    ramp, found = np.arange(samples, dtype=np.float32), []
    for start, window in windows((ramp[i : i + block] for i in range(0, samples, block)), length, hop):
        assert np.array_equal(window, ramp[start : start + length])
        found.append(start)
    return found


@pytest.mark.parametrize("block", [1, 7, 10, 33, 1000])
def test_windows_overlap_and_the_last_one_ends_with_the_wave(block):
    assert starts_of(10, 10, 5, block) == [0]
    assert starts_of(15, 10, 5, block) == [0, 5]
    assert starts_of(16, 10, 5, block) == [0, 5, 6]
    assert starts_of(34, 10, 10, block) == [0, 10, 20, 24]
    assert starts_of(40, 10, 10, block) == [0, 10, 20, 30]
    assert starts_of(23, 10, 3, block) == [0, 3, 6, 9, 12, 13]
    assert starts_of(12, 10, 1, block) == [0, 1, 2]


def test_a_wave_shorter_than_a_window_is_repeated():
    ((start, window),) = windows([np.arange(3, dtype=np.float32), np.array([3], np.float32)], 10, 5)
    assert start == 0 and window.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_windows_take_only_the_blocks_they_need():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield np.zeros(100, np.float32)

    stream = windows(endless(), 250, 125)
    assert [next(stream)[0] for _ in range(3)] == [0, 125, 250] and len(taken) == 5


def test_files_of_one_window_have_the_scores_of_the_corpus(profile, detector):
    expected = score_split(profile, detector.model, "eval")
    scored = list(score_recordings(detector, expected["path"]))
    np.testing.assert_allclose([each.score for each in scored], expected["score"], atol=2e-2)
    assert [len(each.timeline) for each in scored] == [1] * 12 and {each.seconds for each in scored} == {0.5}


def test_a_score_is_the_mean_of_its_windows_each_scored_alone(detector, files):
    found = score_recording(detector, files / "both.wav", hop_seconds=0.3, batch_size=4)
    wave = audio.read(files / "both.wav")
    assert list(found.timeline["start"]) == pytest.approx([*np.arange(0, 3.51, 0.3), 3.5])
    np.testing.assert_allclose(found.timeline["end"] - found.timeline["start"], SAMPLES / RATE)
    with torch.inference_mode():
        for row in found.timeline.itertuples():
            window = wave[round(row.start * RATE) :][:SAMPLES]
            logits = detector.model(torch.from_numpy(window)[None])[0]
            assert row.score == pytest.approx(float(logits[1] - logits[0]), abs=1e-4)
    speech = found.timeline[found.timeline["decision"].isin(["bonafide", "spoof"])]
    assert found.score == pytest.approx(speech["score"].mean()) and found.seconds == 4
    before = found.timeline["end"] <= 2
    assert found.timeline["score"][before].min() > found.timeline["score"][found.timeline["start"] >= 2].max()
    fitted = detector.calibration
    ratios = (fitted.scale * speech["score"] + fitted.offset).clip(-fitted.bound, fitted.bound)
    np.testing.assert_allclose(speech["llr"], ratios)
    assert found.llr == pytest.approx(np.clip(fitted.scale * found.score + fitted.offset, -fitted.bound, fitted.bound))
    assert len(found.peaks) == 200 and found.peaks.max() == pytest.approx(np.abs(wave).max())


def test_the_hop_is_half_a_window_unless_said_and_never_more_than_one(detector, files):
    assert list(score_recording(detector, files / "noise.wav").timeline["start"][:3]) == [0, 0.25, 0.5]
    assert len(score_recording(detector, files / "noise.wav", hop_seconds=0.5).timeline) == 4
    for hop in (0, -1, 0.51):
        with pytest.raises(ScoringError, match=f"hop = {hop} s: .* 0.5 s "):
            score_recording(detector, files / "noise.wav", hop_seconds=hop)


def test_progress_adds_up_to_the_length(detector, files):
    steps = []
    score_recording(detector, files / "both.wav", batch_size=3, on_progress=steps.append)
    assert len(steps) > 3 and sum(steps) == pytest.approx(4) and min(steps) > 0


def test_windows_without_sound_are_told(detector, tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", np.pad(0.1 * rng.standard_normal(2 * RATE), (0, 2 * RATE)), RATE)
    found = score_recording(detector, tmp_path / "a.wav")
    assert found.timeline["loud"].iloc[0] == 1 and found.timeline["loud"].iloc[-1] == 0
    silent = found.timeline["start"] >= 2
    assert found.warnings[0] == f"{silent.sum()} of 15 windows contain no speech and are excluded from the mean"
    assert set(found.timeline["decision"][silent]) == {"undecided: no speech"}
    counted = ~silent & (found.timeline["distance"] <= 1)
    assert found.score == pytest.approx(found.timeline["score"][counted].mean())
    assert found.timeline["llr"][~counted].isna().all() and found.timeline["llr"][counted].notna().all()


@pytest.mark.parametrize(
    ("seconds", "level", "decision"),
    [(3, 0.0, "undecided: no speech"), (3, 1e-5, "undecided: no speech"), (0.3, 0.1, "undecided: too short")],
)
def test_silence_and_what_is_too_short_get_no_decision(detector, tmp_path, seconds, level, decision):
    wave = level * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    found = score_recording(detector, tmp_path / "a.wav")
    assert (found.decision, found.llr, found.capped) == (decision, None, False) and np.isfinite(found.score)
    table, _ = score_to_csv(detector, [tmp_path / "a.wav"], tmp_path / "out.csv", 0.5, timeline=True)
    assert table["decision"][0] == decision and table[["llr", "p_bonafide"]].isna().all(axis=None)
    written = pd.read_csv(tmp_path / "out.csv")
    assert written["decision"][0] == decision and written[["llr", "p_bonafide"]].isna().all(axis=None)
    assert pd.read_csv(tmp_path / "out_timeline.csv")["decision"].str.startswith("undecided").all()
    assert f"{decision}  –" in for_terminal(table)


def test_what_is_unlike_the_training_data_is_undecided_and_says_how_far(detector, tmp_path):
    """The detector was trained on noise and chords of little level; a loud buzz is neither."""
    buzz = np.sign(np.sin(2 * np.pi * 110 * np.arange(3 * RATE) / RATE)) * 0.9
    soundfile.write(tmp_path / "a.wav", buzz, RATE)
    found = score_recording(detector, tmp_path / "a.wav")
    assert found.distance > 2 and found.llr is None and np.isfinite(found.score)
    assert found.decision == f"undecided: unlike anything trained on (distance {found.distance:.2f}, limit 1)"
    assert set(found.timeline["decision"]) == {"undecided: unlike anything trained on"}
    table = result_table([found], detector, 0.5)
    assert table["p_bonafide"].isna().all() and table["distance"][0] == found.distance
    always = replace(detector, always=True)
    forced = score_recording(always, tmp_path / "a.wav")
    assert forced.decision == always.decide(forced.score) and forced.llr is not None and forced.score == found.score
    assert set(forced.timeline["decision"]) <= {"bonafide", "spoof"} and forced.timeline["llr"].notna().all()
    assert any(warning.startswith("decided, although unlike anything trained on") for warning in forced.warnings)
    assert "decides every recording" in always.caution() and "leaves undecided" not in always.caution()


def test_windows_unlike_the_training_data_are_excluded_from_the_mean(detector, files, tmp_path):
    noise = audio.read(files / "noise.wav")
    buzz = (np.sign(np.sin(2 * np.pi * 110 * np.arange(RATE) / RATE)) * 0.9).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate((noise, buzz)), RATE, subtype="FLOAT")
    found = score_recording(detector, tmp_path / "a.wav")
    unlike = found.timeline["distance"] > 1
    assert unlike[found.timeline["start"] >= 2].all() and not unlike.all() and found.distance <= 1
    assert found.score == pytest.approx(found.timeline["score"][~unlike].mean()) and found.llr is not None
    assert f"{unlike.sum()} of {len(unlike)} windows are unlike anything trained on and are excluded" in found.warnings[0]
    assert found.timeline["llr"].isna().equals(unlike)


def test_a_recording_that_is_mostly_unlike_says_that_a_part_is_not(detector, files, tmp_path):
    noise = audio.read(files / "noise.wav")
    buzz = (np.sign(np.sin(2 * np.pi * 110 * np.arange(5 * RATE) / RATE)) * 0.9).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate((noise, buzz)), RATE, subtype="FLOAT")
    found = score_recording(detector, tmp_path / "a.wav")
    typical = (found.timeline["distance"] <= 1).sum()
    assert found.decision.startswith("undecided: unlike") and typical
    assert f"{typical} of {len(found.timeline)} windows are decided: look at the timeline" in found.warnings
    assert set(found.timeline["decision"]) > {"undecided: unlike anything trained on"}


def test_silence_within_is_excluded_also_if_every_recording_must_be_decided(detector, files, tmp_path):
    noise = audio.read(files / "noise.wav")
    soundfile.write(tmp_path / "a.wav", np.concatenate((noise, 0 * noise)), RATE, subtype="FLOAT")
    forced = score_recording(replace(detector, always=True), tmp_path / "a.wav")
    assert any("windows contain no speech and are excluded" in warning for warning in forced.warnings)


def test_silence_is_decided_too_if_every_recording_must_be(detector, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(3 * RATE), RATE)
    forced = score_recording(replace(detector, always=True), tmp_path / "a.wav")
    assert forced.decision in ("bonafide", "spoof") and "decided, although no speech" in "; ".join(forced.warnings)


def test_a_burst_in_silence_is_no_speech_to_judge(detector, tmp_path):
    wave = np.zeros(6 * RATE)
    wave[3 * RATE : 3 * RATE + 2000] = 0.5
    soundfile.write(tmp_path / "a.flac", wave, RATE)
    assert score_recording(detector, tmp_path / "a.flac").decision == "undecided: no speech"


def test_a_file_whose_channels_cancel_has_the_decision_of_one_and_says_so(detector, files, tmp_path):
    wave = audio.read(files / "chord.wav")
    soundfile.write(tmp_path / "turned.wav", np.stack([0.9 * wave, -wave], axis=1), RATE)
    alone, found = score_recording(detector, files / "chord.wav"), score_recording(detector, tmp_path / "turned.wav")
    assert (found.channel, found.decision) == ("2", alone.decision)
    assert found.warnings[0] == "the mean of its 2 channels cancels: channel 2, the loudest, was scored alone"


def test_the_two_sides_of_a_call_are_scored_apart(detector, files, tmp_path):
    noise, chord = (audio.read(files / f"{name}.wav") for name in ("noise", "chord"))
    soundfile.write(tmp_path / "call.wav", np.stack([noise, chord], axis=1), RATE)
    scored = list(score_recordings(detector, [tmp_path / "call.wav", files / "noise.wav"], each_channel=True))
    assert [(each.channel, each.decision) for each in scored] == [("1", "bonafide"), ("2", "spoof"), ("mono", "bonafide")]
    assert scored[1].score == pytest.approx(score_recording(detector, files / "chord.wav").score, abs=0.05)
    out = tmp_path / "out.csv"
    table, _ = score_to_csv(detector, [tmp_path / "call.wav"], out, 0.5, timeline=True, each_channel=True)
    assert list(pd.read_csv(out, dtype=str)["channel"]) == list(table["channel"]) == ["1", "2"]
    assert "call.wav #1  bonafide" in for_terminal(table) and "call.wav #2  spoof" in for_terminal(table)
    assert set(pd.read_csv(tmp_path / "out_timeline.csv", dtype=str)["channel"]) == {"1", "2"}


def test_what_lies_beyond_the_bound_is_capped_and_marked(detector, files, tmp_path):
    sure = Detector(detector.model, detector.threshold, Calibration(100.0, 0.0, math.log(6), True), detector.facts)
    table, _ = score_to_csv(sure, [files / "chord.wav", files / "noise.wav"], tmp_path / "out.csv", 0.5, timeline=True)
    assert table["capped"].all() and table["llr"].abs().max() == pytest.approx(math.log(6))
    assert table["warnings"].str.contains("likelihood ratio capped at [+-]1.8").all()
    assert "≤ 14.3%" in for_terminal(table) and "≥ 85.7%" in for_terminal(table)
    written = pd.read_csv(tmp_path / "out.csv")
    assert written["capped"].all() and pd.read_csv(tmp_path / "out_timeline.csv")["llr"].abs().max() <= math.log(6) + 1e-9


def test_files_of_one_name_in_two_folders_are_two(detector, files, tmp_path):
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
    for side, name in (("left", "noise"), ("right", "chord")):
        (tmp_path / side / "a.wav").write_bytes((files / f"{name}.wav").read_bytes())
    table, _ = score_to_csv(detector, [tmp_path / "left", tmp_path / "right"], tmp_path / "out.csv", 0.5)
    assert table["utt_id"].tolist() == [str(tmp_path / side / "a.wav") for side in ("left", "right")]
    assert table["decision"].tolist() == ["bonafide", "spoof"]


def test_links_to_folders_are_followed_and_counts_say_what_was_left_out(detector, files, tmp_path):
    (files / "more").symlink_to(files / "empty")
    (files / "loop").symlink_to(files)
    for name in ("._noise.wav", "notes.txt"):
        (files / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "noise.wav").write_bytes((files / "noise.wav").read_bytes())
    (files / "linked").symlink_to(tmp_path / "elsewhere")
    said: list[str] = []
    table, _ = score_to_csv(detector, [files], tmp_path / "out.csv", 0.5, say=said.append)
    assert str(files / "linked" / "noise.wav") in table["utt_id"].tolist() and len(table) == 4
    assert said == [
        "not audio, left out of the folders: 1 '.txt' files, 1 files that a system keeps for itself, "
        "2 folders that a link leads to again"
    ]


def test_scores_that_are_no_numbers_are_an_error(detector, files, monkeypatch):
    monkeypatch.setattr(detector.model.backend, "forward", lambda states: torch.full((len(states), 2), torch.nan))
    with pytest.raises(audio.AudioError, match="not finite"):
        score_recording(detector, files / "noise.wav")


@pytest.mark.parametrize(
    ("llr", "p_spoof", "expected"),
    [(0, 0.5, 0.5), (0, 0.05, 0.95), (math.log(9), 0.5, 0.9), (math.log(9), 0.9, 0.5), (-math.log(3), 0.25, 0.5)],
)
def test_the_posterior_is_that_of_bayes(llr, p_spoof, expected):
    assert float(posterior(llr, p_spoof)) == pytest.approx(expected)
    likelihood = math.exp(llr)
    assert expected == pytest.approx(likelihood * (1 - p_spoof) / (likelihood * (1 - p_spoof) + p_spoof))


@pytest.mark.parametrize("prior", [0, 1, -0.1, 50])
def test_an_impossible_prior_is_refused(prior):
    with pytest.raises(ScoringError, match="spoof = "):
        posterior(0.0, prior)


def of_scores(*scores: float) -> Recording:
    timeline = pd.DataFrame({"start": np.arange(len(scores)) * 1.5, "end": np.arange(len(scores)) * 1.5 + 3, "score": scores})
    mean = float(np.mean(scores))
    timeline["decision"] = ["bonafide" if score > 0.5 else "spoof" for score in scores]
    decision = "bonafide" if mean > 0.5 else "spoof"
    return Recording("a.wav", "mono", 9.0, mean, decision, 2 * mean, False, 0.7, timeline, np.zeros(1), ("one", "two"))


def test_a_row_says_everything_of_a_recording(detector):
    detector = Detector(detector.model, 0.5, Calibration(2, 0, 9.0, False), detector.facts)
    (row,) = result_table([of_scores(2, -3, 4)], detector, 0.2).to_dict("records")
    assert row == pytest.approx(
        {"utt_id": "a.wav", "channel": "mono", "capped": False,
         "score": 1.0, "llr": 2.0, "distance": 0.7, "p_bonafide": math.exp(2) * 4 / (math.exp(2) * 4 + 1),
         "decision": "bonafide", "seconds": 9.0, "windows": 3, "lowest_score": -3.0, "lowest_start": 1.5,
         "warnings": "one; two"}
    )  # fmt: skip
    assert list(result_table([of_scores(0.5), of_scores(0.51)], detector, 0.5)["decision"]) == ["spoof", "bonafide"]


def test_what_cannot_be_scored_is_listed_and_does_not_stop_the_rest(detector, files):
    found = list(score_recordings(detector, [files, files / "none.wav", files / "empty", files / "noise.wav"]))
    scored = [Path(each.path).name for each in found if isinstance(each, Recording)]
    assert scored == ["both.wav", "chord.wav", "noise.wav"], "sorted by name, each once"
    out = {Path(each.path).name: each.reason for each in found if isinstance(each, LeftOut)}
    assert out.keys() == {"broken.wav", "none.wav", "empty"}
    assert out["broken.wav"].startswith("cut off") and out["none.wav"].endswith("no such file")
    assert out["empty"].startswith("no audio in this folder; looked for .flac")


def test_csv_files_hold_results_timelines_and_what_was_left_out(detector, files, tmp_path):
    out = tmp_path / "new" / "scores.csv"
    table, left_out = score_to_csv(detector, [files], out, 0.1, timeline=True)
    written = pd.read_csv(out, keep_default_na=False)
    pd.testing.assert_frame_equal(written, table, check_dtype=False)
    assert list(written["decision"][written["utt_id"].str.endswith(("chord.wav", "noise.wav"))]) == ["spoof", "bonafide"]
    timeline = pd.read_csv(tmp_path / "new" / "scores_timeline.csv")
    assert list(timeline.columns) == ["utt_id", "channel", "start", "end", "score", "llr", "distance", "loud", "decision"]
    assert timeline.groupby("utt_id").size().to_dict() == dict(zip(written["utt_id"], written["windows"], strict=True))
    judged = timeline[~timeline["decision"].str.startswith("undecided")]
    np.testing.assert_allclose(judged.groupby("utt_id")["score"].mean()[written["utt_id"]], written["score"])
    listed = pd.read_csv(tmp_path / "new" / "scores_left_out.csv")
    assert [tuple(row) for row in listed.itertuples(index=False)] == left_out and len(left_out) == 1
    score_to_csv(detector, [files / "noise.wav"], out, 0.1)
    assert not (tmp_path / "new" / "scores_left_out.csv").exists(), "now nothing is left out"


def test_nothing_is_written_where_nothing_can_be_scored(detector, files, tmp_path):
    with pytest.raises(ScoringError, match=r"\n.*broken\.wav: cut off"):
        score_to_csv(detector, [files / "broken.wav"], tmp_path / "out.csv", 0.5)
    with pytest.raises(ScoringError, match="spoof = 2"):
        score_to_csv(detector, [files / "noise.wav"], tmp_path / "out.csv", 2)
    assert not list(tmp_path.glob("*.csv"))


def test_the_caution_names_corpus_numbers_and_limits(detector):
    text = detector.caution()
    assert "“Toy”: 6 bona fide clips of 1 speaker and 6 spoofed ones, corpus demo, encoder lfcc" in text
    assert f"its equal error rate is {detector.facts['dev_eer']:.1%}" in text and "not evidence on its own" in text
    assert "fitted on 6 bona fide and 6 spoofed dev clips and are capped at ±1.8" in text
    assert detector.calibration.separable and "ON DEV IT MADE NO ERROR" in text
    wrong = Detector(detector.model, 0.0, Calibration(-1, 0, 1.8, False), detector.facts)
    assert "ON DEV IT MADE NO ERROR" not in wrong.caution()
    key = {**detector.facts["key"], "code": detector.facts["key"]["code"] | {"models/graph.py": "0"}}
    older = Detector(detector.model, 0.0, detector.calibration, detector.facts | {"key": key})
    assert "models/graph.py changed since" in older.caution() and "changed since" not in text
    assert "A HIGHER SCORE MEANT SPOOF" in wrong.caution() and "A HIGHER" not in text


def test_a_checkpoint_without_calibration_gives_scores_alone(checkpoint, files, tmp_path):
    model, facts = load_model(checkpoint)
    older = {key: value for key, value in read_facts(checkpoint).items() if key not in ("calibration", "trained_on")}
    save_checkpoint(tmp_path / "older", trained_weights(model), older)
    with pytest.raises(ScoringError, match="/older: .*calibration.* delete "):
        Detector.load(tmp_path / "older")
    detector = Detector.load(tmp_path / "older", scores_only=True)
    assert "does not name" in detector.caution() and "likelihood" not in detector.caution()
    table, _ = score_to_csv(detector, [files / "both.wav"], tmp_path / "scores.csv", 0.5, timeline=True)
    assert list(table.columns) == [
        "utt_id", "channel", "decision", "score", "distance", "seconds", "windows", "lowest_score", "lowest_start", "warnings",
    ]  # fmt: skip
    assert "llr" not in pd.read_csv(tmp_path / "scores_timeline.csv").columns
    assert "IT HAS NO TYPICALITY" in detector.caution() and table["distance"].isna().all()
    whole = score_recording(replace(Detector.load(checkpoint), typicality=None), files / "both.wav")
    assert table["score"][0] == whole.score and detector.threshold == facts["dev_threshold"]
    with pytest.raises(CheckpointError, match="/nowhere"):
        Detector.load(tmp_path / "nowhere")


class Stop(Exception):
    """An interruption."""


def stop_after(count: int):
    """Return a progress callback that stops scoring after `count` recordings of one window."""
    seen = []

    def progress(_: float) -> None:
        seen.append(1)
        if len(seen) > count:
            raise Stop

    return progress


def many(folder: Path, count: int = 5) -> list[Path]:
    """Write short noise recordings, each with a different score."""
    rng, paths = np.random.default_rng(1), []
    for number in range(count):
        paths.append(folder / f"noise{number}.wav")
        soundfile.write(paths[-1], 0.1 * rng.standard_normal(SAMPLES), RATE)
    return paths


def test_a_call_that_was_stopped_goes_on(detector: Detector, tmp_path: Path) -> None:
    paths, out, whole = many(tmp_path), tmp_path / "out.csv", tmp_path / "whole.csv"
    score_to_csv(detector, paths, whole, 0.5, timeline=True)
    with pytest.raises(Stop):
        score_to_csv(detector, paths, out, 0.5, timeline=True, on_progress=stop_after(3))
    kept = tmp_path / "out_unfinished.jsonl"
    assert not out.exists() and len(kept.read_text().splitlines()) == 1 + 3
    with kept.open("a") as file:
        file.write('{"file": [1, 2], "recor')  # killed while writing
    scored, said = [], []
    score_to_csv(detector, paths, out, 0.5, timeline=True, on_progress=scored.append, say=said.append)
    assert len(scored) == 2 and said == [f"resuming: 3 recordings are already scored, in {kept}"]
    assert not kept.exists()
    for name in ("{}.csv", "{}_timeline.csv"):
        assert (tmp_path / name.format("out")).read_text() == (tmp_path / name.format("whole")).read_text()


def test_what_has_changed_is_scored_again(detector: Detector, checkpoint: Path, tmp_path: Path) -> None:
    paths, out = many(tmp_path), tmp_path / "out.csv"
    with pytest.raises(Stop):
        score_to_csv(detector, paths, out, 0.5, on_progress=stop_after(4))
    soundfile.write(paths[1], np.zeros(SAMPLES), RATE)
    scored: list[float] = []
    table, _ = score_to_csv(detector, paths, out, 0.5, on_progress=scored.append, say=lambda line: None)
    assert len(scored) == 2 and list(table["utt_id"]) == [str(path) for path in paths]
    assert table["score"][1] == score_recording(detector, paths[1]).score
    said: list[str] = []
    for changes in ({"hop_seconds": 0.25}, {}):  # other windows, then the previous ones: nothing is reused
        with pytest.raises(Stop):
            score_to_csv(detector, paths, out, 0.5, on_progress=stop_after(2), say=said.append, **changes)
    kept = tmp_path / "out_unfinished.jsonl"
    assert said == [f"{kept}: hop_seconds was 0.25 and is None: its recordings are scored again"]
