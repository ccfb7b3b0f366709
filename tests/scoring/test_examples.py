"""Example recordings: their formats, that all but the damaged one are readable, and their ground truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib import audio
from aasist_lib.scoring import ScoringError
from aasist_lib.scoring.examples import write_examples, write_m4a


@pytest.fixture
def trials(tmp_path: Path) -> pd.DataFrame:
    """Eval clips of two speakers, one of them spoofed by three attacks; each clip is a tone of its own frequency."""
    rows = []
    for number in range(12):
        label = "bonafide" if number < 6 else "spoof"
        speaker = "anna" if number % 2 or label == "spoof" else "ben"
        attack = "-" if label == "bonafide" else ("old", "old", "new", "new", "other", "other")[number - 6]
        path = tmp_path / "corpus" / f"u{number}.flac"
        audio.write_flac(path, 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * np.arange(40_000) / 16_000))
        rows.append((f"u{number:02d}", str(path), label, speaker, attack, "eval"))
    return pd.DataFrame(rows, columns=["utt_id", "path", "label", "speaker", "attack", "split"])


def tone(wave: np.ndarray) -> float:
    """Return the strongest frequency in Hz."""
    return np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * 16_000 / len(wave)


def test_seven_files_are_written_and_all_but_one_can_be_read(trials, tmp_path):
    truth = write_examples(tmp_path / "examples", trials, known=("old", "new"))
    files = audio.files_below(tmp_path / "examples")
    assert len(files) == 7 and set(truth["path"]) == {str(file) for file in files if file.name != "cut-off.wav"}
    with pytest.raises(audio.AudioError, match="cut off"):
        audio.read(tmp_path / "examples" / "cut-off.wav")
    info = {name: soundfile.info(tmp_path / "examples" / name) for name in ("bonafide-stereo.wav", "bonafide-telephone.wav")}
    assert (info["bonafide-stereo.wav"].samplerate, info["bonafide-stereo.wav"].channels) == (44_100, 2)
    assert (info["bonafide-telephone.wav"].samplerate, info["bonafide-telephone.wav"].subtype) == (8_000, "ULAW")
    assert set(truth["attack"]) == {"-", "old", "new"}, "known attacks come first"
    anna = {200 + 40 * number for number in (1, 3, 5)}
    for row in truth.itertuples():
        wave = audio.read(row.path)[round(row.start * 16_000) : round(row.end * 16_000)]
        assert len(wave) / 16_000 == pytest.approx(row.end - row.start, abs=0.1)
        heard = tone(wave[:38_000])
        assert min(abs(heard - hertz) for hertz in anna) < 2 if row.label == "bonafide" else heard > 430, row


def test_stretches_follow_one_another_and_alternate(trials, tmp_path):
    truth = write_examples(tmp_path / "examples", trials)
    long = truth[truth["path"].str.endswith("alternating.flac")]
    assert list(long["label"]) == ["bonafide", "spoof", "bonafide", "spoof"]
    assert list(long["start"][1:]) == list(long["end"][:-1]) and (long["end"] - long["start"] >= 7).all()
    assert len(audio.read(long["path"].iloc[0])) / 16_000 == pytest.approx(long["end"].iloc[-1])
    again = write_examples(tmp_path / "examples", trials.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(again, truth)


@pytest.mark.parametrize(
    ("bonafide", "spoofer"), [("anna", "ben"), ("-", "-"), ("anna", "-"), ("-", "ben")], ids=lambda name: name
)
def test_speakers_need_not_be_common_nor_told(trials, tmp_path, bonafide, spoofer):
    speakers = np.where(trials["label"] == "bonafide", bonafide, spoofer)
    truth = write_examples(tmp_path / "examples", trials.assign(speaker=speakers))
    assert len(truth) == 9 and list(truth["label"].iloc[-4:]) == ["bonafide", "spoof", "bonafide", "spoof"]


@pytest.mark.parametrize("split", ["dev", "train"])
def test_where_eval_lacks_a_class_another_split_serves(trials, tmp_path, split):
    only = trials[trials["label"] == "spoof"]
    other = trials.assign(split=split, utt_id="o" + trials["utt_id"])
    assert len(write_examples(tmp_path / "examples", pd.concat([only, other]))) == 9


def test_a_corpus_of_one_class_has_no_examples(trials, tmp_path):
    for label in ("bonafide", "spoof"):
        with pytest.raises(ScoringError, match="split"):
            write_examples(tmp_path / "examples", trials[trials["label"] == label])


def test_m4a_is_written_piece_by_piece_without_a_delay(tmp_path):
    wave = (0.3 * np.sin(np.arange(50_000) ** 1.3 / 500)).astype(np.float32)
    write_m4a(tmp_path / "a.m4a", np.split(wave, 5))
    found = audio.read(tmp_path / "a.m4a")
    assert 0 <= len(found) - len(wave) < 1024, "AAC frames have 1024 samples"
    assert np.corrcoef(found[: len(wave)], wave)[0, 1] > 0.98
