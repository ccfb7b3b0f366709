"""Waveforms of trials are to the last bit what reading every file whole gives, and draw the same random numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from aasist_lib import audio
from aasist_lib.augment import Augmenter, clip_generator, strength
from aasist_lib.config.augmentation import AugmentationConfig
from aasist_lib.datasets.clips import Clips

SAMPLES = 8000
FILES = (
    ("long.flac", 30_000, 16_000), ("short.flac", 5000, 16_000), ("even.flac", SAMPLES, 16_000), ("stereo.wav", 20_000, 16_000),
    ("other.flac", 40_000, 44_100), ("lossy.mp3", 30_000, 16_000), ("lossy.ogg", 30_000, 16_000),
)  # fmt: skip


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waves")
    for number, (name, length, rate) in enumerate(FILES):
        shape = (length, 2) if name.startswith("stereo") else length
        soundfile.write(folder / name, 0.1 * np.random.default_rng(number).standard_normal(shape).clip(-4, 4), rate)
    return pd.DataFrame({"path": [str(folder / name) for name, *_ in FILES], "utt_id": [name for name, *_ in FILES]})


def by_whole_file(waves: Clips, row: int, view: int) -> np.ndarray:
    """As it was before crops were read: the generator's draws in their order."""
    wave = audio.read(waves.paths[row])
    if waves.augmenter is None:
        return audio.fit(wave, waves.samples)
    at = strength(waves.augmenter.config, 0.0)
    rng = clip_generator(waves.seed, view, waves.ids[row])
    wave = audio.change_speed(wave, waves.augmenter.draw_speed(rng, at))
    start = int(rng.integers(0, len(wave) - waves.samples + 1)) if len(wave) > waves.samples else 0
    return waves.augmenter(audio.fit(wave, waves.samples, start), rng, waves.ids[row], waves.paths[row], at)[0]


def test_without_distortions_a_waveform_is_the_beginning(trials):
    waves = Clips(trials, SAMPLES, 1)
    for row in range(len(waves)):
        assert np.array_equal(waves[row, 0], by_whole_file(waves, row, 0))


@pytest.mark.parametrize("speed", [(1.0, 1.0), (0.9, 1.1)])
def test_crops_and_distortions_are_those_of_the_whole_file(trials, speed):
    config = AugmentationConfig.model_validate({"probability": 0.5, "speed": speed, "distortions": [{"kind": "noise", "p": 1}]})
    waves = Clips(trials, SAMPLES, 1, Augmenter(config, trials["path"].tolist()))
    views = [(row, view) for row in range(len(waves)) for view in range(6)]
    found = [waves[item] for item in views]
    for item, wave in zip(views, found, strict=True):
        assert np.array_equal(wave, by_whole_file(waves, *item)), item
    assert len({wave.tobytes() for wave in found[:6]}) == 6, "views of a long clip differ"


@pytest.mark.parametrize(("speed", "whole"), [((1.0, 1.0), 0), ((1.1, 1.1), 1)])
def test_a_file_is_read_whole_for_a_change_of_speed_only(trials, monkeypatch, speed, whole):
    config = AugmentationConfig.model_validate({"probability": 1, "speed": speed, "distortions": [{"kind": "gain"}]})
    waves = Clips(trials, SAMPLES, 1, Augmenter(config, trials["path"].tolist()))
    read, calls = audio.read, []
    monkeypatch.setattr(audio, "read", lambda path: calls.append(path) or read(path))
    waves.wave(0, 0)
    assert len(calls) == whole
