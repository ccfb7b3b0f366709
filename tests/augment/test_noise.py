import json
import random

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from aasist_lib.augment.base import AugmentationError, record, seeded
from aasist_lib.augment.noise import Babble, Background, Noise, read_excerpt, repeat

RATE = 16_000
TIME = np.arange(4 * RATE) / RATE
CLIP = (0.2 * np.sin(2 * np.pi * (150 * TIME + 400 * TIME**2))).astype(np.float32)
EXPONENTS = {"white": 0, "pink": -1, "brown": -2, "blue": 1, "violet": 2}


def gaussian(seed: int, samples: int, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(samples)


def ratio(clip: np.ndarray, noisy: np.ndarray) -> float:
    rest = noisy.astype(np.float64) - clip
    return 10 * np.log10(np.mean(clip.astype(np.float64) ** 2) / np.mean(rest**2))


def call(transform, clip: np.ndarray = CLIP, seed: int = 0) -> tuple[np.ndarray, dict]:
    random.seed(seed)
    noisy = transform(clip, sample_rate=RATE)
    assert noisy.shape == clip.shape and noisy.dtype == np.float32 and np.isfinite(noisy).all()
    parameters = json.loads(json.dumps(record(transform)))
    assert parameters == record(transform)  # JSON types only
    return noisy, parameters


@pytest.fixture
def musan(tmp_path):
    """A small folder in MUSAN's layout: long and short files, three rates, one of two channels."""
    root = tmp_path / "musan"
    files = {
        "noise/free-sound/a.wav": (gaussian(1, 100_000), 16_000),
        "noise/sound-bible/short.wav": (gaussian(2, 3000), 16_000),
        "music/b.flac": (gaussian(3, 300_000), 44_100),
        "speech/c.wav": (np.stack([gaussian(4, 60_000), gaussian(5, 60_000)], axis=1), 8000),
    }
    for name, (wave, rate) in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, wave, rate)
    (root / "noise" / "README").write_text("not audio")
    return root


@pytest.fixture
def split(tmp_path):
    paths = [str(tmp_path / f"T_{n}.flac") for n in range(9)]
    for n, path in enumerate(paths):
        soundfile.write(path, gaussian(n, 5000 * (n + 1), level=0.02 * (n + 1)).clip(-1, 1), RATE)
    return paths


@pytest.fixture(params=["noise", "background", "babble"])
def additive(request, musan, split):
    """Each of the three noises, by its range of SNR."""
    kinds = {
        "noise": lambda snr_db: Noise(snr_db, p=1.0),
        "background": lambda snr_db: Background(musan, snr_db=snr_db, p=1.0),
        # An odd number: of a single sample, as many talkers may be 1 as -1.
        "babble": lambda snr_db: Babble(split, (3, 3), snr_db, p=1.0),
    }
    return kinds[request.param]


@pytest.mark.parametrize("snr_db", [-20.0, 0.0, 12.5, 80.0])
@pytest.mark.parametrize("samples", [64_000, 1234, 20, 1])
def test_the_snr_is_reached_exactly_and_recorded_as_measured(additive, snr_db, samples):
    clip = CLIP[1000 : 1000 + samples]
    noisy, parameters = call(additive((snr_db, snr_db)), clip)
    assert ratio(clip, noisy) == pytest.approx(snr_db, abs=0.01)
    assert parameters["snr_db"] == pytest.approx(ratio(clip, noisy), abs=1e-3)


def test_silence_stays_silent_and_the_record_says_so(additive):
    noisy, parameters = call(additive((10, 10)), np.zeros(4000, dtype=np.float32))
    assert not noisy.any() and parameters["snr_db"] is None


def test_the_seed_decides_and_the_numpy_generator_does_not(additive):
    transform = additive((20, 5))
    first, parameters = call(transform, seed=1)
    np.random.seed(5)  # noqa: NPY002
    again, parameters_again = call(transform, seed=1)
    assert np.array_equal(first, again) and parameters == parameters_again
    other, other_parameters = call(transform, seed=2)
    assert not np.array_equal(first, other) and parameters != other_parameters


def test_frozen_parameters_give_the_same_noise_again(additive):
    transform = additive((20, 5))
    first, _ = call(transform, seed=1)
    transform.freeze_parameters()
    assert np.array_equal(first, call(transform, seed=2)[0])
    call(transform, np.zeros(64_000, dtype=np.float32))  # does not make the next clip's noise disappear
    assert np.array_equal(first, call(transform)[0])


def test_ranges_read_alike_in_either_order(additive):
    for ends in ((5, 20), (20, 5)):
        drawn = [call(additive(ends), CLIP[:400], seed)[1]["snr_db"] for seed in range(60)]
        assert 4.9 < min(drawn) < 8 and 17 < max(drawn) < 20.1


@pytest.mark.parametrize("snr_db", [(10, 101), (-41, 0), (float("nan"), 10)])
def test_an_snr_that_makes_no_sense_is_an_error_saying_what_is_allowed(additive, snr_db):
    with pytest.raises(AugmentationError, match=r"snr_db = .*\[-40, 100\]"):
        additive(snr_db)


@pytest.mark.parametrize("colour", EXPONENTS)
def test_coloured_noise_has_its_slope_from_20_hz_up(colour):
    clip = np.tile(CLIP, 4)
    noise = call(Noise((10, 10), [colour], p=1.0), clip)[0].astype(np.float64) - clip
    hertz, density = welch(noise, RATE, nperseg=8192)
    band = (hertz > 40) & (hertz < 7900)
    # Octave by octave, so that the many high bins do not outvote the low ones.
    edges = 40 * 2.0 ** np.arange(0, 8)
    octaves = [10 * np.log10(density[band & (hertz >= low) & (hertz < 2 * low)].mean()) for low in edges[:-1]]
    assert np.polyfit(np.arange(7), octaves, 1)[0] == pytest.approx(10 * np.log10(2) * EXPONENTS[colour], abs=0.4)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    inaudible = np.fft.rfftfreq(len(noise), 1 / RATE) < 19
    assert spectrum[inaudible].sum() < 1e-4 * spectrum.sum()


def test_all_colours_asked_for_come_up_and_others_are_refused():
    assert {call(Noise(p=1.0), CLIP[:100], seed)[1]["colour"] for seed in range(60)} == set(EXPONENTS)
    assert {call(Noise(colours=("pink",), p=1.0), CLIP[:100], seed)[1]["colour"] for seed in range(9)} == {"pink"}
    for colours in ((), ("grey",)):
        with pytest.raises(AugmentationError, match="colours = .*white, .*violet"):
            Noise(colours=colours)


def test_background_is_the_excerpt_its_record_names(musan):
    transform = Background(musan, ("noise",), (10, 10), p=1.0)
    seen = set()
    for seed in range(12):
        noisy, parameters = call(transform, CLIP[:16_000], seed)
        seen.add(parameters["file"])
        if parameters["file"] == "noise/free-sound/a.wav":
            start = round(parameters["start_seconds"] * RATE)
            assert 0 < start <= 100_000 - 16_000
            source = soundfile.read(musan / parameters["file"])[0][start : start + 16_000]
            assert np.corrcoef(source, noisy - CLIP[:16_000])[0, 1] > 0.999
    assert seen == {"noise/free-sound/a.wav", "noise/sound-bible/short.wav"}


def test_background_takes_the_kinds_asked_for(musan):
    assert Background(musan).files == sorted(Background(musan, ("speech", "noise", "music")).files)
    assert len(Background(musan).files) == 4
    assert Background(musan, ["music"]).files == ["music/b.flac"]


def test_background_reads_nothing_but_the_excerpt(musan, monkeypatch):
    asked = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, n, **rest: asked.append(n) or read(self, n, **rest))
    call(Background(musan, ["music"], p=1.0), CLIP[:1600])
    assert len(asked) == 1 and asked[0] == pytest.approx(1600 * 44_100 / 16_000, rel=0.01)


def test_an_excerpt_at_another_rate_lies_where_it_should(tmp_path):
    time = np.arange(3 * 48_000) / 48_000
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 100 * time**2), 48_000, subtype="FLOAT")
    excerpt, start = read_excerpt(tmp_path / "a.wav", 0.6, 8000)
    time = start + np.arange(8000) / 16_000
    assert excerpt[100:-100] == pytest.approx(0.5 * np.sin(2 * np.pi * 100 * time**2)[100:-100], abs=2e-3)


def test_a_short_wave_is_repeated_without_a_click():
    time = np.arange(3050) / RATE  # 38.125 periods: the end does not fit the beginning
    wave = np.sin(2 * np.pi * 200 * time).astype(np.float32)
    loop = repeat(wave, 20_000, 777)
    assert loop.shape == (20_000,) and np.array_equal(loop[:1000], wave[777:1777])
    assert np.array_equal(loop[: 20_000 - 2890], loop[2890:])  # 3050 less the joint of 160
    assert np.abs(np.diff(loop)).max() < 1.5 * np.abs(np.diff(wave)).max() < np.abs(wave[0] - wave[-1])
    for samples in (1, 2, 3):
        assert np.isfinite(repeat(wave[:samples], 50, samples - 1)).all()


def test_a_silent_background_adds_nothing(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(80_000), RATE)
    noisy, parameters = call(Background(tmp_path, p=1.0))
    assert np.array_equal(noisy, CLIP) and parameters["snr_db"] is None


def test_folders_without_noise_are_errors_naming_them(musan, tmp_path):
    with pytest.raises(AugmentationError, match="/nowhere: "):
        Background(tmp_path / "nowhere")
    with pytest.raises(AugmentationError, match=r"birds: .*\['music', 'noise', 'speech'\]"):
        Background(musan, ("noise", "birds"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AugmentationError, match="/empty: "):
        Background(tmp_path / "empty")


@pytest.mark.parametrize("content, reason", [(b"no audio", "read"), (None, "read"), (np.zeros(0), "samples")])
def test_files_that_cannot_be_used_are_named(tmp_path, content, reason):
    file = tmp_path / "bad.wav"
    soundfile.write(file, content if isinstance(content, np.ndarray) else np.ones(9), RATE)
    transform = Background(tmp_path, p=1.0)
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    with pytest.raises(AugmentationError, match=rf"bad\.wav: .*{reason}"):
        call(transform)


def test_nan_in_a_file_is_an_error(tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.full(80_000, np.nan), RATE, subtype="FLOAT")
    with pytest.raises(AugmentationError, match="NaN"):
        call(Background(tmp_path, p=1.0))


def test_babble_is_the_sum_of_its_talkers_at_equal_power(split):
    transform = Babble(split[5:], (3, 3), (0, 0), p=1.0)
    noisy, parameters = call(transform, CLIP[:8000])
    assert len(set(parameters["talkers"])) == 3
    voices = []
    for name, clip, start in zip(parameters["talkers"], parameters["clips"], parameters["starts_seconds"], strict=True):
        assert split[5:][clip].endswith(name)
        begin = round(start * RATE)
        voice = soundfile.read(split[5:][clip])[0][begin : begin + 8000]
        voices.append(voice / np.sqrt(np.mean(voice**2)))
    assert np.corrcoef(np.sum(voices, axis=0), noisy - CLIP[:8000])[0, 1] > 0.999


def test_the_clip_itself_is_never_among_its_talkers(split, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    transform = Babble(split[:4], (3, 3), p=1.0)
    seen = set()
    for seed in range(40):
        seen |= set(call(transform, CLIP[:50], seed)[1]["talkers"])
        for path in (split[2], "T_2.flac", f"{tmp_path}/../{tmp_path.name}/T_2.flac"):
            with seeded(np.random.default_rng(seed), path):
                assert sorted(call(transform, CLIP[:50], seed)[1]["talkers"]) == ["T_0.flac", "T_1.flac", "T_3.flac"]
    assert "T_2.flac" in seen


def test_parameters_frozen_for_another_clip_do_not_let_it_in(split):
    transform = Babble(split, (3, 3), p=1.0)
    talker = call(transform, CLIP[:50])[1]["clips"][0]
    transform.freeze_parameters()
    with seeded(np.random.default_rng(0), split[talker]), pytest.raises(AugmentationError, match=split[talker]):
        call(transform, CLIP[:50])


def test_the_number_of_talkers_is_drawn_from_its_range(split):
    for talkers in ((2, 5), (5, 2), (5.3, 1.8)):
        transform = Babble(split, talkers, p=1.0)
        numbers = [len(call(transform, CLIP[:50], seed)[1]["talkers"]) for seed in range(80)]
        assert set(numbers) == {2, 3, 4, 5}


def test_a_silent_talker_is_no_harm(tmp_path):
    paths = [str(tmp_path / f"{n}.wav") for n in range(3)]
    for path in paths:
        soundfile.write(path, np.zeros(500), RATE)
    noisy, parameters = call(Babble(paths, (2, 2), p=1.0))
    assert np.array_equal(noisy, CLIP) and parameters["snr_db"] is None
    soundfile.write(paths[0], gaussian(0, 500), RATE)
    assert call(Babble(paths, (2, 2), (5, 5), p=1.0), seed=1)[1]["snr_db"] == pytest.approx(5, abs=1e-3)


def test_babble_that_cannot_be_made_is_an_error(split):
    with pytest.raises(AugmentationError, match="7 talkers .* 7 clips"):
        Babble(split[:7] * 2)
    with pytest.raises(AugmentationError, match=r"talkers = .*\[1, 32\]"):
        Babble(split, (0, 3))
