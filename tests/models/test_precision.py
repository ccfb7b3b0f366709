"""The encoder's arithmetic: its attention kernel, bf16, and compiling; and that all who use a detector use the same."""

import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from aasist_lib.config import FrontendConfig
from aasist_lib.datasets.feature_bank import build_bank
from aasist_lib.models import build_model
from aasist_lib.models.checkpoints import put_weights, trained_weights
from aasist_lib.models.cost import count_cost
from aasist_lib.models.encoder import SpeechEncoder
from aasist_lib.models.frontend import build_frontend
from aasist_lib.runtime.run_folder import RunFolder
from aasist_lib.scoring import score_split
from aasist_lib.training import Trainer
from tests.models.test_frontend import WAVE
from tests.training.test_trainer import changed


def encoder_of(folder, **settings):
    return build_frontend(FrontendConfig(name=str(folder), layer="weighted", **settings))


def test_attention_is_the_fused_kernel_everywhere_but_in_wavlm(any_encoder, monkeypatch):
    calls, fused = [], functional.scaled_dot_product_attention
    monkeypatch.setattr(
        functional, "scaled_dot_product_attention", lambda *args, **more: calls.append(1) or fused(*args, **more)
    )
    encoder = encoder_of(any_encoder[0])
    encoder(torch.from_numpy(WAVE))
    assert len(calls) == (0 if type(encoder.encoder).__name__ == "WavLMModel" else any_encoder[1])


def test_bf16_is_near_fp32_and_comes_out_as_float32(any_encoder):
    wave = torch.from_numpy(WAVE)
    exact, rounded = encoder_of(any_encoder[0])(wave), encoder_of(any_encoder[0], precision="bf16")(wave)
    assert rounded.dtype == exact.dtype == torch.float32 and not torch.equal(rounded, exact)
    assert (rounded - exact).norm() / exact.norm() < 0.03  # a bf16 number has eight bits


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_is_the_encoders_own_whatever_the_callers(any_encoder, precision):
    encoder, wave = encoder_of(any_encoder[0], precision=precision), torch.from_numpy(WAVE)
    expected = encoder(wave)
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            assert torch.equal(encoder(wave), expected)


def test_precision_belongs_to_the_identity_only_where_it_is_not_fp32(tiny_encoder):
    """Banks and checkpoints made before there was a choice keep their keys."""
    plain, rounded = encoder_of(tiny_encoder).identity(), encoder_of(tiny_encoder, precision="bf16").identity()
    assert set(plain) == {"name", "revision", "layers", "sha256"} and rounded == plain | {"precision": "bf16"}


def test_a_tuned_encoder_in_bf16_has_float32_weights_and_gradients(tiny_encoder):
    encoder = encoder_of(tiny_encoder, precision="bf16", finetune="all").train()
    encoder(torch.from_numpy(WAVE)).square().mean().backward()
    gradients = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
    assert gradients and {gradient.dtype for gradient in gradients} == {torch.float32}


def test_compiling_does_not_go_with_tuning():
    with pytest.raises(ValidationError, match="compile: false"):
        FrontendConfig(compile=True, finetune=2)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPU")
def test_compiled_it_is_one_graph_for_a_shape_and_a_second_for_all_others(tiny_encoder):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = encoder_of(tiny_encoder), encoder_of(tiny_encoder, compile=True)
    for batch in (2, 3, 5):
        wave = torch.from_numpy(WAVE[:1]).repeat(batch, 1)
        torch.testing.assert_close(compiled(wave), plain(wave), atol=2e-5, rtol=1e-5)
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"] and counters["stats"]["unique_graphs"] == 2
    assert compiled.identity() == plain.identity()


def test_a_compiled_encoder_is_counted_as_another(tiny_profile):
    frontend = tiny_profile.model.frontend.model_dump() | {"compile": True}
    compiled = changed(tiny_profile, model={"frontend": frontend})
    assert count_cost(build_model(compiled.model), 8_000) == count_cost(build_model(tiny_profile.model), 8_000)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cached", [True, False])
def test_dev_scores_in_training_are_those_of_the_score_command(tiny_profile, cached, precision):
    """`training.mixed_precision` is for the steps that train; scores have the back end in fp32, wherever they are made."""
    frontend = tiny_profile.model.frontend.model_dump() | {"precision": precision}
    training = {"mixed_precision": "bf16", "feature_cache": cached}
    profile = changed(tiny_profile, model={"frontend": frontend}, training=training)
    trainer = Trainer(profile, RunFolder.open(profile))
    fresh = build_model(profile.model)
    put_weights(fresh, trained_weights(trainer.model))
    expected = score_split(profile, fresh, "dev")["score"].to_numpy()
    np.testing.assert_allclose(trainer._score_dev()[0], expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_in_a_training_step_are_those_of_dev_and_of_the_bank(tiny_profile, precision):
    frontend = tiny_profile.model.frontend.model_dump() | {"precision": precision}
    profile = changed(tiny_profile, model={"frontend": frontend}, training={"mixed_precision": "bf16", "feature_cache": False})
    trainer, seen = Trainer(profile, RunFolder.open(profile)), []
    trainer.model.frontend.register_forward_hook(lambda module, given, states: seen.append(states))
    inputs, labels, rows = next(iter(trainer.dev_loader))
    trainer._step(inputs, labels, 1)
    bank = build_bank(profile, SpeechEncoder(profile.model.frontend), trainer.dev_trials, train=False)
    stored = np.stack([bank[int(row), 0] for row in rows])
    np.testing.assert_allclose(seen[0].numpy(), stored.astype(np.float32), atol=4e-3, rtol=1e-3)
