import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
    WhisperFeatureExtractor,
    WhisperModel,
)

from aasist_lib.config import ConfigError, FrontendConfig
from aasist_lib.models.encoder import SpeechEncoder
from aasist_lib.models.frontend import EncoderUnavailable, build_frontend
from tests.models.conftest import save_encoder

WAVE = np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32) * 0.1 + 0.05


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_wav2vec2_layers_equal_those_of_transformers_with_its_own_normalisation(tiny_encoder, layer):
    """Each layer alone drops the ones above it; the states must not change by that."""
    extractor = AutoFeatureExtractor.from_pretrained(tiny_encoder)
    inputs = extractor(list(WAVE), sampling_rate=16_000, return_tensors="pt").input_values
    model = AutoModel.from_pretrained(tiny_encoder).eval()
    with torch.no_grad():
        outputs = model(inputs, output_hidden_states=True)
    expected = outputs.last_hidden_state if layer == 3 else outputs.hidden_states[layer]  # only the output has the closing norm
    states = SpeechEncoder(FrontendConfig(name=str(tiny_encoder), layer=layer))(torch.from_numpy(WAVE))
    assert states.shape == (2, 1, 49, 32)
    torch.testing.assert_close(states[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_weighted_gives_all_layers_up_to_the_highest(tiny_encoder):
    everything = SpeechEncoder(FrontendConfig(name=str(tiny_encoder), layer="weighted"))
    fewer = SpeechEncoder(FrontendConfig(name=str(tiny_encoder), layer="weighted", max_layer=1))
    wave = torch.from_numpy(WAVE)
    assert everything(wave).shape[1] == 4 and everything.layers == [0, 1, 2, 3]
    torch.testing.assert_close(fewer(wave), everything(wave)[:, :2])
    assert len(fewer.encoder.encoder.layers) == 1


def test_a_list_of_layers_gives_those_and_runs_no_further(tiny_encoder):
    wave, name = torch.from_numpy(WAVE), str(tiny_encoder)
    some = SpeechEncoder(FrontendConfig(name=name, layer=[0, 2]))
    assert some.layers == [0, 2] and len(some.encoder.encoder.layers) == 2
    torch.testing.assert_close(some(wave), SpeechEncoder(FrontendConfig(name=name, layer="weighted"))(wave)[:, [0, 2]])
    with pytest.raises(ConfigError, match="layer 4 "):
        SpeechEncoder(FrontendConfig(name=name, layer=[0, 4]))


@pytest.mark.parametrize("layer", [[], [1, 1], [2, 0], [-1, 2]])
def test_a_list_of_layers_names_each_once_in_rising_order(layer):
    with pytest.raises(ValidationError, match="layer"):
        FrontendConfig(layer=layer)


def test_whisper_runs_on_the_clips_own_frames(whisper):
    """Equal to transformers' encoder when the clip is the 30 s it insists on; shorter clips give fewer frames."""
    wave = np.random.default_rng(1).standard_normal((1, 480_000)).astype(np.float32) * 0.1
    extractor = WhisperFeatureExtractor.from_pretrained(whisper)
    mel = extractor(wave[0], sampling_rate=16_000, return_tensors="pt").input_features
    reference = WhisperModel.from_pretrained(whisper).encoder.eval()
    with torch.no_grad():
        expected = reference(mel).last_hidden_state
    encoder = SpeechEncoder(FrontendConfig(name=str(whisper), layer="last"))
    torch.testing.assert_close(encoder(torch.from_numpy(wave))[:, 0], expected, atol=2e-4, rtol=1e-3)
    assert encoder(torch.from_numpy(wave[:, :64_600])).shape == (1, 1, 202, 32)
    with pytest.raises(ValueError, match="30 s "):
        encoder(torch.zeros(1, 500_000))


def test_encoder_is_frozen_and_stays_in_eval_mode(tiny_encoder):
    encoder = SpeechEncoder(FrontendConfig(name=str(tiny_encoder)))
    encoder.train()
    assert not encoder.training and not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    wave = torch.from_numpy(WAVE).requires_grad_()
    assert not encoder(wave).requires_grad
    encoder.differentiable(wave).sum().backward()
    assert wave.grad.abs().sum() > 0


def test_identity_follows_the_weights(tiny_encoder):
    encoder = SpeechEncoder(FrontendConfig(name=str(tiny_encoder)))
    before = encoder.identity()
    assert before == SpeechEncoder(FrontendConfig(name=str(tiny_encoder))).identity()
    next(encoder.encoder.parameters()).data.add_(1)
    assert encoder.identity()["sha256"] != before["sha256"]


def test_unreachable_encoder_names_the_download_command_and_the_alternative(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderUnavailable, match="hf download nobody/nothing") as error:
        SpeechEncoder(FrontendConfig(name="nobody/nothing"))
    assert "configs/demo.yaml" in str(error.value)


def test_a_folder_that_is_not_there_names_the_command_that_makes_it(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderUnavailable, match="prepare demo --encoder-only") as error:
        SpeechEncoder(FrontendConfig(name="data/encoders/nothing"))
    assert "hf download" not in str(error.value)


def test_a_layer_the_encoder_does_not_have_is_an_error(tiny_encoder):
    with pytest.raises(ConfigError, match="layer 9 "):
        SpeechEncoder(FrontendConfig(name=str(tiny_encoder), layer=9))


@pytest.mark.parametrize("kind", ["Hubert", "WavLM"])
def test_hubert_and_wavlm_by_name_too(kind, tmp_path):
    model = save_encoder(kind, tmp_path)
    wave = torch.from_numpy(WAVE)
    with torch.no_grad():
        expected = model(wave, output_hidden_states=True).hidden_states
    states = SpeechEncoder(FrontendConfig(name=str(tmp_path), layer="weighted", max_layer=2))(wave)
    torch.testing.assert_close(states, torch.stack(expected[:3], dim=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("finetune", ["all", 1, 2])
@pytest.mark.parametrize("below_top", [0, 1, "all"])
def test_every_tuned_parameter_gets_a_gradient_and_no_other_has_one(any_encoder, finetune, below_top):
    """A parameter without one would stop training on several GPUs."""
    folder, total = any_encoder
    highest = 0 if below_top == "all" else total - below_top
    config = FrontendConfig(name=str(folder), layer="weighted", max_layer=highest, finetune=finetune)
    if finetune != "all" and finetune > highest:
        with pytest.raises(ConfigError, match=rf"model\.frontend\.finetune = {finetune}: .* {highest} layers"):
            build_frontend(config)
        return
    encoder = build_frontend(config).train()
    states = encoder(torch.from_numpy(WAVE))
    (states * torch.randn(states.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    with_gradient = {name for name, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert with_gradient == {name for name, p in encoder.named_parameters() if p.requires_grad} != set()
    if finetune != "all":
        tops = tuple(f"layers.{number}." for number in range(highest)[-finetune:])
        assert all(name.removeprefix("encoder.").removeprefix("encoder.").startswith(tops) for name in with_gradient)


def test_only_what_is_tuned_is_in_train_mode_and_keeps_anything_for_the_backward_pass(tiny_encoder):
    encoder = build_frontend(FrontendConfig(name=str(tiny_encoder), finetune=1)).train()
    layers = encoder.encoder.encoder.layers
    training = {module for module in encoder.modules() if module.training}
    assert training == set(layers[2].modules())
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda module, given, out: seen.append((out[0] if isinstance(out, tuple) else out).grad_fn))
    encoder(torch.from_numpy(WAVE))
    assert [grad_fn is not None for grad_fn in seen] == [False, False, True]
    assert not any(module.training for module in encoder.eval().modules())


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
def test_tuning_masks_no_frames_and_leaves_out_no_layer(kind, tmp_path):
    """Every chance but dropout is off: without it, train mode says what eval mode says."""
    off = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
    save_encoder(kind, tmp_path, **off, layerdrop=0.9, mask_time_prob=0.9, mask_time_length=2, mask_feature_prob=0.9)
    encoder = build_frontend(FrontendConfig(name=str(tmp_path), layer="weighted", finetune="all"))
    wave = torch.from_numpy(WAVE)
    expected = encoder(wave)
    for _ in range(3):
        torch.testing.assert_close(encoder.train()(wave), expected)


def test_a_tuned_encoder_has_its_dropout_in_training_and_none_in_eval(tiny_encoder):
    encoder, wave = build_frontend(FrontendConfig(name=str(tiny_encoder), finetune=1)), torch.from_numpy(WAVE)
    assert torch.equal(encoder(wave), encoder(wave))
    encoder.train()
    assert not torch.equal(encoder(wave), encoder(wave))
    assert torch.equal(encoder.eval()(wave), SpeechEncoder(FrontendConfig(name=str(tiny_encoder)))(wave))


def test_identity_of_a_tuned_encoder_is_that_of_what_it_started_from(tiny_encoder):
    frozen = SpeechEncoder(FrontendConfig(name=str(tiny_encoder)))
    tuned = SpeechEncoder(FrontendConfig(name=str(tiny_encoder), finetune="all"))
    with torch.no_grad():
        next(tuned.encoder.parameters()).add_(1)
    assert tuned.identity() == frozen.identity()


def test_an_encoder_in_half_precision_works(tmp_path):
    save_encoder("Wav2Vec2", tmp_path).half().save_pretrained(tmp_path)
    assert SpeechEncoder(FrontendConfig(name=str(tmp_path)))(torch.from_numpy(WAVE)).dtype == torch.float32
