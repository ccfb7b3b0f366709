import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.metrics import MetricError


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    size = 600
    label = np.where(np.arange(size) < 200, "bonafide", "spoof")
    attack = np.where(label == "bonafide", "-", np.array(["lpc", "piper", "world"])[np.arange(size) % 3])
    shift = pd.Series({"-": 3.0, "lpc": -1.0, "piper": 0.0, "world": 1.5})
    return pd.DataFrame(
        {
            "score": rng.normal(shift[attack].to_numpy(), 1),
            "label": label,
            "attack": attack,
            "codec": rng.choice(["mp3", "none"], size),
            "speaker": rng.choice(list("abcde"), size),
        }
    )


def test_attacks_stand_against_all_bona_fide(scores):
    table = metrics.breakdown(scores, ["attack"], replicates=60)
    assert table["attack"].tolist() == ["lpc", "piper", "world", "pooled", "world"]
    assert table["row"].tolist() == ["cell", "cell", "cell", "pooled", "worst"]
    assert (table["bonafide"] == 200).all()
    world = scores["score"][scores["attack"] == "world"]
    bonafide = scores["score"][scores["label"] == "bonafide"]
    assert table["eer"][2] == metrics.eer(bonafide, world)[0] == table["eer"][4]
    assert table["spoof"].tolist()[:3] == scores["attack"].value_counts()[["lpc", "piper", "world"]].tolist()
    assert table["eer"][3] == metrics.eer(*metrics.split_classes(scores["label"], scores["score"]))[0]
    assert ((table["eer_low"] <= table["eer"]) & (table["eer"] <= table["eer_high"])).all()


def test_known_and_unseen_attacks_are_pooled_apart(scores):
    table = metrics.breakdown(scores, ["attack"], known={"lpc", "world"}, replicates=20).set_index("attack")
    assert table["seen"].tolist() == ["known", "unseen", "known", "-", "known", "unseen", "known"]
    assert table.loc["pooled unseen", "eer"] == table.loc["piper", "eer"]
    assert table.loc["pooled known", "spoof"] + table.loc["pooled unseen", "spoof"] == table.loc["pooled", "spoof"]


def test_codec_selects_bona_fide_too(scores):
    table = metrics.breakdown(scores, ["attack", "codec"], groups="speaker", replicates=20)
    assert len(table) == 6 + 1 + 1
    cell = table[(table["attack"] == "lpc") & (table["codec"] == "mp3") & (table["row"] == "cell")].iloc[0]
    mp3 = scores[scores["codec"] == "mp3"]
    bonafide, spoof = mp3[mp3["label"] == "bonafide"], mp3[mp3["attack"] == "lpc"]
    assert (cell["bonafide"], cell["spoof"]) == (len(bonafide), len(spoof))
    assert cell["eer"] == metrics.eer(bonafide["score"], spoof["score"])[0]


def test_cell_without_bona_fide_is_nan_and_never_the_worst(scores):
    scores.loc[(scores["label"] == "bonafide"), "codec"] = "none"
    table = metrics.breakdown(scores, ["codec"], replicates=10).set_index("codec")
    assert table.loc["mp3", "bonafide"] == 0
    assert np.isnan(table.loc["mp3", "eer"])
    assert table.index.tolist() == ["mp3", "none", "pooled", "none"]


def test_what_cannot_be_broken_down(scores):
    with pytest.raises(MetricError, match="no column channel, room; it has score"):
        metrics.breakdown(scores, ["channel"], groups="room")
    with pytest.raises(MetricError, match="at least one column"):
        metrics.breakdown(scores, [])
    with pytest.raises(MetricError, match="does not hold 'attack'"):
        metrics.breakdown(scores, ["codec"], known={"lpc"})
    with pytest.raises(MetricError, match="no bona fide scores"):
        metrics.breakdown(scores[scores["label"] == "spoof"], ["attack"])
    scores.loc[3, "codec"] = None
    with pytest.raises(MetricError, match="missing values in codec"):
        metrics.breakdown(scores, ["codec"])
