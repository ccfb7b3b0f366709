import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib.explain.attribution import FRAME_SECONDS
from aasist_lib.explain.faithfulness import (
    area_table,
    best_map,
    deletion_insertion,
    frame_truth,
    localisation,
    localisation_table,
    localise,
    mean_interval,
    spoofed_stretches,
    verdicts,
)
from tests.explain.planted import Planted, planted_wave

SAMPLES, RATE = 48_000, 16_000
FRAMES = SAMPLES // 320
KINDS = ("spoof in bona fide", "bona fide in spoof", "control")
BY_THE_SCORE = ("saliency", "integrated_gradients", "occlusion", "segments")


@pytest.fixture
def model():
    return Planted(SAMPLES)


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """Twelve recordings, three clips each, for a detector whose cue is planted in the spoofed frames."""
    folder, rows, rng = tmp_path_factory.mktemp("partial"), [], np.random.default_rng(0)
    for number in range(12):
        start, end = sorted((first := int(rng.integers(10, 70)), first + int(rng.integers(30, 60))))
        for kind in KINDS:
            wave = planted_wave(SAMPLES, *((start, end) if kind == KINDS[0] else (0, 0)), seed=number)
            if kind == KINDS[1]:
                wave = planted_wave(SAMPLES, 0, FRAMES, seed=number)
                wave[start * 320 : end * 320] = planted_wave(SAMPLES, 0, 0, seed=number)[start * 320 : end * 320]
            name = f"r{number}-{kind.replace(' ', '-')}"
            soundfile.write(folder / f"{name}.flac", wave, RATE)
            rows.append(
                (
                    name,
                    str(folder / f"{name}.flac"),
                    "dev",
                    f"r{number}",
                    "known",
                    kind,
                    start * FRAME_SECONDS,
                    end * FRAME_SECONDS,
                )
            )
    return pd.DataFrame(rows, columns=["utt_id", "path", "split", "recording", "attacks", "kind", "start", "end"])


@pytest.fixture(scope="module")
def clips(partial):
    return localisation(Planted(SAMPLES), partial, (*BY_THE_SCORE, "energy", "random"))


def test_truth_ignores_the_joints_and_repeats_with_the_clip():
    truth = frame_truth("spoof in bona fide", 0.5, 1.0, 2 * RATE, 3 * RATE)
    assert len(truth) == 150 and set(truth[26:49]) == {1} and truth[24] == truth[25] == truth[49] == truth[50] == -1
    assert set(truth[:24]) == set(truth[51:100]) == {0}
    assert np.array_equal(truth[100:], truth[:50])
    around = frame_truth("bona fide in spoof", 0.5, 1.0, 2 * RATE, 3 * RATE)
    assert np.array_equal(around >= 0, truth >= 0) and np.array_equal(around[truth >= 0], 1 - truth[truth >= 0])
    assert np.array_equal(frame_truth("control", 0.5, 1.0, 2 * RATE, 3 * RATE), truth)
    odd = frame_truth("spoof in bona fide", 0.512, 1.013, 2 * RATE, 2 * RATE)
    assert odd[25] == odd[50] == -1 and odd[26] == odd[49] == 1 and odd[24] == odd[51] == 0


def test_spoofed_stretches_repeat_with_the_clip(tmp_path):
    path = str(tmp_path / "clip.flac")
    soundfile.write(path, np.zeros(2 * RATE), RATE)
    clip = pd.Series({"path": path, "kind": "spoof in bona fide", "start": 0.5, "end": 1.25})
    assert spoofed_stretches(clip, SAMPLES) == [(0.5, 1.25), (2.5, 3.0)]
    assert spoofed_stretches(clip, 2 * RATE) == [(0.5, 1.25)]
    clip["kind"] = "bona fide in spoof"
    assert spoofed_stretches(clip, SAMPLES) == [(0.0, 0.5), (1.25, 2.0), (2.0, 2.5)]
    clip["kind"] = "control"
    assert spoofed_stretches(clip, SAMPLES) == []


def test_what_follows_the_score_finds_the_spoof_in_either_direction(clips):
    table = localisation_table(clips, replicates=200).set_index(["kind", "map"])
    for name in BY_THE_SCORE:
        assert table.loc[("spoof in bona fide", name), "auc"] > 0.99
        assert table.loc[("spoof in bona fide", name), "hits"] == 1
    for name in ("saliency", "segments"):
        assert table.loc[("both", name), "auc_low"] > 0.95 and table.loc[("both", name), "clips"] == 12
        assert table.loc[("bona fide in spoof", name), "gain_low"] > 0.3


def test_random_is_at_chance_and_hits_as_often_as_frames_are_spoofed(partial, model):
    many = pd.concat([localisation(model, partial, ["random"], seed) for seed in range(20)])
    inside = many[many["kind"] == "spoof in bona fide"]
    assert inside["auc"].mean() == pytest.approx(0.5, abs=0.02)
    assert inside["hit"].mean() == pytest.approx(inside["chance"].mean(), abs=0.08)


def test_known_values_of_auc_pointing_and_chance(partial, model):
    one = partial[partial["kind"] == "spoof in bona fide"].iloc[[0]].assign(start=1.0, end=2.0)
    wave = np.full(SAMPLES, 0.01)
    wave[: RATE // 2], wave[RATE : RATE + RATE // 2] = 0.1, 0.1  # half of the segment, and as much outside
    soundfile.write(one["path"].iloc[0], wave, RATE)
    row = localisation(model, one, ["energy"]).iloc[0]
    spoofed, others = 48, 98  # of 150 frames, less the four that touch a joint
    loud = 24 / spoofed, 25 / 98
    half = loud[0] * loud[1] + (1 - loud[0]) * (1 - loud[1])
    assert row["auc"] == pytest.approx(loud[0] * (1 - loud[1]) + half / 2, abs=0.002)
    assert row["chance"] == pytest.approx(spoofed / (spoofed + others))
    assert row["hit"] == pytest.approx(24 / 49, abs=0.03)  # loud frames tie, but for the rounding to 16 bit


def test_gain_is_what_the_control_does_not_explain():
    rows = []
    for number in range(20):
        for name, aucs in {"words": (0.8, 0.2, 0.8), "spoof": (0.8, 0.7, 0.5), "energy": (0.6, 0.4, 0.6)}.items():
            facts = {"recording": number, "split": "dev", "attacks": "known", "map": name, "hit": 1.0, "chance": 0.3}
            rows += [
                facts | {"utt_id": f"{number}{kind}", "kind": kind, "auc": auc} for kind, auc in zip(KINDS, aucs, strict=True)
            ]
    table = localisation_table(pd.DataFrame(rows), replicates=50).set_index(["map", "kind"])
    assert table.loc["words", "gain"].to_numpy() == pytest.approx(np.zeros(4) + [0, 0, 0.3, 0])
    assert table.loc[("spoof", "spoof in bona fide"), "gain"] == pytest.approx(0.3)
    assert table.loc[("spoof", "bona fide in spoof"), "gain"] == pytest.approx(0.2)
    assert table.loc[("spoof", "both"), ["auc", "gain", "over_energy"]].tolist() == pytest.approx([0.75, 0.25, 0.25])
    assert table.loc[("words", "both"), "auc"] == pytest.approx(0.5)


def test_a_table_without_controls_or_a_verdict_without_energy_is_refused(clips):
    with pytest.raises(ValueError, match="recording r0 .*in spoof, .*in bona fide"):
        localisation_table(clips[clips["kind"] != "control"])
    with pytest.raises(ValueError, match="map 'energy'"):
        verdicts(localisation_table(clips[clips["map"] != "energy"], replicates=10))


def test_intervals_are_percentiles_of_resampled_means():
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = mean_interval(values, replicates=4000)
    error = values.std() / 20
    assert found.value == values.mean()
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.15 * error)
    assert mean_interval(values, 100, seed=1) == mean_interval(values, 100, seed=1) != mean_interval(values, 100, seed=2)


def test_the_best_map_is_chosen_on_dev_and_is_no_baseline(clips, model):
    table = localisation_table(clips, replicates=20)
    name = best_map(table)
    assert name in BY_THE_SCORE
    only = table.loc[(table["kind"] == "both") & table["map"].isin(BY_THE_SCORE)]
    assert name == only.loc[only["auc"].idxmax(), "map"]
    with pytest.raises(ValueError, match="dev, .*eval"):
        best_map(table.assign(split="eval"))
    with pytest.raises(ValueError, match="'unseen'"):
        best_map(table, "unseen")
    scores = localise(model, planted_wave(SAMPLES, 40, 70), name)
    assert scores.shape == (FRAMES,) and 40 <= scores.argmax() < 70


def test_deletion_falls_faster_and_insertion_rises_faster_in_the_true_order(partial, model):
    spoofed = partial[partial["kind"] == "spoof in bona fide"]
    curves = deletion_insertion(model, spoofed, 0.0, ["integrated_gradients", "energy"])
    assert set(curves["map"]) == {"integrated_gradients", "energy", "random"}
    assert len(curves) == 12 * 3 * 2 * 11
    steps = curves.groupby(["map", "curve", "share"])["support"].mean()
    for name in ("integrated_gradients", "random"):
        down, up = steps[name, "deletion"], steps[name, "insertion"]
        assert down[0.0] == pytest.approx(up[1.0]) and down[1.0] == pytest.approx(up[0.0])
        assert down[0.0] > 0 > down[1.0]
    assert steps["integrated_gradients", "deletion", 0.5] < steps["random", "deletion", 0.5] - 0.5
    areas = area_table(curves, replicates=200).set_index(["map", "curve"])
    assert (areas.loc["integrated_gradients", "gain_low"] > 0).all()
    assert (areas.loc["random", "gain"] == 0).all()
    row = areas.loc[("integrated_gradients", "deletion")]
    line = steps["integrated_gradients", "deletion"].to_numpy()
    assert row["area"] == pytest.approx((line[:-1] + line[1:]).mean() / 2)


def test_support_is_on_the_side_of_the_decision(partial, model):
    both = partial[partial["kind"].isin(KINDS[1:])]
    curves = deletion_insertion(model, both, 0.0, ["occlusion"])
    start = curves[(curves["curve"] == "deletion") & (curves["share"] == 0)]
    assert (start["support"] >= 0).all()
    shifted = deletion_insertion(model, both, 100.0, ["occlusion"])
    assert (shifted.loc[shifted["share"] == 0, "support"] > 50).all()


def row(name, kind, auc, low, high, gain=0.2, gain_low=0.1, gain_high=0.3, energy=0.1):
    facts = {"split": "eval", "attacks": "known", "kind": kind, "map": name, "clips": 40, "hits": 0.5, "chance": 0.3}
    facts |= {"auc": auc, "auc_low": low, "auc_high": high, "gain": gain, "gain_low": gain_low, "gain_high": gain_high}
    return facts | {"over_energy": energy, "over_energy_low": energy - 0.05, "over_energy_high": energy + 0.05}


def test_verdicts_follow_from_the_numbers():
    cases = {
        "good": (row("", "both", 0.8, 0.7, 0.9), row("", KINDS[0], 0.8, 0.7, 0.9), row("", KINDS[1], 0.8, 0.7, 0.9)),
        "faint": (row("", "both", 0.6, 0.55, 0.65), row("", KINDS[0], 0.6, 0.5, 0.7), row("", KINDS[1], 0.6, 0.5, 0.7)),
        "random": (row("", "both", 0.53, 0.47, 0.6), row("", KINDS[0], 0.6, 0.5, 0.7), row("", KINDS[1], 0.5, 0.4, 0.6)),
        "chance": (row("", "both", 0.53, 0.47, 0.6), row("", KINDS[0], 0.6, 0.5, 0.7), row("", KINDS[1], 0.5, 0.4, 0.6)),
        "loud": (row("", "both", 0.8, 0.7, 0.9, energy=0.02), row("", KINDS[0], 1, 1, 1), row("", KINDS[1], 1, 1, 1)),
        "joints": (
            row("", "both", 0.8, 0.7, 0.9),
            row("", KINDS[0], 0.9, 0.8, 1.0),
            row("", KINDS[1], 0.7, 0.6, 0.8, gain=0.0, gain_low=-0.1, gain_high=0.1),
        ),
        "odd": (
            row("", "both", 0.55, 0.51, 0.6),
            row("", KINDS[0], 0.9, 0.8, 1.0),
            row("", KINDS[1], 0.2, 0.1, 0.3, gain=-0.2, gain_low=-0.3, gain_high=-0.1),
        ),
        "away": (row("", "both", 0.3, 0.2, 0.4), row("", KINDS[0], 0.3, 0.2, 0.4), row("", KINDS[1], 0.3, 0.2, 0.4)),
    }
    table = pd.DataFrame([facts | {"map": name} for name, rows in cases.items() for facts in rows])
    found = verdicts(table).set_index("map")
    assert found["believed"].to_dict() == dict.fromkeys(set(cases) - {"random"}, "no") | {"good": "yes", "faint": "weakly"}
    says = {
        "good": "Points at spoofed speech: ", "faint": "too weakly", "chance": "includes chance",
        "loud": "not better than the frame",
        "joints": "in 'bona fide in spoof'", "odd": "whether it is spoofed or not", "away": "Points away",
    }  # fmt: skip
    for name, part in says.items():
        assert part in found.loc[name, "verdict"], name
    assert "AUC 0.80 (0.70 to 0.90)" in found.loc["good", "verdict"]
    with pytest.raises(ValueError, match="one split"):
        verdicts(pd.concat([table, table.assign(split="dev")]))
    with pytest.raises(ValueError, match="known attacks"):
        verdicts(table.assign(attacks="unseen"))


@pytest.mark.parametrize(
    ("lows", "says"),
    [
        ((0.1, 0.2), "shows what the decision depends on"),
        ((0.1, -0.1), "in deletion only"),
        ((-0.1, -0.1), "does not show what"),
    ],
)
def test_verdicts_add_what_deletion_and_insertion_say(lows, says):
    rows = [row("good", kind, 0.8, 0.7, 0.9) for kind in ("both", *KINDS[:2])]
    areas = pd.DataFrame(
        {"map": "good", "curve": ["deletion", "insertion"], "gain": np.add(lows, 0.1), "gain_low": lows, "gain_high": 0.5}
    )
    assert says in verdicts(pd.DataFrame(rows), areas)["verdict"][0]


def test_a_clip_without_both_sorts_of_frames_is_named(partial, model):
    whole = partial.iloc[[0]].assign(start=0.0, end=3.0)
    with pytest.raises(ValueError, match="r0-spoof-in-bona-fide: "):
        localisation(model, whole, ["energy"])
