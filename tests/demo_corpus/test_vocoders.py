"""The neural vocoders: their shapes, their training, and the weights in the repository."""

import json
from itertools import islice

import numpy as np
import pytest
import soundfile
import torch

from demo_corpus.attacks import Source, neural
from demo_corpus.sources import EXTRA_SPEAKERS, SPEAKERS
from demo_corpus.vocoders import quality, speech, train, training
from demo_corpus.vocoders.networks import NETWORKS, RATE, LogMel, ResidualQuantiser, mel_filters
from tests.demo_corpus.conftest import talk

TRAIN_SPEAKERS = {one.name for one in SPEAKERS + EXTRA_SPEAKERS if one.split == "train"}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("samples", [1025, 16_000, 20_001])
def test_a_copy_has_the_length_of_its_recording(name, samples):
    wave = torch.randn(2, samples) * 0.1
    assert NETWORKS[name]()(wave).shape == (2, samples)


def test_mel_filters_cover_every_frequency_once():
    filters = mel_filters(1024, 80)
    inner = filters.sum(0)[8:490]
    assert filters.shape == (80, 513) and (filters >= 0).all()
    assert torch.allclose(inner, torch.ones_like(inner), atol=1e-4)


def test_a_tone_is_in_its_own_band():
    tone = torch.sin(2 * np.pi * 1000 * torch.arange(RATE) / RATE)[None]
    mel = LogMel(1024, 256)(tone)
    edges = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700)) * 81
    assert mel.shape == (1, 80, 63)
    assert abs(int(mel[0, :, 30].argmax()) + 1 - edges) <= 1


@torch.no_grad()
def test_the_codec_sends_entries_of_its_codebooks_only():
    torch.manual_seed(0)
    quantiser = ResidualQuantiser(12, books=2, entries=3, size=4)
    coded = quantiser(torch.randn(1, 12, 400))[0].T
    first, second = (out(book.T[None])[0].T for out, book in zip(quantiser.out, quantiser.books, strict=True))
    possible = (first[:, None] + second).flatten(0, 1)
    distances = (coded[:, None] - possible).abs().amax(-1)
    assert distances.min(1).values.max() < 1e-4 and len(distances.argmin(1).unique()) > 3
    assert quantiser.loss.item() > 0


def test_the_gradient_passes_the_codebooks():
    quantiser, frames = ResidualQuantiser(12), torch.randn(1, 12, 20, requires_grad=True)
    quantiser(frames).square().sum().backward()
    assert frames.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_training_brings_the_copy_nearer(name):
    torch.manual_seed(0)
    clips = {"a": [torch.from_numpy(talk(1, 3.0)).float()], "b": [torch.from_numpy(talk(2, 0.5)).float()]}
    kept, vocoder = [], NETWORKS[name]()
    before = {key: value.clone() for key, value in vocoder.state_dict().items()}
    batches = training.random_segments(clips, 2, torch.Generator().manual_seed(0))
    schedule = training.Schedule(steps=12, minutes=10, batch=2, rate=2e-3, warm_up=0.7, windows=(256,))
    wave = next(training.random_segments(clips, 2, torch.Generator().manual_seed(9)))
    distance = training.Distance()
    with torch.no_grad():
        at_first = distance(vocoder(wave), wave).item()
    training.train(vocoder, batches, schedule, lambda averaged, losses: kept.append((averaged, losses)))
    averaged, losses = kept[-1]
    assert losses["step"] == 12 and {"mel", "judges", "adversarial", "matching"} <= set(losses)
    assert distance(vocoder(wave), wave).item() < at_first
    assert any(not torch.equal(before[key], value) for key, value in averaged.state_dict().items())
    assert not any(parameter.requires_grad for parameter in averaged.parameters())


def test_a_training_ends_with_its_time():
    schedule = training.Schedule(steps=10**6, minutes=1e-4, batch=1)
    clips = {"a": [torch.from_numpy(talk(1, 2.0)).float()]}
    kept = []
    batches = training.random_segments(clips, 1, torch.Generator().manual_seed(0))
    training.train(NETWORKS["istft"](), batches, schedule, lambda averaged, losses: kept.append(losses["step"]))
    assert kept == [1]


def test_segments_draw_speakers_evenly_and_have_a_level():
    loud, faint = torch.full((training.SEGMENT,), 0.5), torch.full((3 * training.SEGMENT,), -0.01)
    clips = {"many": [faint] * 50, "one": [loud]}
    drawn = torch.cat(list(islice(training.random_segments(clips, 8, torch.Generator().manual_seed(1)), 30)))
    levels = 20 * drawn.square().mean(1).sqrt().log10()
    assert 0.4 < (drawn.mean(1) > 0).float().mean() < 0.6
    assert levels.min() > -33 and levels.max() < -15
    again = next(training.random_segments(clips, 8, torch.Generator().manual_seed(1)))
    assert torch.equal(again, drawn[:8])


def test_segments_are_cut_above_a_frequency_in_half_of_the_cases():
    noise = torch.randn(2 * training.SEGMENT, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat(list(islice(training.random_segments({"a": [noise]}, 8, torch.Generator().manual_seed(1)), 20)))
    power = torch.fft.rfft(drawn).abs().square()
    top = power[:, -400:].sum(1) / power.sum(1)
    assert 0.35 < (top < 1e-3).float().mean() < 0.65


def test_the_command_writes_weights_that_load_and_starts_from_others(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "speech"
    speech.write_speaker(
        folder / "a", [write(tmp_path / "one.wav", talk(1, 2.0)), write(tmp_path / "two.wav", talk(2, 0.4))], 60
    )
    assert [path.name for path in sorted(folder.glob("*/*"))] == ["0000.flac"], "shorter than a second: left out"

    def command(network, *more):
        settings = ["--out", str(tmp_path / "out"), "--device", "cpu", "--steps", "2", "--batch", "1", "--windows", *more]
        monkeypatch.setattr("sys.argv", ["train", network, str(folder), *settings])
        train.main()

    command("istft")
    command("codec", "--start", str(tmp_path / "out" / "istft.safetensors"))
    facts = json.loads((tmp_path / "out" / "codec.json").read_text())
    assert facts["speakers"] == {"a": 1} and facts["start"] == "istft" and facts["training"]["step"] == 2
    assert '"step": 2' in capsys.readouterr().out
    state = train.load_file(tmp_path / "out" / "codec.safetensors")
    NETWORKS["codec"]().load_state_dict({key: value.float() for key, value in state.items()})


def test_recordings_of_another_rate_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(SystemExit, match="vocoders.speech"):
        train.read_clips(tmp_path, "cpu")
    soundfile.write(tmp_path / "a" / "x.flac", np.zeros(8000), 8000)
    with pytest.raises(SystemExit, match=r"x\.flac: 8000 Hz"):
        train.read_clips(tmp_path, "cpu")


@pytest.mark.parametrize("attack", neural.WEIGHTS)
def test_the_weights_are_small_and_of_train_speakers_only(attack):
    weights = neural.WEIGHTS[attack]
    facts = json.loads(weights.with_suffix(".json").read_text())
    assert weights.stat().st_size <= 4e6
    assert set(facts["speakers"]) <= TRAIN_SPEAKERS
    assert facts["parameters"] == sum(parameter.numel() for parameter in NETWORKS[facts["network"]]().parameters())


@pytest.mark.parametrize(("attack", "most"), [("neural-istft", 0.8), ("neural-upsampling", 1.0), ("neural-codec", 2.0)])
def test_the_weights_copy_sound_they_have_never_met(attack, most):
    """A buzz is not speech, so the distance is larger than on recordings; silence is more than 3 away."""
    wave = talk(1, 1.5)
    made = neural._copy(attack.removeprefix("neural-"), Source(wave, "en", ""))
    mel, pitch, voicing = quality.compare(wave, made)
    assert mel < most < quality.compare(wave, np.zeros_like(wave) + 1e-6)[0]


def test_comparing_knows_an_equal_a_shifted_and_a_silent_copy():
    wave = talk(1, 1.5)
    assert quality.compare(wave, wave) == (0.0, 0.0, 0.0)
    slower = np.interp(np.arange(0, len(wave), 2 ** (-1 / 12))[: len(wave)], np.arange(len(wave)), wave)
    assert quality.compare(wave[: len(slower)], slower)[1] == pytest.approx(1, abs=0.15)
    assert np.isnan(quality.compare(wave, np.zeros_like(wave))[1])


def test_the_page_has_a_player_for_every_sound():
    text = quality.page([talk(1), talk(2)], {"x": [talk(1), talk(2)], "y": [talk(3), talk(4)]})
    assert text.count('<audio controls src="data:audio/flac;base64,') == 6


def write(path, wave):
    soundfile.write(path, wave, RATE)
    return path
