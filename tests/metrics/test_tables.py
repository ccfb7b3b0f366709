import numpy as np
import pandas as pd
import pytest

from aasist_lib import metrics
from aasist_lib.metrics import MetricError
from aasist_lib.metrics.tables import DURATIONS, duration_class


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


def test_attacks_that_the_corpus_does_not_tell_are_neither_known_nor_unseen(scores):
    scores["attack"] = scores["attack"].replace("world", "-")
    table = metrics.breakdown(scores, ["attack"], known={"lpc"}, replicates=20)
    table = table[table["row"] != "worst"].set_index("attack")
    assert table.loc["-", "seen"] == "untold" and table.loc["pooled untold", "eer"] == table.loc["-", "eer"]
    assert table.loc["pooled unseen", "spoof"] == table.loc["piper", "spoof"]
    results = metrics.results_table({("a", "eval"): scores}, {"lpc"}, {"a": "A"}, replicates=20)
    assert results["attacks"].tolist() == ["known", "unseen", "untold"] and results["spoof"].sum() == 400
    listed = metrics.results_table({("a", "eval"): scores}, {"lpc", "-"}, {"a": "A"}, replicates=20)
    assert listed["attacks"].tolist() == ["known", "unseen"], "who calls '-' known has no training to set it against"


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
    with pytest.raises(MetricError, match="column.* channel, room.* score"):
        metrics.breakdown(scores, ["channel"], groups="room")
    with pytest.raises(MetricError, match=r"^by = \[\]"):
        metrics.breakdown(scores, [])
    with pytest.raises(MetricError, match="by = .*'attack'"):
        metrics.breakdown(scores, ["codec"], known={"lpc"})
    with pytest.raises(MetricError, match="bona fide scores"):
        metrics.breakdown(scores[scores["label"] == "spoof"], ["attack"])
    scores.loc[3, "codec"] = None
    with pytest.raises(MetricError, match="values .*codec"):
        metrics.breakdown(scores, ["codec"])


def test_the_settings_of_the_bootstrap_reach_every_row(scores):
    few = scores.iloc[150:300]
    default = metrics.breakdown(few, ["attack"])
    pd.testing.assert_frame_equal(default, metrics.breakdown(few, ["attack"], replicates=1000, confidence=0.95, seed=0))
    for groups in (None, "speaker"):
        wide, narrow = (metrics.breakdown(few, ["attack"], groups=groups, replicates=99, confidence=c) for c in (0.95, 0.5))
        assert ((narrow["eer_high"] - narrow["eer_low"]) < (wide["eer_high"] - wide["eer_low"])).all()


def test_rows_of_known_and_unseen_attacks_are_pooled_ones(scores):
    table = metrics.breakdown(scores, ["attack"], known={"lpc"}, replicates=5)
    assert table["row"].tolist() == ["cell"] * 3 + ["pooled"] * 3 + ["worst"]


def test_without_any_bona_fide_in_its_cells_a_table_has_no_worst(scores):
    codec = np.where(scores["label"] == "bonafide", "none", "mp3")
    assert metrics.breakdown(scores.assign(codec=codec), ["codec"], replicates=5)["row"].tolist() == ["cell", "pooled"]


def test_messages_of_a_breakdown_list_what_is_missing(scores):
    with pytest.raises(MetricError, match=r"^by = \[\]"):
        metrics.breakdown(scores, [])
    with pytest.raises(MetricError, match="column.* a, b; .*score, label, .*speaker$"):
        metrics.breakdown(scores, ["a", "b"])
    with pytest.raises(MetricError, match="values .*attack, codec"):
        metrics.breakdown(scores.assign(attack=None, codec=None), ["attack", "codec"])


def test_results_have_a_row_for_each_system_split_and_group_of_attacks(scores):
    tables = {("aasist", "dev"): scores, ("aasist", "eval"): scores[scores["attack"] != "piper"], ("probe", "dev"): scores}
    names = {"aasist": "AASIST", "probe": "Linear probe"}
    found = metrics.results_table(tables, {"lpc", "world"}, names, replicates=50, confidence=0.8, seed=3)
    assert list(found.columns) == ["system", "split", "attacks", "bonafide", "spoof", "EER", "low", "high", "min DCF", "Cllr"]
    assert found[["system", "split", "attacks"]].to_numpy().tolist() == [
        ["AASIST", "dev", "known"], ["AASIST", "dev", "unseen"], ["AASIST", "eval", "known"],
        ["Linear probe", "dev", "known"], ["Linear probe", "dev", "unseen"],
    ]  # fmt: skip
    bonafide = scores.loc[scores["label"] == "bonafide", "score"]
    piper = scores.loc[scores["attack"] == "piper", "score"]
    expected = metrics.bootstrap(bonafide, piper, replicates=50, confidence=0.8, seed=3)
    row = found.iloc[1]
    assert row["bonafide":"spoof"].tolist() == [200, len(piper)]
    assert row["EER":"high"].tolist() == [expected.eer.value, expected.eer.low, expected.eer.high]
    assert row["min DCF"] == metrics.min_dcf(bonafide, piper) and row["Cllr"] == metrics.cllr(bonafide, piper)
    assert found.iloc[0]["spoof"] == (scores["attack"].isin(["lpc", "world"])).sum()
    unseen = metrics.results_table({("aasist", "dev"): scores}, {"none of them"}, names, replicates=5)
    assert unseen["attacks"].tolist() == ["unseen"]
    default = metrics.results_table({("aasist", "dev"): scores.iloc[150:250]}, {"lpc"}, names)
    again = metrics.results_table(
        {("aasist", "dev"): scores.iloc[150:250]}, {"lpc"}, names, replicates=1000, confidence=0.95, seed=0
    )
    pd.testing.assert_frame_equal(default, again)


def test_durations_are_classed_and_stand_in_their_order():
    rng = np.random.default_rng(0)
    seconds = pd.Series(np.tile([5.0, 1.9, 2.0, 4.0, 4.1, 0.5], 20))
    table = pd.DataFrame({"score": rng.normal(size=120), "label": np.repeat(["bonafide", "spoof"], 60), "attack": "-"})
    table["duration"] = duration_class(seconds)
    assert table["duration"].astype(str).head(6).tolist() == ["> 4 s", "< 2 s", "2–4 s", "2–4 s", "> 4 s", "< 2 s"]
    found = metrics.breakdown(table, ["duration"], replicates=5)
    cells = found[found["row"] == "cell"]
    assert cells["duration"].tolist() == list(DURATIONS) and cells["bonafide"].tolist() == [20, 20, 20]
