from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.audio import write_flac
from aasist_lib.corpora.demo import LeakError, audit, leaks

RATE = 16_000


@pytest.fixture
def corpus(tmp_path: Path):
    """A maker of 400 noise clips, the same for both classes but for what `leak(wave, rng)` does to the spoofs."""

    def make(leak, clips: int = 400) -> pd.DataFrame:
        rng, rows = np.random.default_rng(5), []
        for number in range(clips):
            label, split = ("bonafide", "spoof")[number % 2], ("train", "dev")[number // 2 % 2]
            wave = rng.uniform(0.05, 0.2) * rng.standard_normal(rng.integers(16_000, 20_000)) / 4
            wave = leak(wave, rng) if label == "spoof" else wave
            write_flac(tmp_path / f"{number}.flac", wave.clip(-1, 1))
            rows.append((f"{number}", f"{number}.flac", label, "-", "-", "-", split, "demo"))
        return pd.DataFrame(rows, columns=["utt_id", "path", "label", "speaker", "attack", "codec", "split", "corpus"])

    return make


def silent_start(wave, rng):
    return np.concatenate([np.zeros(4000), wave])[: len(wave)]


LEAKS = {
    "level": lambda wave, rng: wave * 0.3,
    "duration": lambda wave, rng: wave[: len(wave) * 3 // 4],
    "start_silence": silent_start,
    "digital_zeros": silent_start,
    "bandwidth": lambda wave, rng: np.convolve(wave, np.hanning(9) / 4, "same"),
    "offset": lambda wave, rng: wave + 0.01,
}


def test_no_leak_passes_with_a_row_a_feature_and_one_for_all(corpus, tmp_path):
    table = audit(corpus(lambda wave, rng: wave), tmp_path)
    assert list(table.columns) == ["feature", "dev_eer", "floor", "enforced"]
    assert table["feature"].iloc[-1] == "all together" and len(table) == 1 + len(leaks.features(np.ones(2000)))
    assert (table["dev_eer"] >= leaks.FLOOR).all() and table["enforced"].all()


@pytest.mark.parametrize("feature", sorted(LEAKS))
def test_a_planted_leak_fails_and_is_named(corpus, tmp_path, feature):
    with pytest.raises(LeakError, match=rf"{feature} \(dev EER 0\.") as error:
        audit(corpus(LEAKS[feature]), tmp_path)
    assert "all together" in str(error.value)


def test_a_small_dev_is_reported_and_not_enforced(corpus, tmp_path):
    table = audit(corpus(LEAKS["level"], clips=60), tmp_path)
    assert not table["enforced"].any() and table["dev_eer"].min() < leaks.FLOOR


def test_a_missing_class_is_an_error(corpus, tmp_path):
    trials = corpus(lambda wave, rng: wave, clips=8)
    with pytest.raises(ValueError, match="the dev split needs clips of both classes"):
        audit(trials[(trials["split"] == "train") | (trials["label"] == "spoof")], tmp_path)
