"""ASVspoof 2021 LA and DF: keys apart from the audio, three subsets, and DF's audio in several archives."""

from pathlib import Path

import pytest

from aasist_lib import audio
from aasist_lib.config import DataConfig
from aasist_lib.corpora import TrialTableError, load_trials
from aasist_lib.corpora.asvspoof2021 import load_asvspoof2021_la
from tests.corpora.conftest import record

KEYS = {
    "LA": [
        "LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval",
        "LA_0020 LA_E_7294490 g722 loc_tx bonafide bonafide notrim eval",
        "LA_0020 LA_E_7000001 none none A10 spoof notrim progress",
        "LA_0020 LA_E_7000002 none none bonafide bonafide trim hidden",
    ],
    "DF": [
        "LA_0043 DF_E_2000026 mp3m4a asvspoof A09 spoof notrim eval traditional_vocoder - - - -",
        "LA_0023 DF_E_2000053 nocodec asvspoof - bonafide notrim eval bonafide - - - -",
        "LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -",
    ],
}


def config(root: Path, track: str) -> DataConfig:
    return DataConfig(corpus=f"asvspoof2021_{track.lower()}", root=root)


def write_key(root: Path, track: str, place: str) -> Path:
    file = root / place / "CM" / "trial_metadata.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(KEYS[track]) + "\n")
    return file


@pytest.mark.parametrize("place", ["keys/LA", "LA-keys-full/keys/LA", "ASVspoof2021_LA_eval/keys/LA", "LA", "."])
def test_la_is_the_subset_eval_of_the_key(tmp_path, place):
    write_key(tmp_path, "LA", place)
    record(*(tmp_path / "ASVspoof2021_LA_eval" / "flac" / f"LA_E_{name}.flac" for name in ("9332881", "7294490")))
    trials = load_trials(config(tmp_path, "LA"))
    assert trials.drop(columns="path").to_numpy().tolist() == [
        ["LA_E_9332881", "spoof", "LA_0009", "A07", "alaw", "eval", "asvspoof2021_la"],
        ["LA_E_7294490", "bonafide", "LA_0020", "-", "g722", "eval", "asvspoof2021_la"],
    ]
    assert all(len(audio.read(path)) == 160 for path in trials["path"])


def test_key_and_audio_may_lie_in_the_root_itself(tmp_path):
    (tmp_path / "trial_metadata.txt").write_text("\n".join(KEYS["LA"]) + "\n")
    record(*(tmp_path / "flac" / f"LA_E_{name}.flac" for name in ("9332881", "7294490")))
    assert load_trials(config(tmp_path, "LA"))["utt_id"].tolist() == ["LA_E_9332881", "LA_E_7294490"]


def test_df_is_found_in_all_its_archives(tmp_path):
    write_key(tmp_path, "DF", "DF-keys-full/keys/DF")
    for part, name in (("00", "DF_E_2000026"), ("03", "DF_E_2000053")):
        record(tmp_path / f"ASVspoof2021_DF_eval_part{part}" / "ASVspoof2021_DF_eval" / "flac" / f"{name}.flac")
    trials = load_trials(config(tmp_path, "DF"))
    assert trials["codec"].tolist() == ["mp3m4a", "nocodec"] and trials["attack"].tolist() == ["A09", "-"]
    assert [Path(path).parts[-4] for path in trials["path"]] == [f"ASVspoof2021_DF_eval_part{part}" for part in ("00", "03")]
    assert all(len(audio.read(path)) == 160 for path in trials["path"])


def test_a_missing_key_names_every_place_and_the_download(tmp_path):
    record(tmp_path / "ASVspoof2021_DF_eval" / "flac" / "DF_E_2000026.flac")
    with pytest.raises(TrialTableError, match="key .*ASVspoof 2021 DF") as error:
        load_trials(config(tmp_path, "DF"))
    for place in ("keys/DF/CM", "DF-keys-full/keys/DF/CM"):
        assert f"\n  {tmp_path / place / 'trial_metadata.txt'}\n" in str(error.value)
    assert "https://www.asvspoof.org/asvspoof2021/DF-keys-full.tar.gz" in str(error.value)


def test_missing_audio_names_the_line_of_the_key(tmp_path):
    write_key(tmp_path, "DF", "keys/DF")
    with pytest.raises(TrialTableError, match=r"audio.*\n.*ASVspoof2021_DF_eval/flac\n"):
        load_trials(config(tmp_path, "DF"))
    record(tmp_path / "ASVspoof2021_DF_eval" / "flac" / "DF_E_2000026.flac")
    with pytest.raises(TrialTableError, match=rf"^{tmp_path}: 1 of 2 .*\n.*trial_metadata\.txt:2: .*DF_E_2000053"):
        load_trials(config(tmp_path, "DF"))


def test_a_key_without_the_subset_eval_is_refused(tmp_path):
    file = write_key(tmp_path, "LA", "keys/LA")
    file.write_text(KEYS["LA"][2] + "\n")
    with pytest.raises(TrialTableError, match="subset eval"):
        load_trials(config(tmp_path, "LA"))
    file.write_text("LA_E_9332881 spoof\n")
    with pytest.raises(TrialTableError, match="subsets"):
        load_trials(config(tmp_path, "LA"))


def test_there_is_nothing_to_train_on(tmp_path):
    with pytest.raises(TrialTableError, match="eval split"):
        load_asvspoof2021_la(tmp_path, ("train", "dev"))
