from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aasist_lib.audio import write_flac
from aasist_lib.metrics import eer
from demo_corpus import LeakError, audit, leaks

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
    with pytest.raises(ValueError, match="dev split"):
        audit(trials[(trials["split"] == "train") | (trials["label"] == "spoof")], tmp_path)


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def test_the_energy_at_the_ends_of_the_band():
    found = leaks.features(tone(1000) + 0.1 * tone(50) + 0.01 * tone(7500))
    assert found["below_80_hz"] == pytest.approx(-20, abs=0.1)
    assert found["above_7_khz"] == pytest.approx(-40, abs=0.1)


def test_features_of_a_clip_between_silences():
    found = leaks.features(np.concatenate([np.zeros(4800), 0.5 * tone(1000), np.zeros(3200 + 7)]))
    assert found.pop("below_80_hz") < -40 and found.pop("above_7_khz") < -60
    assert found == pytest.approx({
        "duration": 1.5 + 7 / RATE,
        "level": 10 * np.log10(0.125 * 16_000 / 24_007),
        "peak": 20 * np.log10(0.5),
        "start_silence": 0.3,
        "end_silence": 0.2,
        "bandwidth": 1.0,
        "digital_zeros": 8007 / 24_007,
        "noise_floor": -100 - 10 * np.log10(0.125),
        "offset": 0.0,
    }, abs=0.01)  # fmt: skip
    assert found["digital_zeros"] == pytest.approx(8007 / 24_007, abs=1e-3)  # a sine passes 0, too


@pytest.mark.parametrize(("below", "silence"), [(29, 0.0), (31, 0.5)])
def test_silence_is_what_lies_30_db_below_the_loudest(below, silence):
    faint = 10 ** (-below / 20) * tone(500, 0.5)
    found = leaks.features(np.concatenate([faint, tone(500), faint]))
    assert (found["start_silence"], found["end_silence"]) == (silence, silence)


def test_the_bandwidth_holds_99_percent_of_the_power():
    for share, hertz in ((0.015, 5000), (0.005, 1000)):
        wave = np.sqrt(1 - share) * tone(1000) + np.sqrt(share) * tone(5000)
        assert leaks.features(wave)["bandwidth"] == pytest.approx(hertz / 1000, abs=0.002)
    noise = np.random.default_rng(0).standard_normal(4 * RATE)
    assert leaks.features(noise)["bandwidth"] == pytest.approx(0.99 * 8, abs=0.02)


def test_the_noise_floor_is_the_faintest_twentieth_and_the_offset_a_share_of_the_level():
    for frames, decibels in ((9, -20), (11, -40)):  # of 200: just under and just over a twentieth
        wave = np.concatenate([0.01 * tone(500, frames / 100), 0.1 * tone(500, 1), tone(500, 1 - frames / 100)])
        assert leaks.features(wave)["noise_floor"] == pytest.approx(decibels, abs=0.1)
    assert leaks.features(0.3 - tone(500))["offset"] == leaks.features(tone(500) - 0.3)["offset"]
    assert leaks.features(tone(500) - 0.3)["offset"] == pytest.approx(0.3 / np.sqrt(0.5 + 0.09))


def test_digital_silence_has_features_too():
    found = leaks.features(np.zeros(RATE))
    assert (found["level"], found["peak"], found["digital_zeros"], found["offset"]) == (-200, -200, 1, 0)
    assert (found["start_silence"], found["end_silence"], found["noise_floor"]) == (0, 0, 0)


TRAIN = np.arange(400) < 200
TARGET = np.arange(400) % 2 == 0


def noisy(leak: np.ndarray, seed: int = 0) -> np.ndarray:
    return leak + 0.1 * np.random.default_rng(seed).standard_normal(400)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (noisy(TARGET * 1.0), 0.0),
        (noisy(TARGET * -1.0), 0.0),
        (noisy(np.where(TARGET, 1.0, np.arange(400) // 2 % 2 * 2.0)), 0.0),  # spoofs on both sides: only trees see it
        (noisy(np.where(TRAIN, TARGET, 2.0 + TARGET)), 0.0),  # beyond what trees have seen: only the regression does
        (noisy(np.where(TRAIN, TARGET, ~TARGET) * 1.0), 1.0),  # the other way round in dev: nothing is fitted there
        (
            np.column_stack([10 * noisy(0 * TARGET, 1), 1e-4 * noisy(np.where(TRAIN, TARGET, 2.0 + TARGET))]),
            0.0,
        ),  # small in size
    ],
)
def test_the_audit_s_classifiers(values, found):
    assert leaks._dev_eer(values.reshape(400, -1), TARGET, TRAIN) == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("count", [4000, 5000])
def test_clips_that_look_the_same_are_told_apart_by_chance_alone(count):
    ranks = np.random.default_rng(0).permutation(count // 2)
    target, train = np.arange(count) % 2 == 0, np.arange(count) < count // 2
    dev = target[~train]
    assert leaks._dev_eer(np.ones((count, 1)), target, train) == eer(ranks[dev], ranks[~dev])[0]


@pytest.fixture
def clips(monkeypatch):
    """A maker of trial tables without audio; the features of a clip are those in `values`, by its number."""

    def make(dev: int, values) -> pd.DataFrame:
        monkeypatch.setattr(leaks, "read", lambda path: path)
        monkeypatch.setattr(leaks, "features", lambda path: values(int(path.stem)))
        splits = ["train"] * 100 + ["dev"] * dev
        rows = [(f"{number}.flac", ("bonafide", "spoof")[number % 2], split) for number, split in enumerate(splits)]
        return pd.DataFrame(rows, columns=["path", "label", "split"])

    return make


def test_each_feature_is_audited_alone_and_all_together(clips):
    table = np.random.default_rng(3).normal(0, 1, (220, 2))
    audited = audit(clips(120, lambda number: dict(zip("xy", table[number], strict=True))))
    target, train = np.arange(220) % 2 == 0, np.arange(220) < 100
    assert audited.to_dict("list") == {
        "feature": ["x", "y", "all together"],
        "dev_eer": [leaks._dev_eer(table[:, columns], target, train) for columns in ([0], [1], [0, 1])],
        "floor": [0.4] * 3,
        "enforced": [True] * 3,
    }


def test_only_train_and_dev_are_audited(clips):
    trials = clips(120, lambda number: {"x": {7: 1 / 0}[number] if number >= 220 else number % 3})
    more = pd.DataFrame([("220.flac", "spoof", "eval")], columns=trials.columns)
    assert len(audit(pd.concat([trials, more], ignore_index=True))) == 2


def test_paths_count_from_the_root(clips, monkeypatch, tmp_path):
    trials, seen = clips(100, lambda number: {"x": number % 3}), []
    monkeypatch.setattr(leaks, "read", lambda path: seen.append(path) or path)
    audit(trials, tmp_path)
    assert set(seen) == {tmp_path / f"{number}.flac" for number in range(200)}
    seen.clear()
    audit(trials)
    assert set(seen) == {Path(f"{number}.flac") for number in range(200)}


def test_a_hundred_clips_in_dev_are_enough_to_fail(clips, monkeypatch):
    def found(*rates):
        left = iter(rates)
        monkeypatch.setattr(leaks, "_dev_eer", lambda *_: next(left))

    found(0.39, 0.40, 0.25)
    assert not audit(clips(99, lambda number: {"x": 0, "y": 0}))["enforced"].any()
    trials = clips(100, lambda number: {"x": 0, "y": 0})
    found(0.39, 0.40, 0.25)
    with pytest.raises(LeakError, match=r": x \(dev EER 0\.390\), all together \(dev EER 0\.250\); .* 0\.40 "):
        audit(trials)
    found(0.40, 0.50, 0.40)
    assert audit(trials)["enforced"].all()


@pytest.mark.parametrize("split", ["train", "dev"])
def test_both_classes_are_needed_in_both_splits(clips, split):
    trials = clips(100, lambda number: {"x": 0})
    with pytest.raises(ValueError, match=f"^audit: .*{split} split"):
        audit(trials[(trials["split"] != split) | (trials["label"] == "bonafide")])
