import json
import random
from collections import Counter

import numpy as np
import pytest
from scipy.signal import correlate, fftconvolve, firwin, lfilter

from aasist_lib.augment import codecs
from aasist_lib.augment.base import AugmentationError
from aasist_lib.augment.codecs import CODECS, CodecChain, CodecCompression, available, delay, missing, round_trip

RATE = 16_000
SETTINGS = [(name, kbps, rate) for name in available() for rate, choices in CODECS[name].kbps.items() for kbps in choices]
LOWEST = [(name, *min((choices[0], rate) for rate, choices in CODECS[name].kbps.items())) for name in available()]


def voice(seed: int, seconds: float = 1.5) -> np.ndarray:
    """A vowel with moving pitch in bursts, breath under it: pulses through four resonators."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 130 * (1 + 0.2 * np.sin(2 * np.pi * 1.3 * time + seed))
    wave = np.diff(np.floor(np.cumsum(pitch / RATE)), prepend=0) + 0.05 * rng.standard_normal(len(time))
    for hertz, width in ((500, 80), (1500, 100), (2500, 150), (3500, 200)):
        radius = np.exp(-np.pi * width / RATE)
        wave = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hertz / RATE), radius**2], wave)
    wave = wave / np.abs(wave).max() + 0.03 * rng.standard_normal(len(time))
    wave *= 0.3 + 0.7 * np.sin(4 * np.pi * time) ** 2
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


VOICE = voice(1)


def lag(wave: np.ndarray, original: np.ndarray = VOICE) -> int:
    """By how many samples `wave` is late."""
    return int(np.argmax(correlate(wave, original))) - len(original) + 1


def speech_band_db(wave: np.ndarray) -> float:
    band = fftconvolve(wave, firwin(401, (300, 3400), pass_zero=False, fs=RATE), mode="same")
    return 10 * np.log10(np.mean(band**2))


def snr_db(wave: np.ndarray) -> float:
    return 10 * np.log10(np.sum(VOICE**2) / np.sum((wave - VOICE) ** 2))


@pytest.mark.parametrize(("codec", "kbps", "rate"), SETTINGS)
def test_every_setting_keeps_length_alignment_and_level_and_really_codes(codec, kbps, rate):
    coded = round_trip(VOICE, codec, kbps, rate)
    assert coded.shape == VOICE.shape and coded.dtype == np.float32
    assert abs(lag(coded)) <= 1
    assert abs(speech_band_db(coded) - speech_band_db(VOICE)) < (1 if kbps >= 16 else 3)
    assert np.abs(coded - VOICE).max() > 1e-4


def test_the_middle_and_the_end_are_as_aligned_as_the_whole():
    for codec, kbps, rate in LOWEST:
        coded = round_trip(VOICE, codec, kbps, rate)
        for part in (slice(0, 8_000), slice(8_000, 16_000), slice(16_000, 24_000)):
            assert abs(lag(coded[part], VOICE[part])) <= 1, (codec, part)


@pytest.mark.parametrize("codec", [name for name in available() if max(map(len, CODECS[name].kbps.values())) > 1])
def test_more_bits_are_nearer_to_the_original(codec):
    for rate, choices in CODECS[codec].kbps.items():
        worst, best = (snr_db(round_trip(VOICE, codec, kbps, rate)) for kbps in (choices[0], choices[-1]))
        assert worst + 0.5 < best


@pytest.mark.parametrize(("codec", "kbps", "rate"), LOWEST)
def test_same_in_same_out(codec, kbps, rate):
    first = round_trip(VOICE, codec, kbps, rate)
    round_trip(voice(2, 0.3), codec, kbps, rate)
    assert np.array_equal(first, round_trip(VOICE, codec, kbps, rate))


@pytest.mark.parametrize(("codec", "kbps", "rate"), LOWEST)
def test_silence_and_the_shortest_clips_stay_finite(codec, kbps, rate):
    for length in (1, 2, 17, 100, 1601):
        for clip in (np.zeros(length, np.float32), VOICE[4_000 : 4_000 + length]):
            coded = round_trip(clip, codec, kbps, rate)
            assert coded.shape == clip.shape and coded.dtype == np.float32 and np.isfinite(coded).all()
    assert np.abs(round_trip(np.zeros(8_000, np.float32), codec, kbps, rate)).max() < 1e-3


@pytest.mark.parametrize(("codec", "kbps", "rate"), LOWEST)
def test_a_clip_louder_than_full_scale_is_coded_at_full_scale_and_is_as_loud_afterwards(codec, kbps, rate):
    loud = round_trip(8 * VOICE, codec, kbps, rate)
    assert np.abs(loud).max() > 1.5
    assert abs(lag(loud)) <= 1
    assert abs(speech_band_db(loud) - speech_band_db(8 * VOICE)) < 3
    assert np.allclose(round_trip(16 * VOICE, codec, kbps, rate), 2 * loud, atol=1e-3)


def test_a_delay_that_grew_would_be_removed_too(monkeypatch):
    def later(info, wave, rate, kbps):
        decoded, its_rate = codecs.by_ffmpeg(info, wave, rate, kbps)
        return np.pad(decoded, (700, 0)), its_rate

    info = CODECS["a-law"]
    monkeypatch.setitem(CODECS, "later", codecs.CodecInfo(info.encoder, info.decoder, info.kbps, later))
    assert delay("later", 64, 8_000) == 700
    assert lag(round_trip(VOICE, "later", 64, 8_000)) == 0


def test_every_codec_is_either_available_or_missing():
    assert sorted(available() + missing()) == sorted(CODECS)
    assert set(available()) >= {"mp3", "aac", "opus", "vorbis", "amr-nb", "g722", "g726", "a-law", "mu-law"}


@pytest.mark.parametrize("make", [CodecCompression, CodecChain])
def test_a_codec_that_is_not_installed_is_named_and_not_replaced(make, monkeypatch):
    monkeypatch.setitem(CODECS, "new", codecs.CodecInfo("libnew", "libnew", {16_000: (1,)}))
    assert "new" in missing() and "new" not in available()
    with pytest.raises(AugmentationError, match=r"new .*'libnew'.*new; .*mp3, "):
        make(("mp3", "new"))
    with pytest.raises(AugmentationError, match="libnew"):
        round_trip(VOICE, "new", 1, 16_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codecs": ("mp4",)}, "'mp4'; .*mp3"),
        ({"codecs": "mp3"}, "codecs = 'mp3': .* 1 "),
        ({"codecs": ()}, r"codecs = \(\): .* 1 "),
        ({"kbps": (0, 64)}, r"kbps = \(0, 64\): "),
        ({"kbps": (64,)}, r"kbps = \(64,\): "),
        ({"rates": ()}, r"rates = \(\): "),
        ({"rates": (0,)}, r"rates = \(0,\): "),
    ],
)
def test_bad_arguments_are_errors_that_say_what_is_allowed(arguments, message):
    with pytest.raises(AugmentationError, match=message):
        CodecCompression(**arguments)


def test_a_chain_needs_two_different_codecs_and_a_round_trip_a_rate_that_is_taken():
    with pytest.raises(AugmentationError, match=r"codecs = \('mp3', 'mp3'\): .* 2 "):
        CodecChain(("mp3", "mp3"))
    with pytest.raises(AugmentationError, match=r"g722 at 8000 Hz .*64 kbit/s; .* \{16000: \(64,\)\}"):
        round_trip(VOICE, "g722", 64, 8_000)
    with pytest.raises(AugmentationError, match="mp3 at 16000 Hz .*20 kbit/s"):
        round_trip(VOICE, "mp3", 20, 16_000)


def draws(transform: CodecCompression, count: int = 400) -> list[dict]:
    random.seed(5)
    return [transform.draw(64_000) for _ in range(count)]


@pytest.mark.parametrize("kbps", [(64, 16), (16, 64)])
def test_draws_are_even_over_codecs_and_over_the_logarithm_of_the_bit_rate(kbps):
    drawn = draws(CodecCompression(("mp3", "opus"), kbps))
    assert all(140 < count < 260 for count in Counter(one["codec"] for one in drawn).values())
    assert {one["rate_hz"] for one in drawn} == {16_000}
    rates = [one["kbps"] for one in drawn]
    assert min(rates) == 16 and max(rates) == 64
    assert 0.4 < np.mean(np.array(rates) < 32) + 0.5 * np.mean(np.array(rates) == 32) < 0.6


def test_rate_and_bit_rate_are_the_nearest_a_codec_has():
    for codec, kbps, rate in (("amr-nb", 12.2, 8_000), ("g722", 64, 16_000), ("g726", 40, 8_000), ("a-law", 128, 16_000)):
        assert draws(CodecCompression((codec,), (100, 100)), 1) == [{"codec": codec, "kbps": kbps, "rate_hz": rate}]
    found = Counter(one["rate_hz"] for one in draws(CodecCompression(("opus",), rates=(8_000, 48_000))))
    assert set(found) == {8_000, 48_000} and min(found.values()) > 150


def test_what_is_recorded_is_what_was_done():
    random.seed(1)
    transform = CodecCompression(available(), (64, 8), (8_000, 16_000), p=1.0)
    for _ in range(8):
        coded = transform(VOICE, RATE)
        drawn = json.loads(json.dumps(transform.parameters))
        assert np.array_equal(coded, round_trip(VOICE, drawn["codec"], drawn["kbps"], drawn["rate_hz"]))


def test_a_chain_is_two_different_codecs_in_a_row():
    random.seed(1)
    chain = CodecChain(("mp3", "a-law", "g726"), (16, 16), p=1.0)
    coded = chain(VOICE, RATE)
    first, second = json.loads(json.dumps(chain.parameters))["chain"]
    assert first["codec"] != second["codec"]
    once = round_trip(VOICE, first["codec"], first["kbps"], first["rate_hz"])
    assert np.array_equal(coded, round_trip(once, second["codec"], second["kbps"], second["rate_hz"]))
    assert abs(lag(coded)) <= 1
    seen = {tuple(one["codec"] for one in drawn["chain"]) for drawn in draws(chain)}
    assert len(seen) == 6


def test_frozen_parameters_and_a_description_work_as_in_audiomentations():
    transform = CodecCompression(("opus", "mp3"), p=1.0)
    first = transform(VOICE, RATE)
    transform.freeze_parameters()
    assert all(np.array_equal(first, transform(VOICE, RATE)) for _ in range(3))
    assert "codecs=('opus', 'mp3')" in repr(transform)
    assert np.array_equal(CodecCompression(("mp3",), p=0.0)(VOICE, RATE), VOICE)
