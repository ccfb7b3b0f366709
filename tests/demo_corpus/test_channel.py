import numpy as np
import pytest

from demo_corpus import channel
from demo_corpus.seeds import generator
from tests.demo_corpus.conftest import talk

RATE = 16_000
BAND = (80, 7000)


def spectrum_db(wave: np.ndarray, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    bins = np.fft.rfftfreq(len(wave), 1 / RATE)
    return 10 * np.log10(power[(bins >= low) & (bins < high)].mean() / power.mean())


def rms_db(wave: np.ndarray) -> float:
    return 10 * np.log10(np.mean(wave**2))


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
    assert rms_db(coded) == pytest.approx(rms_db(wave), abs=0.5)


@pytest.mark.parametrize(
    ("codec", "maker", "settings"),
    [
        ("g722", "_stream", ("g722", "g722", 64_000)),
        ("mp3-32k", "_stream", ("libmp3lame", "mp3", 32_000)),
        ("mp3-64k", "_stream", ("libmp3lame", "mp3", 64_000)),
        ("vorbis", "_container", ("OGG", "VORBIS", 0.6)),
    ],
)
def test_a_codec_has_the_format_and_the_bit_rate_of_its_name(codec, maker, settings):
    wave = channel.band_limit(talk(1))
    assert np.array_equal(getattr(channel, maker)(*settings)(wave), channel.CODECS[codec](wave))


@pytest.mark.parametrize("codec", channel.CODEC_NAMES)
def test_transmit_sets_level_band_and_edges(codec):
    wave = np.concatenate([np.zeros(RATE), 3 * talk(2), np.zeros(RATE // 2)])
    sent = channel.transmit(wave, codec, generator(1, "x"))
    level = rms_db(sent)
    assert channel.LEVEL_DBFS[0] - 0.5 < level < channel.LEVEL_DBFS[1] + 0.5
    assert 1.2 * RATE < len(sent) < 2 * RATE
    assert spectrum_db(channel.transmit(wave, codec, generator(1, "x"), 6000), 6500, 8000) < -35
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
    # The clips of every corpus built so far hang on these streams.
    assert generator(2025, "recordings", "asterisk-en").bit_generator.random_raw() == 14665932361854538483


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
    before, after = (np.abs(np.fft.rfft(channel.band_limit(noise, BAND, tilt))) ** 2 for tilt in (0.0, 6.0))
    gains = [10 * np.log10(after[band].sum() / before[band].sum()) for band in (slice(150, 250), slice(6000, 6800))]
    assert abs(gains[0]) < 0.1 and abs(gains[1] - 6) < 0.5


def test_the_band_limits_remove_rumble_and_the_top():
    time = np.arange(RATE) / RATE
    for hertz, kept in ((20, False), (300, True), (5000, True), (7800, False)):
        wave = np.sin(2 * np.pi * hertz * time)
        share = np.sqrt(np.mean(channel.band_limit(wave, BAND)[2000:-2000] ** 2) / np.mean(wave**2))
        assert (share > 0.9) == kept and (share < 0.05) == (not kept), hertz


@pytest.mark.parametrize("top", [3600, 5400, 8000])
def test_no_clip_reaches_above_its_recording(top):
    noise = np.random.default_rng(0).standard_normal(RATE)
    for key in range(6):
        sent = channel.transmit(noise, "none", generator(key, "top"), top)
        if top + 400 < 7600:
            assert spectrum_db(sent, top + 300, 8000) < -35
    found = channel.top_of(channel.band_limit(noise, (20, top)))
    assert found == pytest.approx(min(top + 200, 8000), abs=80)


def test_the_top_of_silence_is_the_lowest_limit():
    assert channel.top_of(np.zeros(RATE)) == 3400


def test_fade_brings_the_edges_to_nothing():
    faded = channel.fade(np.ones(RATE), 0.05)
    assert faded[0] == faded[-1] == 0 and (faded[800:-800] == 1).all()
    assert faded[:800] == pytest.approx((1 - np.cos(np.pi * np.arange(800) / 799)) / 2)
    assert np.array_equal(faded, faded[::-1])
    assert channel.fade(np.ones(100), 0.05).max() < 1  # shorter than its ramps


def response(samples: int, tilt: float = 0.0) -> dict[int, float]:
    """Gain of the band limits at some frequencies, hertz -> factor."""
    impulse = (np.arange(samples) == samples // 2) * 1.0
    wave = channel.band_limit(impulse, BAND, tilt)
    assert len(wave) == samples
    at = np.array([10, 40, 70, 80, 200, 250, 500, 1000, 2000, 4000, 6790, 6900, 7000, 7100, 7210, 7900])
    phase = np.exp(-2j * np.pi * np.outer(at, np.arange(samples) - samples // 2) / RATE)
    gains = phase @ wave
    assert np.abs(gains.imag).max() < 1e-6 * max(gains.real)  # no phase is turned
    return dict(zip(at.tolist(), gains.real, strict=True))


@pytest.mark.parametrize("samples", [2 * RATE, 28_775])  # the second is padded to an odd number of samples
def test_the_band_is_eighth_order_below_and_a_raised_cosine_above(samples):
    gains = response(samples)
    for hertz in (10, 40, 70, 80, 200, 1000, 4000, 6790):
        assert gains[hertz] == pytest.approx(1 / (1 + (80 / hertz) ** 8), abs=2e-4), hertz
    for hertz, factor in ((6900, (1 + np.sqrt(0.5)) / 2), (7000, 0.5), (7100, (1 - np.sqrt(0.5)) / 2), (7210, 0), (7900, 0)):
        assert gains[hertz] == pytest.approx(factor, abs=2e-4), hertz


def test_the_tilt_is_even_per_octave_from_250_hz_to_the_top():
    flat, tilted = response(2 * RATE), response(2 * RATE, 48.0)
    for hertz in (200, 250, 500, 1000, 2000, 4000, 6790, 6900, 7000, 7100):
        wanted = 48 * np.log(np.clip(hertz, 250, 7000) / 250) / np.log(7000 / 250)
        assert 20 * np.log10(tilted[hertz] / flat[hertz]) == pytest.approx(wanted, abs=0.03), hertz


def test_limit_never_turns_up_and_does_not_care_for_the_level():
    noise = np.random.default_rng(0).standard_normal(RATE) * (1 + 2 * (np.arange(RATE) // 4000 % 4 == 0))
    limited = channel.limit(noise, 10.0)
    assert (np.abs(limited) <= np.abs(noise) * (1 + 1e-9)).all()
    for factor in (0.01, 100):
        assert np.allclose(channel.limit(factor * noise, 10.0), factor * limited, rtol=1e-6)
    with np.errstate(all="raise"):
        assert not channel.limit(np.zeros(1000), 10.0).any()


@pytest.mark.parametrize(("below", "kept"), [(34, 12_000), (36, 8000)])
def test_trim_cuts_what_lies_35_db_below_the_loudest(below, kept):
    wave = np.sin(2 * np.pi * 500 * np.arange(12_000) / RATE)
    wave[:2000] *= 10 ** (-below / 20)
    wave[-2000:] *= 10 ** (-below / 20)
    assert len(channel.trim(wave, margin=0)) == pytest.approx(kept, abs=160)
    assert np.array_equal(channel.trim(wave[2000:-2000]), wave[2000:-2000])


def test_the_level_is_that_asked_for_unless_the_peak_is_too_high():
    sine = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    assert rms_db(channel.set_level(0.01 * sine, -20)) == pytest.approx(-20, abs=1e-9)
    click = 0.5 * (np.arange(RATE) == 9)
    assert channel.set_level(click, -20).max() == pytest.approx(channel.CEILING)
    assert not channel.set_level(np.zeros(9), -20).any()


class Script:
    """A generator that gives these settings, and white noise `noise` times as loud as it should be; no dither."""

    def __init__(self, tilt=0.0, crest=12.0, edge=0.03, level=-26.0, snr=45.0, noise=0.0):
        self.settings, self.noise, self.asked = [tilt, crest, edge, level, snr, *BAND], noise, []

    def uniform(self, low, high, size=None):
        self.asked.append((low, high, size))
        return self.settings[len(self.asked) - 1] if size is None else np.zeros(size)

    def standard_normal(self, size):
        return self.noise * np.random.default_rng(0).standard_normal(size)


def test_transmit_draws_its_settings_from_the_ranges_of_both_classes():
    script = Script()
    sent = channel.transmit(talk(6), "none", script)
    dither = (-0.5, 0.5, len(sent))  # two of them: triangular, one step to either side
    settings = [(-6, 6, None), (9, 12, None), (0.03, 0.06, None), (-32, -20, None), (25, 45, None)]
    assert script.asked == [*settings, (20, 120, None), (3400, 8000, None), dither, dither]


def test_transmit_gives_16_bit_samples_of_the_level_drawn():
    for level in (-32.0, -20.0):
        sent = channel.transmit(np.sin(np.arange(RATE)), "none", Script(level=level))
        assert sent.dtype == np.float32 and np.array_equal(sent * 32768, np.round(sent * 32768))
        assert rms_db(sent.astype(np.float64)) == pytest.approx(level, abs=1e-4)


def test_transmit_computes_in_double_precision():
    wave = talk(6).astype(np.float32)
    one, other = (channel.transmit(each, "none", generator(1, "x")) for each in (wave, wave.astype(np.float64)))
    assert np.array_equal(one, other)


def test_a_codec_is_reached_at_one_level_and_with_the_tilt(monkeypatch):
    reached = []
    monkeypatch.setitem(channel.CODECS, "none", lambda wave: reached.append(wave) or wave)
    noise = np.random.default_rng(0).standard_normal(RATE)
    for tilt, gain in ((6, 1.0), (-6, 0.001)):
        channel.transmit(gain * noise, "none", Script(tilt=tilt))
    assert [rms_db(wave) for wave in reached] == pytest.approx([-23, -23])
    rises = [spectrum_db(wave, 6000, 6700) - spectrum_db(wave, 150, 250) for wave in reached]
    assert rises[0] - rises[1] == pytest.approx(11.6, abs=0.5)


@pytest.mark.parametrize("snr", channel.NOISE_SNR_DB)
def test_the_noise_floor_lies_as_far_below_the_speech_as_drawn(snr):
    clean, noisy = (channel.transmit(talk(6), "none", Script(level=-20.0, snr=snr, noise=noise)) for noise in (0, 1))
    clean, noisy = clean.astype(np.float64), noisy.astype(np.float64)
    rest = noisy - clean * (noisy @ clean) / (clean @ clean)
    band = 10 * np.log10((7000 - 80) / 8000)  # the noise is band-limited too
    assert rms_db(clean) - rms_db(rest) == pytest.approx(snr - band, abs=0.3)
    assert spectrum_db(rest, 7300, 8000) < -10


def test_mu_law_is_that_of_255_in_127_steps_a_side():
    steps = np.arange(128)
    levels = (256 ** (steps / 127) - 1) / 255
    assert channel.CODECS["mu-law"](levels) == pytest.approx(levels)
    assert channel.CODECS["mu-law"](-levels) == pytest.approx(-levels)
    between = (256 ** ((steps[:-1] + 0.4) / 127) - 1) / 255
    assert channel.CODECS["mu-law"](between) == pytest.approx(levels[:-1])


def test_a_law_is_that_of_87_6_in_127_steps_a_side():
    def expand(coded):
        return np.where(coded * top < 1, coded * top / 87.6, np.exp(coded * top - 1) / 87.6)

    top, steps = 1 + np.log(87.6), np.arange(128)
    levels = expand(steps / 127)
    assert channel.CODECS["a-law"](levels) == pytest.approx(levels)
    assert channel.CODECS["a-law"](-levels) == pytest.approx(-levels)
    assert channel.CODECS["a-law"](expand((steps[:-1] + 0.4) / 127)) == pytest.approx(levels[:-1])
