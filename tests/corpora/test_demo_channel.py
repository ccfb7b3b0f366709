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
