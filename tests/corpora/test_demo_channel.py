import numpy as np
import pytest

from aasist_lib.corpora.demo import channel
from aasist_lib.corpora.demo.seeds import generator
from tests.corpora.conftest import talk

RATE = 16_000


def spectrum_db(wave: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    bins = np.fft.rfftfreq(len(wave), 1 / RATE)
    return 10 * np.log10(power[(bins >= low) & (bins < high)].mean() / power.mean())


@pytest.mark.parametrize("codec", channel.CODEC_NAMES)
def test_a_codec_keeps_the_speech_without_delay_and_changes_it(codec):
    wave = channel.band_limit(talk(1))
    coded = channel.CODECS[codec](wave)
    lags = np.arange(-40, 41)
    size = min(len(coded), len(wave)) - 80
    matches = [np.corrcoef(wave[40 : 40 + size], coded[40 + lag : 40 + lag + size])[0, 1] for lag in lags]
    assert max(matches) > 0.97
    assert abs(lags[int(np.argmax(matches))]) <= 25
    assert np.array_equal(coded, channel.CODECS[codec](wave))
    assert (codec == "none") == np.array_equal(coded, wave)


@pytest.mark.parametrize("codec", channel.CODEC_NAMES)
def test_transmit_sets_level_band_and_edges(codec):
    wave = np.concatenate([np.zeros(RATE), 3 * talk(2), np.zeros(RATE // 2)])
    sent = channel.transmit(wave, codec, generator(1, "x"))
    level = 20 * np.log10(np.sqrt(np.mean(sent**2)))
    assert channel.LEVEL_DBFS[0] - 0.5 < level < channel.LEVEL_DBFS[1] + 0.5
    assert 1.2 * RATE < len(sent) < 2 * RATE
    assert spectrum_db(sent, 7500, 8000) < -35
    assert np.array_equal(sent * 32768, np.round(sent * 32768))


def test_transmit_depends_on_its_generator_alone():
    first, again, other = (channel.transmit(talk(3), "g722", generator(1, key)) for key in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_digital_silence_does_not_survive():
    wave = talk(4)
    wave[8000:12000] = 0
    sent = channel.transmit(wave, "none", generator(1, "zeros"))
    assert np.mean(sent == 0) < 0.2


def test_trim_keeps_a_margin_and_leaves_silence_alone():
    wave = np.concatenate([np.zeros(4000), np.ones(8000), np.zeros(4000)])
    kept = channel.trim(wave, margin=0.05)
    assert len(kept) == 8000 + 2 * 800
    assert len(channel.trim(np.zeros(1000))) == 1000
    assert len(channel.trim(np.zeros(10))) == 10


def test_generators_are_named_by_their_key():
    draws = [generator(*key).random() for key in ((1, "a", "b"), (1, "a", "b"), (1, "ab"), (2, "a", "b"))]
    assert draws[0] == draws[1] and len(set(draws)) == 3


def crest_db(wave: np.ndarray) -> float:
    return 20 * np.log10(np.abs(wave).max() / np.sqrt(np.mean(wave**2)))


@pytest.mark.parametrize("crest", channel.CREST_DB)
def test_limit_brings_a_clip_to_the_crest_asked_for(crest):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * RATE) * (1 + 2 * (np.arange(2 * RATE) // 4000 % 4 == 0))
    assert crest_db(noise) > 15
    assert crest_db(channel.limit(noise, crest)) == pytest.approx(crest, abs=0.5)
    assert crest_db(channel.limit(talk(5), crest)) < crest_db(talk(5)) - 2
    sine = np.sin(np.arange(RATE) / 10)
    assert np.allclose(channel.limit(sine, crest), sine, atol=0.02)


def test_tilt_turns_the_top_and_leaves_the_bottom():
    noise = np.random.default_rng(0).standard_normal(RATE)
    before, after = (np.abs(np.fft.rfft(channel.band_limit(noise, tilt))) ** 2 for tilt in (0.0, 6.0))
    gains = [10 * np.log10(after[band].sum() / before[band].sum()) for band in (slice(150, 250), slice(6000, 6800))]
    assert abs(gains[0]) < 0.1 and abs(gains[1] - 6) < 0.5


def test_the_band_limits_remove_rumble_and_the_top():
    time = np.arange(RATE) / RATE
    for hertz, kept in ((20, False), (300, True), (5000, True), (7800, False)):
        wave = np.sin(2 * np.pi * hertz * time)
        share = np.sqrt(np.mean(channel.band_limit(wave)[2000:-2000] ** 2) / np.mean(wave**2))
        assert (share > 0.9) == kept and (share < 0.05) == (not kept), hertz


def test_fade_brings_the_edges_to_nothing():
    faded = channel.fade(np.ones(RATE), 0.05)
    assert faded[0] == faded[-1] == 0 and (faded[800:-800] == 1).all()
