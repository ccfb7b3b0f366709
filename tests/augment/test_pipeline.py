"""The pipeline as a whole: what fires, how strongly, on what it depends, and what happens when a distortion goes wrong."""

import copy
import pickle
import random

import numpy as np
import pandas as pd
import pytest
import soundfile
from pydantic import ValidationError
from torch.utils.data import DataLoader

from aasist_lib.augment import Applied, AugmentationError, Augmenter, Strength, clip_generator, seeded, strength
from aasist_lib.augment.registry import TRANSFORMS
from aasist_lib.config.augmentation import AugmentationConfig
from aasist_lib.datasets.clips import Clips

TIME = np.arange(48_000) / 16_000
WAVE = (0.3 * np.sin(2 * np.pi * (200 * TIME + 80 * TIME**2)) + 0.1 * np.sin(2 * np.pi * 1234 * TIME)).astype(np.float32)
EVERY = [kind for kind in TRANSFORMS if kind != "background"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(1)
    for number in range(9):
        soundfile.write(folder / f"{number}.flac", 0.1 * rng.standard_normal(20_000), 16_000)
    return [str(path) for path in sorted(folder.iterdir())]


def make(*items, paths=(), **settings) -> Augmenter:
    """Every distortion fires unless told otherwise."""
    items = [item if isinstance(item, dict) else {"kind": item} for item in items]
    return Augmenter(AugmentationConfig.model_validate({"probability": 1.0, "distortions": items} | settings), paths)


def test_the_same_clip_gets_the_same_distortion_and_others_do_not(paths):
    augmenter = make(*EVERY, paths=paths)
    first, applied = augmenter(WAVE, clip_generator(1, 2, "a"))
    again, applied_again = augmenter(WAVE, clip_generator(1, 2, "a"))
    assert np.array_equal(first, again) and applied == applied_again and len(applied) == len(EVERY)
    assert first.shape == WAVE.shape and first.dtype == np.float32
    for other in ((2, 2, "a"), (1, 3, "a"), (1, 2, "b")):
        assert not np.array_equal(first, augmenter(WAVE, clip_generator(*other))[0])


def test_global_generators_are_left_as_they_were_and_do_not_matter(paths):
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    first, _ = make(*EVERY, paths=paths)(WAVE, clip_generator(1, 1, "a"))
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002
    assert np.array_equal(first, make(*EVERY, paths=paths)(WAVE, clip_generator(1, 1, "a"))[0])


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_changes_a_clip_and_records_what_it_did(kind, paths):
    clip = np.concatenate([np.zeros(4000, dtype=np.float32), WAVE])  # with a silent edge to be trimmed
    wave, applied = make(kind, paths=paths)(clip, clip_generator(1, 0, "a"))
    assert wave.shape == clip.shape and np.isfinite(wave).all() and not np.array_equal(wave, clip)
    assert len(applied) == 1 and applied[0].name and not np.isnan(applied[0].snr_db)
    assert kind in ("polarity", "trim_silence") or applied[0].parameters


@pytest.mark.parametrize("kind", EVERY)
def test_parameters_are_drawn_before_the_clip_is_touched(kind, paths):
    """`apply` and `distort` leave them as they are, so frozen parameters mean the same for the next clip."""
    augmenter = make(kind, paths=paths)
    ((_, (transform,)),) = augmenter.transforms(augmenter.start)
    with seeded(clip_generator(1, 0, "a")):
        transform.randomize_parameters(WAVE, 16_000)
        drawn = copy.deepcopy(transform.parameters)
        transform.freeze_parameters()
        transform(WAVE, sample_rate=16_000)
    assert transform.parameters == drawn


def test_background_noise_comes_from_the_folder_asked_for(tmp_path):
    (tmp_path / "noise").mkdir()
    hum = 0.2 * np.sin(2 * np.pi * 3000 * np.arange(64_000) / 16_000)
    soundfile.write(tmp_path / "noise" / "hum.wav", hum, 16_000)
    item = {"kind": "background", "folder": str(tmp_path), "snr_db": [5, 5]}
    wave, applied = make(item)(WAVE, clip_generator(1, 0, "a"))
    spectrum = np.abs(np.fft.rfft(wave - WAVE))
    assert spectrum.argmax() * 16_000 / len(WAVE) == pytest.approx(3000, abs=1)
    assert applied[0].snr_db == pytest.approx(5, abs=0.5) and applied[0].parameters["file"].endswith("hum.wav")
    with pytest.raises(AugmentationError, match="/nowhere: "):
        make({"kind": "background", "folder": str(tmp_path / "nowhere")})


def test_the_snr_recorded_is_that_of_what_was_added():
    wave, applied = make({"kind": "noise", "snr_db": [12, 12]})(WAVE, clip_generator(1, 0, "a"))
    noise = wave - WAVE
    assert 10 * np.log10((WAVE**2).mean() / (noise**2).mean()) == pytest.approx(12, abs=0.01)
    assert applied[0].snr_db == pytest.approx(12, abs=0.2)
    assert make({"kind": "gain", "gain_db": [6, 6]})(WAVE, clip_generator(1, 0, "a"))[1][0].snr_db == float("inf")


def test_probability_and_p_say_how_often_each_distortion_fires():
    config = {"probability": 0.6, "distortions": [{"kind": "gain"}, {"kind": "polarity", "p": 0.5}]}
    augmenter = Augmenter(AugmentationConfig.model_validate(config))
    fired = [item.name for n in range(400) for item in augmenter(WAVE[:400], clip_generator(1, 0, str(n)))[1]]
    assert 0.5 < fired.count("Gain") / 400 < 0.7
    assert 0.22 < fired.count("PolarityInversion") / 400 < 0.38
    never = Augmenter(AugmentationConfig.model_validate(config | {"probability": 0}))
    assert never(WAVE, clip_generator(1, 0, "a")) == (pytest.approx(WAVE), [])


def test_intensity_moves_the_hard_end_of_every_range_up_to_its_limit():
    augmenter = make({"kind": "noise", "snr_db": [40, 20], "colours": ["white"]}, {"kind": "codec", "kbps": [64, 16]})

    def drawn(intensity: float) -> tuple[np.ndarray, np.ndarray]:
        runs = [augmenter(WAVE[:800], clip_generator(1, 0, str(n)), at=Strength(1.0, intensity))[1] for n in range(150)]
        return tuple(np.array([run[k].parameters[name] for run in runs]) for k, name in enumerate(("wanted_snr_db", "kbps")))

    for intensity, low in ((0.0, 40), (0.5, 30), (1.0, 20), (1.8, 4)):
        snr, kbps = drawn(intensity)
        assert low - 1e-6 <= snr.min() < low + 0.15 * (40 - low) + 1e-6 and snr.max() <= 40
        assert kbps.min() >= 4
    assert drawn(0.0)[1].min() >= 32 > 8 >= drawn(1.8)[1].min()


def test_the_strength_set_reaches_the_pipeline_by_name_of_its_ends():
    config = AugmentationConfig.model_validate({"probability": [0.5, 0.9], "intensity": [1.0, 1.8], "ramp_epochs": 10})
    assert strength(config, 0.0) == Strength(0.5, 1.0, 0.0)
    assert strength(config, 1.0) == Strength(0.9, 1.8, 1.0)
    half = strength(config, 0.5)
    assert (half.probability, half.intensity) == pytest.approx((0.7, 1.4))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda samples, sample_rate: samples[:-1], r"clip7: Gain \{.*\} .*\(47999,\) .*\(48000,\)"),
        (lambda samples, sample_rate: samples * np.nan, r"clip7: Gain \{.*\} .*NaN"),
        (lambda samples, sample_rate: samples * 0, r"clip7: Gain \{.*\} .*silence"),
    ],
)
def test_a_distortion_that_breaks_the_clip_is_an_error_naming_clip_and_parameters(damage, message):
    augmenter = make("gain")
    augmenter.transforms(augmenter.start)[0][1][0].apply = damage
    with pytest.raises(AugmentationError, match=message):
        augmenter(WAVE, clip_generator(1, 0, "a"), "clip7")


def test_an_error_inside_a_distortion_says_which_clip_it_was():
    augmenter = make("gain")

    def fail(samples, sample_rate):
        raise ValueError("broken")

    augmenter.transforms(augmenter.start)[0][1][0].apply = fail
    with pytest.raises(ValueError, match="broken") as caught:
        augmenter(WAVE, clip_generator(1, 0, "a"), "clip7")
    assert "clip7" in caught.value.__notes__[0] and "Gain" in caught.value.__notes__[0]


def test_silence_stays_silence_without_an_error(paths):
    wave, _ = make(*EVERY, paths=paths)(np.zeros(8000, dtype=np.float32), clip_generator(1, 0, "a"))
    assert wave.shape == (8000,) and np.isfinite(wave).all()


def test_speed_fires_with_the_probability_and_stays_in_its_range():
    augmenter = Augmenter(AugmentationConfig(probability=(0.5, 0.5), speed=(0.9, 1.2)))
    drawn = [augmenter.draw_speed(clip_generator(1, 0, str(n))) for n in range(300)]
    changed = [factor for factor in drawn if factor != 1.0]
    assert 0.4 < len(changed) / 300 < 0.6
    assert 0.9 <= min(changed) < 0.95 and 1.15 < max(changed) <= 1.2


def test_a_pipeline_survives_being_sent_to_another_process(paths):
    augmenter = make(*EVERY, paths=paths)
    sent = pickle.loads(pickle.dumps(augmenter))
    first, second = (each(WAVE, clip_generator(1, 0, "a"))[0] for each in (augmenter, sent))
    assert np.array_equal(first, second)


def test_the_clip_itself_is_never_in_its_babble(paths):
    item = {"kind": "babble", "talkers": [6, 8]}
    augmenter = make(item, paths=paths)
    for number in range(40):
        _, applied = augmenter(WAVE[:2000], clip_generator(1, number, "a"), "a", paths[3])
        assert "3.flac" not in applied[0].parameters["talkers"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_change_what_a_clip_becomes(workers, paths):
    trials = pd.DataFrame({"path": paths, "utt_id": [f"u{n}" for n in range(len(paths))]})
    config = AugmentationConfig.model_validate({"probability": 0.7, "distortions": [{"kind": kind} for kind in EVERY]})
    items = [(row, view) for view in range(2) for row in range(len(paths))]

    def through(count: int) -> list[np.ndarray]:
        waves = Clips(trials, 16_000, 3, Augmenter(config, paths))
        return [wave.numpy() for wave in DataLoader(waves, sampler=items, batch_size=None, num_workers=count)]

    for alone, shared in zip(through(0), through(workers), strict=True):
        assert np.array_equal(alone, shared)


def test_the_record_of_a_wave_tells_its_speed_too(paths):
    trials = pd.DataFrame({"path": paths, "utt_id": [f"u{n}" for n in range(len(paths))]})
    augmenter = make("gain", speed=[1.1, 1.1])
    _, applied = Clips(trials, 16_000, 3, augmenter).wave_and_record(0, 1)
    assert [item.name for item in applied] == ["Speed", "Gain"] and isinstance(applied[0], Applied)
    assert applied[0].parameters == {"factor": pytest.approx(1.1)}


# ---- the paper's schedule: one draw for the list, one of several, always, divided ranges -----------------------------------


def names(augmenter: Augmenter, clips: int, at: Strength) -> list[list[str]]:
    return [[each.name for each in augmenter(WAVE, clip_generator(1, 0, str(n)), at=at)[1]] for n in range(clips)]


def test_together_one_draw_decides_for_the_whole_list():
    augmenter = make("gain", "polarity", together=True, probability=0.4)
    found = names(augmenter, 300, Strength(0.4, 1.0))
    assert {len(each) for each in found} == {0, 2}
    assert np.mean([bool(each) for each in found]) == pytest.approx(0.4, abs=0.1)


def test_one_of_draws_one_choice_per_clip_and_all_of_them_in_the_long_run():
    choices = [{"kind": "polarity"}, {"kind": "normalise"}, {"kind": "gain"}]
    found = names(make({"kind": "one_of", "choices": choices, "p": 0.5}), 300, Strength(1.0, 1.0))
    fired = [each[0] for each in found if each]
    assert {len(each) for each in found} == {0, 1} and len(fired) == pytest.approx(150, abs=30)
    assert sorted({name: fired.count(name) for name in fired}) == ["Gain", "Normalize", "PolarityInversion"]
    assert min(fired.count(name) for name in set(fired)) > 25


@pytest.mark.parametrize("together", [False, True])
def test_always_is_outside_the_schedule(together):
    item = {"kind": "gain", "gain_db": [0, 6], "always": True}
    augmenter = make("polarity", item, together=together)
    runs = [augmenter(WAVE, clip_generator(1, 0, str(n)), at=Strength(0.0, 5.0))[1] for n in range(50)]
    assert {tuple(each.name for each in run) for run in runs} == {("Gain",)}
    gains = [20 * np.log10(run[0].parameters["amplitude_ratio"]) for run in runs]
    assert 5 < max(np.abs(gains)) <= 6, "intensity 1, whatever the schedule says"


def test_scaling_says_what_the_intensity_does_to_a_range():
    kinds = [{"kind": "codec", "codecs": ["mp3"], "kbps": [128, 64], "scaling": name} for name in ("divide", "none", "hard")]
    item, fixed, moved = AugmentationConfig.model_validate({"distortions": kinds}).items
    assert fixed.at(1.8)["kbps"] == (128, 64) and moved.at(1.5)["kbps"] == (128, 32)
    assert item.at(1.0)["kbps"] == (128, 64) and item.at(1.6)["kbps"] == (80, 40) and item.at(100)["kbps"] == (4, 4)


def test_items_inside_one_of_are_checked_and_listed():
    choices = [{"kind": "noise", "snr_db": [20, 3]}, {"kind": "polarity"}]
    config = AugmentationConfig.model_validate({"distortions": [{"kind": "one_of", "choices": choices}, {"kind": "gain"}]})
    assert [item.kind for item in config.items] == ["noise", "polarity", "gain"]
    for wrong in ([], [{"kind": "noise", "snr_db": [900, 3]}], [{"kind": "one_of", "choices": choices}]):
        with pytest.raises(ValidationError, match="choices"):
            AugmentationConfig.model_validate({"distortions": [{"kind": "one_of", "choices": wrong}]})
