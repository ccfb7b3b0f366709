"""The profiles of the published corpora: complete, of one form, and usable once the corpora are there."""

from pathlib import Path

import pytest

from aasist_lib.config import ModelConfig, load_profile
from aasist_lib.corpora import load_trials
from tests.corpora.conftest import record

PROFILES = ("asvspoof5", "asvspoof2019_la", "in_the_wild")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_the_papers_network_and_crops(name):
    profile = load_profile(name)
    assert profile.model.frontend.name == "facebook/wav2vec2-xls-r-300m" and profile.model.frontend.layer == "last"
    assert profile.model.model_dump(exclude={"frontend"}) == ModelConfig().model_dump(exclude={"frontend"})
    assert profile.model.samples == 64_600 and not profile.training.feature_cache


def test_in_the_wild_differs_from_2019_in_what_it_is_tested_on_alone():
    one, other = (load_profile(name).model_dump() for name in ("asvspoof2019_la", "in_the_wild"))
    assert {key for key in one if one[key] != other[key]} == {"name", "title", "data"}
    assert {key for key in one["data"] if one["data"][key] != other["data"][key]} == {"evaluate_on"}
    assert other["data"]["evaluate_on"]["corpus"] == "in_the_wild"


def test_in_the_wild_loads_both_its_corpora(tmp_path: Path):
    la, wild = tmp_path / "2019" / "LA", tmp_path / "wild"
    for split, ending in (("train", "trn"), ("dev", "trl")):
        file = la / "ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{split}.{ending}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"LA_{split} LA_{split}_1 - - bonafide\nLA_{split} LA_{split}_2 - A01 spoof\n")
        record(*(la / f"ASVspoof2019_LA_{split}" / "flac" / f"LA_{split}_{number}.flac" for number in (1, 2)))
    record(wild / "0.wav", wild / "1.wav")
    (wild / "meta.csv").write_text("file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Alec Guinness,bona-fide\n")
    profile = load_profile("in_the_wild", [f"data.root={tmp_path / '2019'}", f"data.evaluate_on.root={wild}"])
    trials = load_trials(profile.data)
    assert trials.groupby(["split", "corpus"]).size().to_dict() == {
        ("dev", "asvspoof2019_la"): 2, ("eval", "in_the_wild"): 2, ("train", "asvspoof2019_la"): 2,
    }  # fmt: skip
