"""What the attacks draw, ask for and make: the clips of the demo corpus, which change with any of it."""

from __future__ import annotations

import numpy as np
import pytest

from demo_corpus.attacks import ATTACKS, Source, lpc, phase, praat, speech, world
from demo_corpus.channel import band_limit, trim
from demo_corpus.seeds import generator
from demo_corpus.texts import TEXTS
from tests.demo_corpus.conftest import RATE, talk

LEVELS = {
    "world-copy": [-51.18, -33.71, -46.86, -38.46, -72.62, -78.8, -29.4, -27.25, -32.82, -32.09, -27.19, -29.66],
    "world-convert": [-51.63, -34.65, -43.34, -38.95, -66.96, -78.0, -29.72, -28.12, -32.98, -32.52, -27.99, -29.89],
    "mlsa": [-47.23, -35.35, -46.51, -39.14, -72.6, -78.83, -30.08, -29.03, -33.58, -32.53, -28.96, -30.19],
    "lpc-pulse": [-50.08, -33.1, -46.24, -38.97, -71.37, -74.69, -29.77, -26.35, -33.22, -32.25, -26.29, -30.05],
    "griffin-lim": [-50.49, -35.35, -46.52, -39.16, -72.81, -79.58, -30.3, -28.95, -33.37, -33.24, -28.9, -30.43],
    "griffin-lim-mel": [-51.19, -36.36, -47.98, -41.11, -74.74, -80.56, -31.74, -30.1, -34.79, -34.71, -29.97, -31.77],
}
"""Of each attack on `talk(1, 1.5)`: dB in six bands of frequency and in six parts of its time."""


@pytest.fixture
def wave() -> np.ndarray:
    return band_limit(talk(1, seconds=1.5), (80, 7000))


def levels(wave: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(wave)) ** 2 / len(wave) ** 2
    edges = np.array([0, 300, 800, 1600, 3000, 5000, 8000]) * len(wave) // RATE
    bands = [power[low:high].sum() for low, high in zip(edges[:-1], edges[1:], strict=True)]
    return 10 * np.log10([*bands, *(np.mean(part**2) for part in np.array_split(wave, 6))])


@pytest.mark.parametrize("attack", LEVELS)
def test_an_attack_is_as_ever(attack, wave):
    """To a twentieth of a dB, which other processors and versions keep; with more of a change RECIPE must be raised."""
    made = ATTACKS[attack](Source(wave, "cs", "x"), generator(1, attack))
    np.testing.assert_allclose(levels(made), LEVELS[attack], atol=0.05)


# ---- WORLD, linear prediction, phases --------------------------------------------------------------------------------


def test_world_takes_any_wave_of_numbers(wave):
    half = np.repeat(wave, 2)[::2].astype(np.float32)
    assert np.allclose(
        world.copy(Source(half, "", ""), generator(1)), world.copy(Source(wave, "", ""), generator(1)), atol=1e-3
    )


def test_conversions_go_either_way_by_what_they_say(wave, monkeypatch):
    """F0 by 2 to 6 semitones, formants by 6 to 18 %, in the same direction."""
    f0, envelope = np.full(20, 100.0), np.exp(np.linspace(0, 1, 513) ** 2)[None].repeat(20, axis=0)
    met = []
    monkeypatch.setattr(world, "_analyse", lambda wave: (f0, envelope, "aperiodicity"))
    monkeypatch.setattr(world, "_synthesise", lambda *words: met.append(words))
    for number in range(60):
        world.convert(Source(wave, "", ""), generator(number, "convert"))
    semitones = np.array([12 * np.log2(words[0][0] / 100) for words in met])
    slopes = np.array([np.sqrt(np.log(words[1][0, 400])) / 400 * 512 for words in met])  # 1 / the factor
    assert np.array_equal(np.sign(semitones), np.sign(1 / slopes - 1)) and 15 < np.sum(semitones > 0) < 45
    assert 2 <= np.abs(semitones).min() < 2.6 and 5.4 < np.abs(semitones).max() <= 6
    assert 0.06 <= np.abs(1 / slopes - 1).min() < 0.08 and 0.16 < np.abs(1 / slopes - 1).max() <= 0.18
    assert all(words[2:] == ("aperiodicity", len(wave)) for words in met)
    for slope, (_, warped, *_) in zip(slopes, met, strict=True):
        places = np.minimum(np.arange(513) * slope, 512)
        np.testing.assert_allclose(warped[3], np.exp((places / 512) ** 2), rtol=2e-5)


def test_frames_are_centred_every_five_milliseconds():
    wave = np.arange(1.0, 1_601.0)
    frames = lpc._frames(wave, 400)
    assert frames.shape == (20, 400)
    assert all(frame[200] == wave[80 * number] for number, frame in enumerate(frames))
    assert not frames[0, :200].any() and frames[-1, -1] == 0
    assert len(lpc._frames(np.ones(1_601), 400)) == 21  # so that the last sample is in one


@pytest.mark.parametrize("f0", [80, 125, 320])
def test_the_excitation_is_pulses_of_unit_power_at_f0_and_noise_elsewhere(f0):
    cycles = f0 * np.arange(RATE) / RATE
    voiced = 0.3 * (np.diff(np.floor(cycles), prepend=0) > 0)
    wave = np.concatenate([voiced, 1e-3 * np.random.default_rng(0).standard_normal(RATE)])
    made = lpc._excitation(wave, 410, generator(1, "pulses"))
    assert len(made) == 410 * 80
    inner = made[RATE // 4 : 3 * RATE // 4]
    periods = np.diff(np.flatnonzero(inner))
    assert np.abs(periods - RATE / f0).max() <= 0.03 * RATE / f0 + 1 and np.mean(inner**2) == pytest.approx(1, rel=0.05)
    noise = made[RATE + RATE // 4 :]
    drawn = generator(1, "pulses").standard_normal(len(made))[RATE + RATE // 4 :]
    assert np.mean(noise == drawn) > 0.9


def test_the_spectrum_of_phases_is_inverted_to_the_same_wave(wave):
    for samples in (20_000, 20_001, 20_224, 1_000):
        part = wave[2_000 : 2_000 + samples]
        spectrum = phase._transform(part)
        np.testing.assert_allclose(phase._inverse(spectrum, samples), part, atol=1e-12)
        assert spectrum.shape == (-(-samples // 256) + 5, 513)


def test_mel_filters_are_triangles_from_0_to_8_khz_evenly_in_mels():
    forward, back = phase._mel_filters()
    assert forward.shape == (80, 513) and back.shape == (513, 80)
    bins = np.linspace(0, 8_000, 513)
    mels = 2595 * np.log10(1 + bins / 700)
    step = 2595 * np.log10(1 + 8_000 / 700) / 81
    for number in (20, 50, 79):
        middle = forward[number].argmax()
        assert abs(mels[middle] - (number + 1) * step) < step and 0.5 < forward[number].max() <= 1
        inside = np.flatnonzero(forward[number])
        assert mels[inside[0]] > number * step - 1e-9 and mels[inside[-1]] < (number + 2) * step + 1e-9
    np.testing.assert_allclose(forward[60:].sum(axis=0)[360:480], 1, atol=1e-9)
    np.testing.assert_allclose(forward @ back @ forward, forward, atol=1e-9)


def test_rebuilt_phases_have_the_magnitudes_they_are_made_for(wave):
    magnitude = np.abs(phase._transform(wave))
    made = np.abs(phase._transform(phase._griffin_lim(magnitude, len(wave), generator(1))))
    assert np.linalg.norm(made - magnitude) < 0.15 * np.linalg.norm(magnitude)
    assert phase._MOMENTUM == 0.99 and phase._ROUNDS == 32


# ---- what is asked of the separate program and of hibari -------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """What `external.call` is asked; the answer is a tone, 100 ms a letter of the text."""
    calls: list[tuple] = []

    def call(tool, wave=None, **parameters):
        calls.append((tool, wave, parameters))
        length = RATE * len(parameters["text"]) // 10 if "text" in parameters else len(wave) + 7
        return 0.1 * np.sin(np.arange(length) / 5)

    monkeypatch.setattr(praat.external, "call", call)
    return calls


def test_psola_asks_for_another_voice_either_way(asked, wave):
    for number in range(80):
        assert len(praat.psola(Source(wave, "cs", "x"), generator(number, "psola"))) == len(wave)
    assert all(tool == "psola" and sent is wave for tool, sent, _ in asked)
    styles = [parameters for *_, parameters in asked]
    assert [type(value) for value in styles[0].values()] == [int, float, float, float]
    assert list(styles[0]) == ["seed", "formants", "pitch", "pitch_range"]
    semitones = np.array([12 * np.log2(style["pitch"]) for style in styles])
    formants = np.array([style["formants"] for style in styles]) - 1
    ranges = np.array([style["pitch_range"] for style in styles])
    assert np.array_equal(np.sign(semitones), np.sign(formants)) and 25 < np.sum(semitones > 0) < 55
    assert 2 <= np.abs(semitones).min() < 2.4 and 5.6 < np.abs(semitones).max() <= 6
    assert 0.06 <= np.abs(formants).min() < 0.07 and 0.17 < np.abs(formants).max() <= 0.18
    assert 0.7 <= ranges.min() < 0.73 and 1.27 < ranges.max() <= 1.3
    rngs = [generator(number, "psola") for number in range(80)]
    drawn = [(rng.choice([-1, 1]), rng.integers(1, 2**31))[1] for rng in rngs]
    assert [style["seed"] for style in styles] == drawn


@pytest.mark.parametrize("attack", ["espeak", "piper"])
def test_text_to_speech_asks_for_a_voice_a_style_and_a_text(attack, asked, wave):
    voice = "espeak-cs+m1" if attack == "espeak" else attack
    styles = []
    for number in range(80):
        ATTACKS[attack](Source(wave, "cs", voice), generator(number, attack))
        tool, sent, style = asked[-1]
        assert tool == attack and sent is None and style.pop("text")
        styles.append(style)
    for number, style in enumerate(styles):
        rng = generator(number, attack)
        if attack == "espeak":
            rate, pitch, spread = (int(rng.integers(*bounds)) for bounds in ((140, 185), (35, 65), (35, 65)))
            assert style == {"voice": "cs+m1", "rate": rate, "pitch": pitch, "range": spread}
        else:
            assert style == {"seed": int(rng.integers(1, 2**31)), "slowness": rng.uniform(0.9, 1.15)}
        assert {type(value) for value in style.values()} <= {str, int, float}


def test_hibari_is_asked_for_a_seed_and_a_speed_and_resampled(wave, monkeypatch):
    calls = []

    def say(text, **style):
        calls.append((text, style))
        return 0.1 * np.sin(2 * np.pi * 1_000 * np.arange(24_000 * 3) / 24_000)

    monkeypatch.setattr(speech, "_hibari", lambda: say)
    made = [speech.hibari(Source(wave, "cs", "hibari"), generator(number, "hibari")) for number in range(60)]
    for number, (text, style) in enumerate(calls):
        rng = generator(number, "hibari")
        assert style == {"seed": int(rng.integers(1, 2**31)), "speed": rng.uniform(0.9, 1.15)}
        assert {type(value) for value in style.values()} == {int, float} and text.startswith(tuple(TEXTS["en"]))
    power = np.abs(np.fft.rfft(made[0][:16_000]))
    assert power.argmax() == 1_000


def test_hibari_runs_in_one_thread_and_is_loaded_once(monkeypatch):
    import hibari

    asked = []
    monkeypatch.setattr(hibari, "Hibari", lambda **options: asked.append(options) or object())
    speech._hibari.cache_clear()
    try:
        assert speech._hibari() is speech._hibari() and asked == [{"threads": 1}]
    finally:
        speech._hibari.cache_clear()


def said(source: Source, seconds_a_letter: float, number: int = 0) -> tuple[np.ndarray, list[str]]:
    texts: list[str] = []

    def say(text: str) -> np.ndarray:
        texts.append(text)
        return 0.1 * np.sin(np.arange(round(len(text) * seconds_a_letter * RATE)) / 5)

    return speech._speak(source, generator(number, "speak"), say), texts


@pytest.mark.parametrize(("voice", "language"), [("espeak-cs+m1", "cs"), ("piper", "en"), ("hibari", "en")])
def test_sentences_of_a_language_are_joined_until_they_last_as_long_as_the_source(voice, language):
    tries = 0
    for number, length in enumerate(np.linspace(1, 4.5, 36)):
        source = Source(np.zeros(round(length * RATE)), "cs", voice)
        order = generator(number, "speak").permutation(len(TEXTS[language]))
        sentences = [TEXTS[language][index] for index in order]
        joined = [" ".join(sentences[: count + 1]) for count in range(len(sentences))]
        tried = [text for text in joined if 0.05 * len(text) >= 1.1 * length]  # shorter ones cannot be enough
        made, texts = said(source, 0.04, number)
        enough = next(count for count, text in enumerate(tried) if 0.04 * len(text) >= 1.1 * length)
        assert texts == tried[: enough + 1] and abs(len(made) / len(source.wave) - 1) < 0.11
        tries = max(tries, len(texts))
    assert tries > 1


def test_where_all_sentences_are_too_short_all_are_said():
    made, texts = said(Source(np.zeros(4 * RATE), "cs", "piper"), 0.0005)
    assert len(texts[-1]) == len(" ".join(TEXTS["en"])) and len(made) > 0


def test_speech_ends_at_the_quietest_moment_near_the_source_s_end():
    spoken = 0.1 * np.sin(np.arange(3 * RATE) / 5)
    for quiet in (29_500, 32_000, 34_500):
        wave = spoken.copy()
        wave[quiet - 160 : quiet + 160] = 0
        assert abs(speech._end(wave, 32_000) - quiet) <= 1
    wave[34_340:34_660] = 1e-3
    wave[20_000:28_000] = wave[36_000:] = 0  # outside 10 %
    assert abs(speech._end(wave, 32_000) - 34_500) <= 1
    wave = spoken.copy()
    wave[28_800:28_900] = wave[35_100:35_200] = 0
    assert 28_800 <= speech._end(wave, 32_000) <= 35_200


def test_speech_is_cut_at_the_duration_where_its_source_was_cut_or_ends_itself():
    spoken = 0.1 * np.sin(np.arange(6 * RATE) / 5)
    spoken[76_000:76_400] = 0
    assert speech._end(spoken, 5 * RATE) == 5 * RATE and speech._end(spoken, 5 * RATE - 1) != 5 * RATE - 1
    assert speech._end(np.ones(100), 32_000) == 32_000


def test_what_is_said_has_no_silent_edges():
    source = Source(np.zeros(RATE), "cs", "piper")
    spoken = np.pad(0.1 * np.sin(np.arange(3 * RATE) / 5), 4_000)
    made = speech._speak(source, generator(0, "x"), lambda text: spoken)
    assert np.array_equal(made, trim(spoken)[: len(made)])
