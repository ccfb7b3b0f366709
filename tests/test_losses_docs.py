"""The page on losses: a row for every kind, and every number in it is the code's."""

import math
import re
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml

from aasist_lib.config import LossConfig
from aasist_lib.losses import OC_MARGINS, OC_SCALE, LossSchedule, focal_loss, oc_softmax
from aasist_lib.models.readout import CosineReadout

PAGE = (Path(__file__).parents[1] / "docs" / "losses.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `(\{kind.*?\})` \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
KINDS = set(get_args(LossConfig.model_fields["kind"].annotation))


def test_every_kind_has_its_row_and_nothing_else_does():
    table = PAGE.split("## Overview")[1].split("**Example.**")[0]
    heading, *rows = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert heading == "kind" and len(rows) == len(KINDS) and set(rows) == KINDS


def test_every_kind_has_an_example_and_every_key_is_named():
    assert {yaml.safe_load(setting)["kind"] for setting, _, _ in EXAMPLES} == KINDS
    assert all(f"`{key}`" in PAGE for key in LossConfig.model_fields)


@pytest.mark.parametrize(("setting", "share", "value"), EXAMPLES)
def test_the_examples_are_what_the_code_gives(setting, share, value):
    logits = torch.tensor([[-1.0, 1.0], [-0.5, 0.5]], dtype=torch.float64)
    config = LossConfig.model_validate(yaml.safe_load(setting))
    schedule, epoch = LossSchedule(config, switch_epoch=1), round(float(share) * config.blend_epochs)
    assert schedule.focal_weight(epoch) == float(share)
    assert f"{float(schedule.loss(logits, torch.tensor([1, 0]), epoch)):.5f}" == value


def test_the_defaults_quoted_are_those_of_the_config():
    config = LossConfig()
    assert (
        f"Defaults: `class_weights` {list(config.class_weights)}, `gamma` {config.gamma}, `alpha` none, "
        f"`switch_eer` {config.switch_eer}, `blend_epochs` {config.blend_epochs}, `ranking` {config.ranking:g}." in PAGE
    )
    assert config.alpha is None


def test_the_schedule_quoted_is_what_the_code_does():
    schedule = LossSchedule(LossConfig())
    for epoch, rate in enumerate((0.3, 0.1, 0.09, 0.2), start=1):
        schedule.observe(epoch, rate)
    shares = ", ".join(f"{schedule.focal_weight(epoch):g}" for epoch in range(1, 10))
    assert f"if epoch 3 ends below the limit, $\\lambda$ is {shares} in epochs 1 to 9" in PAGE


def test_margins_scale_and_range_of_oc_softmax_are_the_codes():
    assert f"e^{{{OC_SCALE:g} (m_{{y_i}}" in PAGE and f"$m = {list(OC_MARGINS)}$" in PAGE
    assert f"$s = {OC_SCALE:g} (c - {sum(OC_MARGINS) / 2:g})$" in PAGE
    readout = CosineReadout(4)
    ends = readout(torch.stack([-readout.direction, readout.direction])).diff(dim=1).flatten().tolist()
    assert f"between −{-ends[0]:.0f} and {ends[1]:.0f}" in PAGE
    # The loss of a trial at its margin is ln 2.
    margin = float(re.search(r"for bona fide scores above (\d+) and spoof scores below −\1", PAGE)[1])
    at_margin = torch.tensor([[-margin / 2, margin / 2], [margin / 2, -margin / 2]])
    assert float(oc_softmax(at_margin, torch.tensor([1, 0]))) == pytest.approx(math.log(2), rel=1e-6)


def test_how_weak_and_how_timid_focal_loss_is_said_to_be():
    weights, bonafide = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([1])
    score = torch.tensor([[0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    pulls = [torch.autograd.grad(focal_loss(score, bonafide, weights, gamma), score)[0].abs().sum() for gamma in (2.0, 0.0)]
    assert f"log-odds of 2 for the true class this is {float(pulls[0] / pulls[1]):.1%} as large".replace("%", " %") in PAGE
    labels = torch.tensor([1] * 9 + [0])
    candidates = torch.linspace(0.01, 0.99, 981, dtype=torch.float64)
    losses = [focal_loss(torch.tensor([[0.0, p.logit()]]).repeat(10, 1), labels, weights.float(), 2.0) for p in candidates]
    assert f"is smallest at $p = {float(candidates[torch.stack(losses).argmin()]):.2f}$" in PAGE
