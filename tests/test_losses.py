import math

import pytest
import torch
from torch.nn import functional

from aasist_lib.config import LossConfig
from aasist_lib.losses import LossSchedule, focal_loss, focal_scale, oc_softmax, ranking_loss, weighted_cross_entropy

WEIGHTS = torch.tensor([0.1, 0.9], dtype=torch.float64)
CONFIGS = {
    "ce": LossConfig(kind="ce"),
    "focal": LossConfig(kind="focal"),
    "focal, alpha": LossConfig(kind="focal", alpha=0.25),
    "focal, gamma below 1": LossConfig(kind="focal", gamma=0.5),
    "hybrid": LossConfig(kind="hybrid"),
    "hybrid, alpha": LossConfig(kind="hybrid", alpha=0.25),
    "oc_softmax": LossConfig(kind="oc_softmax"),
}
EVERY_LOSS = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 2, generator=generator, dtype=torch.float64) * 3, torch.randint(2, (64,), generator=generator)


def test_focal_loss_matches_its_formula(batch):
    logits, labels = batch
    p = logits.softmax(dim=1)[range(64), labels]
    weights = WEIGHTS[labels]
    expected = (weights * (1 - p) ** 2 * -p.log()).sum() / weights.sum()
    assert torch.isclose(focal_loss(logits, labels, WEIGHTS, 2.0), expected, rtol=1e-12)


def test_focal_loss_with_gamma_zero_is_weighted_cross_entropy(batch):
    logits, labels = batch
    expected = functional.cross_entropy(logits, labels, weight=WEIGHTS)
    assert torch.isclose(focal_loss(logits, labels, WEIGHTS, 0.0), expected, rtol=1e-12)
    assert torch.isclose(weighted_cross_entropy(logits, labels, WEIGHTS), expected, rtol=1e-12)


def test_focal_loss_with_alpha_is_lins_formula_as_a_weighted_mean(batch):
    """Eq. 5, -alpha_t (1 - p_t)^gamma log(p_t), summed and divided by the sum of alpha_t; class weights have no say."""
    logits, labels = batch
    p = logits.softmax(dim=1)[:, 1]
    of_bonafide, of_spoof = -0.25 * (1 - p) ** 2 * p.log(), -0.75 * p**2 * (1 - p).log()
    expected = torch.where(labels == 1, of_bonafide, of_spoof).sum() / torch.where(labels == 1, 0.25, 0.75).sum()
    assert torch.isclose(focal_loss(logits, labels, WEIGHTS, 2.0, alpha=0.25), expected, rtol=1e-12)
    assert torch.isclose(focal_loss(logits, labels, WEIGHTS.flip(0), 2.0, alpha=0.25), expected, rtol=1e-12)


def test_an_alpha_equal_to_the_class_weights_changes_nothing(batch):
    for loss in (focal_loss, focal_scale):
        assert torch.isclose(loss(*batch, WEIGHTS, 2.0, alpha=0.9), loss(*batch, WEIGHTS, 2.0), rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_an_alpha_without_one_class_is_an_error(alpha):
    with pytest.raises(ValueError, match="alpha"):
        LossConfig(kind="focal", alpha=alpha)


def test_oc_softmax_is_a_logistic_loss_with_a_margin_of_seven(batch):
    logits, labels = batch
    score = logits[:, 1] - logits[:, 0]
    expected = torch.where(labels == 1, (1 + (7 - score).exp()).log(), (1 + (7 + score).exp()).log()).mean()
    assert torch.isclose(oc_softmax(logits, labels), expected, rtol=1e-12)


def test_oc_softmax_takes_no_weights(batch):
    losses = [LossSchedule(LossConfig(kind="oc_softmax", class_weights=w)).loss(*batch, epoch=1) for w in ((0.1, 0.9), (1, 1))]
    assert losses[0] == losses[1] == oc_softmax(*batch)


@pytest.mark.parametrize("kind", ["ce", "focal", "hybrid"])
def test_class_weights_weigh_each_class_by_its_ratio_alone(batch, kind):
    values = [
        LossSchedule(LossConfig(kind=kind, class_weights=w), switch_epoch=1).loss(*batch, epoch=1)
        for w in ((0.1, 0.9), (1, 9), (0.9, 0.1))
    ]
    assert torch.isclose(values[0], values[1], rtol=1e-12) and abs(values[0] - values[2]) > 0.01


@EVERY_LOSS
@pytest.mark.parametrize("size", [1e-30, 40.0, 1e4])
def test_value_and_gradient_are_finite_at_extreme_logits(config, size):
    """Both classes, each once certain of the truth and once of the contrary; 1e-30 is no opinion at all."""
    logits = (size * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 1)).requires_grad_()
    loss = LossSchedule(config, switch_epoch=1).loss(logits, torch.tensor([1, 1, 0, 0]), epoch=3)
    loss.backward()
    assert torch.isfinite(loss) and loss > 0 and torch.isfinite(logits.grad).all()
    wrong = logits.grad[[0, 3]]
    assert (wrong[0, 1] < 0 < wrong[0, 0]) and (wrong[1, 0] < 0 < wrong[1, 1])


@EVERY_LOSS
def test_value_and_gradient_are_finite_where_every_trial_is_certain(config):
    logits = torch.tensor([[-40.0, 40.0], [40.0, -40.0]], requires_grad=True)
    loss = LossSchedule(config, switch_epoch=1).loss(logits, torch.tensor([1, 0]), epoch=3)
    loss.backward()
    assert torch.isfinite(loss) and 0 <= loss < 1e-12 and torch.isfinite(logits.grad).all()


@EVERY_LOSS
@pytest.mark.parametrize("label", [0, 1])
def test_a_batch_of_one_class_is_the_plain_mean_of_its_trials(config, label, batch):
    """No class is missing from a weighted mean that has one weight only; in the blend the scale is the whole batch's."""
    logits, labels = batch[0].requires_grad_(), torch.full((64,), label)
    loss = LossSchedule(config, switch_epoch=1).loss(logits, labels, epoch=2)
    loss.backward()
    p = logits.detach().softmax(dim=1)[:, label]
    ce, focal = -p.log(), -((1 - p) ** config.gamma) * p.log()
    pull = (1 - p) ** config.gamma * (1 - p - config.gamma * p * p.log())
    expected = {
        "ce": ce.mean(),
        "focal": focal.mean(),
        "hybrid": 0.6 * ce.mean() + 0.4 * (1 - p).sum() / pull.sum() * focal.mean(),
        "oc_softmax": (1 + (7 + (1 / p - 1).log()).exp()).log().mean(),
    }[config.kind]
    assert torch.isclose(loss, expected, rtol=1e-9) and torch.isfinite(logits.grad).all()


@EVERY_LOSS
def test_the_same_batch_gives_the_same_bits(config, batch):
    def once() -> tuple[torch.Tensor, torch.Tensor]:
        logits = batch[0].float().requires_grad_()
        loss = LossSchedule(config, switch_epoch=1).loss(logits, batch[1], epoch=2)
        loss.backward()
        return loss.detach(), logits.grad

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


def test_schedule_starts_the_epoch_after_the_dev_eer_fell_below_and_takes_blend_epochs():
    schedule = LossSchedule(LossConfig(kind="hybrid", switch_eer=0.1, blend_epochs=4))
    assert not schedule.observe(1, 0.2) and not schedule.observe(2, 0.1)
    assert schedule.observe(3, 0.09) and schedule.switch_epoch == 4
    assert [schedule.focal_weight(e) for e in range(1, 10)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]


def test_schedule_is_not_undone_or_moved_by_later_epochs():
    schedule = LossSchedule(LossConfig(kind="hybrid", switch_eer=0.1))
    schedule.observe(3, 0.05)
    assert not schedule.observe(4, 0.5) and not schedule.observe(5, 0.01)
    assert schedule.switch_epoch == 4


@pytest.mark.parametrize(("kind", "share"), [("ce", 0.0), ("focal", 1.0), ("oc_softmax", 0.0)])
def test_plain_losses_never_switch(kind, share, batch):
    schedule = LossSchedule(LossConfig(kind=kind, switch_eer=1.0))
    assert not schedule.observe(1, 0.0)
    assert schedule.focal_weight(1) == schedule.focal_weight(50) == share


def test_schedule_blends_the_two_losses(batch):
    logits, labels = batch
    schedule = LossSchedule(LossConfig(kind="hybrid", blend_epochs=4, class_weights=(0.1, 0.9)), switch_epoch=2)
    focal = focal_scale(logits, labels, WEIGHTS, 2.0) * focal_loss(logits, labels, WEIGHTS, 2.0)
    expected = 0.75 * weighted_cross_entropy(logits, labels, WEIGHTS) + 0.25 * focal
    assert torch.isclose(schedule.loss(logits, labels, epoch=2), expected, rtol=1e-12)
    assert torch.isclose(schedule.loss(logits, labels, epoch=1), weighted_cross_entropy(logits, labels, WEIGHTS))


@pytest.mark.parametrize("alpha", [None, 0.25, 0.9, 0.99])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("epoch", [1, 2, 3, 5, 9])
def test_the_blend_pulls_as_strongly_as_cross_entropy_at_every_share(batch, epoch, sharpness, alpha):
    """The gradients of all trials by their logits, in size and summed; textbook focal loss would fall to a few percent."""
    logits, labels = batch
    schedule = LossSchedule(LossConfig(blend_epochs=4, class_weights=(0.1, 0.9), alpha=alpha), switch_epoch=2)

    def pull(loss) -> float:
        given = (sharpness * logits).requires_grad_()
        loss(given).backward()
        return float(given.grad.abs().sum())

    expected = pull(lambda z: weighted_cross_entropy(z, labels, WEIGHTS))
    assert pull(lambda z: schedule.loss(z, labels, epoch)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 1.5])
def test_the_loss_itself_refuses_an_alpha_without_one_class(batch, alpha):
    for loss in (focal_loss, focal_scale):
        with pytest.raises(ValueError, match=f"^loss.alpha = {alpha} "):
            loss(*batch, WEIGHTS, 2.0, alpha=alpha)


def test_a_loss_looked_at_in_inference_mode_trains_afterwards():
    schedule = LossSchedule(LossConfig(kind="ce", class_weights=(0.123, 0.877)))
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    with torch.inference_mode():
        expected = schedule.loss(logits, labels, 1)
    weight = torch.ones(2, requires_grad=True)
    found = schedule.loss(logits * weight, labels, 1)
    found.backward()
    assert found.item() == expected.item() and weight.grad.abs().sum() > 0


def test_ranking_compares_each_bona_fide_trial_with_each_spoof_of_the_same_member():
    labels = torch.tensor([1, 0, 0, 1])
    scores = torch.tensor([[2.0, 1.0, -1.0, 0.5], [0.0, 3.0, 0.0, 1.0]], dtype=torch.float64)
    logits = torch.stack([-scores / 2, scores / 2], dim=-1)
    expected = [math.log1p(math.exp(spoof - real)) for row in scores.tolist() for real in row[::3] for spoof in row[1:3]]
    assert float(ranking_loss(logits, labels)) == pytest.approx(sum(expected) / 8)
    assert float(ranking_loss(logits[0], labels)) == pytest.approx(sum(expected[:4]) / 4)
    assert float(ranking_loss(logits, torch.ones(4, dtype=torch.int64))) == 0


def test_ranking_is_added_to_the_loss_with_its_weight():
    logits, labels = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 0, 1, 0, 0, 1])
    plain, ranked = (LossSchedule(LossConfig(kind="ce", ranking=weight)).loss(logits, labels, 1) for weight in (0.0, 0.5))
    assert float(ranked - plain) == pytest.approx(0.5 * float(ranking_loss(logits, labels)), rel=1e-5)
