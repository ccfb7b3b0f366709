import json
import random

import numpy as np
import pytest
import soundfile
from pyroomacoustics.experimental import measure_rt60

from aasist_lib.augment.base import AugmentationError, record
from aasist_lib.augment.reverberation import ROOMS, Reverberation, reverberation_time, simulate

RATE = 16_000
NOISE = (0.1 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32)
IMPULSE = np.eye(1, 3 * RATE, dtype=np.float32)[0]


def call(transform, clip: np.ndarray = NOISE, seed: int = 0) -> tuple[np.ndarray, dict]:
    random.seed(seed)
    wave = transform(clip, sample_rate=RATE)
    assert wave.shape == clip.shape and wave.dtype == np.float32 and np.isfinite(wave).all()
    assert json.loads(json.dumps(record(transform))) == record(transform)  # JSON types only
    return wave, record(transform)


def lag(clip: np.ndarray, wave: np.ndarray) -> int:
    """Where the cross-correlation of the two is greatest, in samples."""
    size = 2 * len(clip)
    correlation = np.fft.irfft(np.fft.rfft(wave, size) * np.conj(np.fft.rfft(clip, size)))
    return int((np.argmax(correlation) + len(clip)) % size - len(clip))


def decaying(seconds: float, seed: int = 1, rate: int = RATE) -> np.ndarray:
    """An ideal response: 1 at the direct path, then noise that falls by 60 dB in `seconds`."""
    time = np.arange(round(1.5 * seconds * rate)) / rate
    response = 0.05 * np.random.default_rng(seed).standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    response[0] = 1
    return response


@pytest.fixture
def folder(tmp_path):
    """Responses and noises in the layout of RIRS_NOISES."""
    root = tmp_path / "RIRS_NOISES"
    late = np.concatenate([0.001 * np.ones(400), -0.5 * decaying(0.4)])
    files = {
        "simulated_rirs/smallroom/Room001/Room001-00001.wav": (np.stack([late, 2 * late[::-1]], axis=1), RATE),
        "real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_near_angla.wav": (decaying(0.7, rate=48_000) / 2, 48_000),
        "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav": (np.ones(900), RATE),
        "pointsource_noises/street.wav": (np.ones(900), RATE),
    }
    for name, (wave, rate) in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, wave, rate, subtype="FLOAT")
    return root


@pytest.mark.parametrize("seconds", [0.11, 0.2, 0.31, 0.45, 0.6, 0.8, 1.0, 2.0])
def test_the_reverberation_time_is_that_asked_for_in_every_room(seconds):
    """Measured by other code than that which makes it, on what the transform does to an impulse."""
    transform = Reverberation((seconds, seconds), wet=(1, 1), p=1.0)
    rooms = {}
    for seed in range(60):
        random.seed(seed)
        transform.randomize_parameters(IMPULSE, RATE)
        rooms[transform.parameters["room"]] = seed
    assert set(rooms) == set(range(ROOMS))
    for seed in rooms.values():
        response, parameters = call(transform, IMPULSE, seed)
        measured = measure_rt60(response, RATE, decay_db=30)
        assert measured == pytest.approx(seconds, rel=0.1)
        assert parameters["rt60_seconds"] == pytest.approx(seconds, abs=0.011)
        assert measured == pytest.approx(parameters["rt60_seconds"], rel=0.04)


def test_less_wet_is_less_reverberation_of_the_same_decay():
    found = {}
    for wet in (1.0, 0.5, 0.1, 0.0):
        response, parameters = call(Reverberation((0.6, 0.6), wet=(wet, wet), p=1.0), IMPULSE)
        energy = response.astype(np.float64) ** 2
        found[wet] = parameters["direct_to_reverberant_db"]
        if wet:
            assert 10 * np.log10(energy[:41].sum() / energy[41:].sum()) == pytest.approx(found[wet], abs=0.01)
            # From 50 ms on, since a weak tail alone does not carry the measure from -5 dB of the whole.
            assert measure_rt60(response[800:], RATE, decay_db=30) == pytest.approx(0.6, rel=0.1)
    assert found[0.5] - found[1.0] == pytest.approx(6.02, abs=0.01)
    assert found[0.1] - found[1.0] == pytest.approx(20, abs=0.01)
    assert found[0.0] is None


@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.5])
def test_the_output_is_aligned_and_as_loud_as_the_input(seconds):
    transform = Reverberation((seconds, seconds), wet=(1, 1), p=1.0)
    for seed in range(12):
        wave, _ = call(transform, NOISE, seed)
        assert abs(lag(NOISE, wave)) <= 1
        assert np.mean(wave**2) == pytest.approx(np.mean(NOISE**2), rel=1e-3)
        assert np.corrcoef(wave, NOISE)[0, 1] < 0.95


def test_a_dry_room_gives_the_clip_back_but_for_its_first_reflections():
    wave, _ = call(Reverberation(wet=(0, 0), p=1.0))
    assert np.corrcoef(wave, NOISE)[0, 1] > 0.9


def test_a_room_depends_on_its_number_and_time_only():
    first = {room: simulate(room, 20).taps.copy() for room in range(ROOMS)}
    simulate.cache_clear()
    np.random.seed(1)  # noqa: NPY002
    for room in reversed(range(ROOMS)):
        simulate(room, 31)
        assert np.array_equal(first[room], simulate(room, 20).taps)
    for room in range(1, ROOMS):
        assert np.abs(first[room] - first[0]).max() > 0.1


@pytest.mark.parametrize("room", range(ROOMS))
def test_nothing_in_a_room_is_louder_than_the_direct_path(room):
    for steps in (10, 50, 100):
        response = simulate(room, steps)
        assert response.taps[response.direct] == 1 and np.abs(response.taps[1:]).max() < 0.7


def test_the_seed_decides():
    transform = Reverberation(p=1.0)
    first, parameters = call(transform, seed=1)
    again, parameters_again = call(transform, seed=1)
    assert np.array_equal(first, again) and parameters == parameters_again
    other, _ = call(transform, seed=2)
    assert not np.array_equal(first, other)
    transform.freeze_parameters()
    assert np.array_equal(other, call(transform, seed=3)[0])


def test_ranges_read_alike_in_either_order():
    for ends, wet in (((0.2, 0.5), (0.3, 0.9)), ((0.5, 0.2), (0.9, 0.3))):
        drawn = [call(Reverberation(ends, wet=wet, p=1.0), NOISE[:10], seed)[1] for seed in range(60)]
        times, wets = [item["rt60_seconds"] for item in drawn], [item["wet"] for item in drawn]
        assert 0.2 <= min(times) < 0.26 and 0.44 < max(times) <= 0.5
        assert 0.3 <= min(wets) < 0.4 and 0.8 < max(wets) <= 0.9


@pytest.mark.parametrize("samples", [1, 2, 15, 100, 801])
def test_short_clips_and_silence_pass(samples, folder):
    for transform in (Reverberation(p=1.0), Reverberation(folder=folder, p=1.0)):
        assert call(transform, NOISE[:samples])[0].any()
        assert not call(transform, np.zeros(samples, dtype=np.float32))[0].any()


def test_responses_of_a_folder_are_aligned_and_measured(folder):
    transform = Reverberation(folder=folder, wet=(1, 1), p=1.0)
    assert len(transform.files) == 2  # the noises are left out
    times = {}
    for seed in range(10):
        wave, parameters = call(transform, NOISE, seed)
        times[parameters["file"].split("/")[0]] = parameters["rt60_seconds"]
        assert abs(lag(NOISE, wave)) <= 1
        assert np.mean(wave**2) == pytest.approx(np.mean(NOISE**2), rel=1e-3)
    assert times == {
        "simulated_rirs": pytest.approx(0.4, rel=0.1),
        "real_rirs_isotropic_noises": pytest.approx(0.7, rel=0.1),
    }


def test_a_file_is_convolved_with_as_it_is(folder):
    transform = Reverberation(folder=folder / "simulated_rirs", wet=(1, 1), p=1.0)
    wave, parameters = call(transform, IMPULSE)
    expected = decaying(0.4)
    assert wave[: len(expected)] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    ratio = 10 * np.log10((expected[:41] ** 2).sum() / (expected[41:] ** 2).sum())
    assert parameters["direct_to_reverberant_db"] == pytest.approx(ratio, abs=0.01)


def test_the_reverberation_time_of_an_ideal_decay():
    assert reverberation_time(decaying(0.5)) == pytest.approx(0.5, rel=0.03)
    time = np.arange(2 * RATE) / RATE
    assert reverberation_time(10 ** (-3 * time / 0.8)) == pytest.approx(0.8, rel=1e-3)
    for response in (np.ones(1), np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.3, 0.0])):
        assert reverberation_time(response) is None


def test_what_cannot_be_used_is_an_error_saying_so(folder, tmp_path):
    for times in ((0.05, 0.5), (0.5, 2.5)):
        with pytest.raises(AugmentationError, match=r"rt60_seconds = .*\[0.1, 2\]"):
            Reverberation(times)
    with pytest.raises(AugmentationError, match=r"wet = .*\[0, 1\]"):
        Reverberation(wet=(0.5, 1.5))
    with pytest.raises(AugmentationError, match="/nowhere: "):
        Reverberation(folder=tmp_path / "nowhere")
    with pytest.raises(AugmentationError, match="/other: .*impulse"):
        (tmp_path / "other").mkdir()
        soundfile.write(tmp_path / "other" / "noise_1.wav", np.ones(9), RATE)
        Reverberation(folder=tmp_path / "other")
    for name, wave in (("silent", np.zeros(99)), ("nan", np.full(99, np.nan)), ("empty", np.zeros(0))):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "rir.wav", wave, RATE, subtype="FLOAT")
        with pytest.raises(AugmentationError, match="rir.wav: .*impulse"):
            call(Reverberation(folder=tmp_path / name, p=1.0))
    (tmp_path / "silent" / "rir.wav").write_bytes(b"no audio")
    with pytest.raises(AugmentationError, match="other.wav: .*read"):
        (tmp_path / "silent" / "rir.wav").rename(tmp_path / "silent" / "other.wav")
        call(Reverberation(folder=tmp_path / "silent", p=1.0))
