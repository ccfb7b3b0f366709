"""Attention over many clips: what goes in comes out again, planted differences are found, absent ones are not."""

import numpy as np
import pandas as pd
import pytest
import torch

from aasist_lib import explain
from aasist_lib.explain import Attended, attend
from aasist_lib.models import build_model

RNG = np.random.default_rng(0)
WAVES = (0.1 * RNG.standard_normal((19, 8_000))).astype(np.float32)


@pytest.fixture(scope="module")
def build():
    def make(profile, **changes):
        torch.manual_seed(0)
        return build_model(profile.model.model_copy(update=changes)).eval()

    return make


def test_batches_and_order_change_nothing(tiny_profile, build):
    model = build(tiny_profile)
    (together,) = attend(model, WAVES)
    alone = explain.explain_clip(model, WAVES[17])
    assert together.scores.shape == (19,) and together.scores[17] == pytest.approx(alone.score, abs=1e-5)
    for name in explain.CURVES:
        np.testing.assert_allclose(together.time[name][17], alone.time[name], atol=1e-5)
        np.testing.assert_allclose(together.bands[name][17], alone.bands[name], atol=1e-5)
    np.testing.assert_array_equal(together.seconds, alone.seconds)
    blocks = together.blocks
    assert len(blocks) == 19
    for looking in ("temporal", "spectral", "stack"):
        np.testing.assert_allclose(blocks[f"{looking} → temporal"] + blocks[f"{looking} → spectral"], 1, atol=1e-5)


def test_the_whole_is_the_mean_of_its_members(tiny_profile, build):
    whole, *members = attend(build(tiny_profile, members=2), WAVES[:3])
    assert len(members) == 2
    np.testing.assert_allclose(whole.time["nodes"], np.mean([one.time["nodes"] for one in members], axis=0), atol=1e-6)
    np.testing.assert_allclose(whole.blocks, (members[0].blocks + members[1].blocks) / 2, atol=1e-6)
    assert not np.allclose(members[0].time["nodes"], members[1].time["nodes"], atol=1e-5)


@pytest.mark.parametrize("members", [1, 2])
def test_the_parts_of_the_readout_sum_to_the_score(tiny_profile, build, members):
    model = build(tiny_profile, members=members)
    parts = explain.readout_parts(model, WAVES[0])
    assert list(parts) == ["temporal, largest", "temporal, mean", "spectral, largest", "spectral, mean", "stack node", "offset"]
    assert sum(parts.values()) == pytest.approx(explain.explain_clip(model, WAVES[0]).score, abs=1e-5)
    assert sum(abs(value) > 1e-6 for value in parts.values()) >= 5
    assert not any(member.readout._forward_pre_hooks for member in model.backend.members)


def test_an_angle_has_no_parts(tiny_profile, build):
    with pytest.raises(ValueError, match="cosine"):
        explain.readout_parts(build(tiny_profile, readout="cosine"), WAVES[0])


def test_a_planted_difference_of_the_classes_is_found_where_it_is():
    labels = pd.Series(["bonafide"] * 40 + ["spoof"] * 40)
    curves = RNG.uniform(0.9, 1.1, (80, 10))
    curves[40:, 3] += 0.5
    curves /= curves.sum(axis=1, keepdims=True)
    table = explain.class_difference(curves, labels)
    assert table["difference"].idxmax() == 3 and table["low"][3] > 0.3
    np.testing.assert_allclose(table["difference"], table["spoof"] - table["bonafide"])
    assert ((table["low"] <= table["difference"]) & (table["difference"] <= table["high"])).all()
    same = explain.class_difference(np.full((80, 10), 0.1), labels)
    assert (same["difference"].abs() < 1e-12).all()


def test_means_by_attack_have_bona_fide_first_and_even_attention_at_one():
    curves = np.full((4, 5), 0.2)
    curves[3] = [1, 0, 0, 0, 0]
    table = explain.by_attack(curves, pd.Series(["mlsa", "-", "lpc", "lpc"]))
    assert list(table.index) == ["bona fide", "lpc", "mlsa"]
    np.testing.assert_allclose(table.loc["bona fide"], 1)
    np.testing.assert_allclose(table.loc["lpc"], [3, 0.5, 0.5, 0.5, 0.5])


def attended(time: dict[str, np.ndarray]) -> Attended:
    count, nodes = next(iter(time.values())).shape
    return Attended(np.zeros(count), np.arange(nodes + 1) * 0.06, time, {}, pd.DataFrame())


def test_attention_on_silence_is_measured_against_its_share():
    waves = np.zeros((6, 9_600), dtype=np.float32)
    waves[:, 4_800:] = 0.1 * RNG.standard_normal((6, 4_800))  # the first half is silent
    even, silent, loud = np.full((6, 10), 0.1), np.repeat([[0.2] * 5 + [0.0] * 5], 6, axis=0), np.zeros((6, 10))
    loud[:, 7] = 1
    labels = pd.Series(["bonafide"] * 3 + ["spoof"] * 3)
    table = explain.silence_attention(attended({"even": even, "silent": silent, "loud": loud}), waves, labels)
    assert table.set_index(["map", "label"])["attention"].round(6).to_dict() == {
        ("even", "bonafide"): 1, ("even", "spoof"): 1, ("silent", "bonafide"): 2, ("silent", "spoof"): 2,
        ("loud", "bonafide"): 0, ("loud", "spoof"): 0,
    }  # fmt: skip
    assert (table["clips"] == 3).all()


def test_clips_without_silence_say_nothing_about_it():
    waves = (0.1 * RNG.standard_normal((4, 9_600))).astype(np.float32)
    labels = pd.Series(["bonafide", "bonafide", "spoof", "spoof"])
    table = explain.silence_attention(attended({"even": np.full((4, 10), 0.1)}), waves, labels)
    assert (table["clips"] == 0).all() and table["attention"].isna().all()


def test_agreement_of_a_system_with_itself_is_one_and_with_noise_none():
    curves, noise = RNG.random((60, 30)), RNG.random((60, 30))
    table = explain.agreement(attended({"a": curves, "b": curves}), attended({"a": curves, "b": noise}))
    assert table["correlation"][0] == pytest.approx(1)
    assert table["low"][1] < 0 < table["high"][1] and abs(table["correlation"][1]) < 0.1
    with pytest.raises(ValueError, match="30 .*20 temporal"):
        explain.agreement(attended({"a": curves}), attended({"a": curves[:, :20]}))
