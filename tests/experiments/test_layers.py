"""EER by layer on a toy corpus, where one attack family separates in one layer and the others do not."""

import numpy as np
import pandas as pd
import pytest

from aasist_lib.experiments import layers
from aasist_lib.experiments.layers import KNOWN, LEFT_OUT, best_layer, family, layer_eers
from aasist_lib.runtime.run_folder import RunFolder


def test_every_layer_is_measured_once_and_kept(tiny_profile, monkeypatch):
    run = RunFolder.open(tiny_profile)
    table = layer_eers(tiny_profile, run=run)
    assert sorted(set(table["layer"])) == list(range(max(table["layer"]) + 1)) and set(table["measure"]) == {KNOWN}
    assert (table["low"] <= table["eer"]).all() and (table["eer"] <= table["high"]).all()
    assert (run.folder / "metrics" / "layers.parquet").is_file()
    monkeypatch.setattr(layers, "_measure", lambda *_: pytest.fail("measured again"))
    pd.testing.assert_frame_equal(layer_eers(tiny_profile, run=run), table)


def planted(clips: int = 400, seed: int = 0) -> tuple[np.ndarray, dict[str, pd.DataFrame]]:
    """Features `(clips, 2 layers, 4)` and trials: layer 0 shows each family in a feature of its own, so a family left out is
    invisible; layer 1 shows all in the same feature, weakly."""
    rng = np.random.default_rng(seed)
    attacks = rng.choice(["-", "-", "-", "a-one", "b-two", "b-three"], clips)
    features = rng.standard_normal((clips, 2, 4))
    for place, name in enumerate(("a", "b")):
        features[family(pd.Series(attacks)) == name, 0, place] += 5
    features[attacks != "-", 1, 3] += 2
    return features, pd.DataFrame({"attack": attacks, "label": np.where(attacks == "-", "bonafide", "spoof")})


def test_the_layer_is_chosen_for_families_that_were_left_out(tiny_profile, monkeypatch):
    (train, train_rows), (dev, dev_rows) = planted(seed=0), planted(seed=1)
    trials = {"train": train_rows, "dev": dev_rows}

    class Encoder:
        layers = [0, 7]

    sets = iter([train, dev])
    monkeypatch.setattr(layers, "pooled_on_the_fly", lambda *_: next(sets))
    monkeypatch.setattr(layers, "Clips", lambda *_: None)
    table = layers._measure(tiny_profile, Encoder(), trials, "cpu").set_index(["measure", "layer"])["eer"]
    assert table[KNOWN, 0] < 0.05 < table[KNOWN, 7]
    assert table[LEFT_OUT, 7] < 0.25 < 0.35 < table[LEFT_OUT, 0]
    assert best_layer(table.reset_index()) == 7
    assert best_layer(table[[KNOWN]].reset_index()) == 0


def test_clips_are_drawn_half_bona_fide_and_evenly_over_attacks():
    _, trials = planted(3000)
    drawn = layers._drawn(trials, 600, seed=1)
    assert drawn["attack"].value_counts().to_dict() == {"-": 300, "a-one": 100, "b-two": 100, "b-three": 100}
    assert len(layers._drawn(trials, 10_000, seed=1)) == 3000
