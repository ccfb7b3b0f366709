import pytest
import torch
from torch.nn import functional

from aasist_lib.config import LossConfig
from aasist_lib.losses import LossSchedule, focal_loss, focal_scale, weighted_cross_entropy

WEIGHTS = torch.tensor([0.1, 0.9], dtype=torch.float64)


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


def test_focal_loss_is_finite_at_extreme_logits():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1, 1]), torch.tensor([0.5, 0.5]), 2.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


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


@pytest.mark.parametrize(("kind", "share"), [("ce", 0.0), ("focal", 1.0)])
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


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("epoch", [1, 2, 3, 5, 9])
def test_the_blend_pulls_as_strongly_as_cross_entropy_at_every_share(batch, epoch, sharpness):
    """The gradients of all trials by their logits, in size and summed; textbook focal loss would fall to a few percent."""
    logits, labels = batch
    schedule = LossSchedule(LossConfig(kind="hybrid", blend_epochs=4, class_weights=(0.1, 0.9)), switch_epoch=2)

    def pull(loss) -> float:
        given = (sharpness * logits).requires_grad_()
        loss(given).backward()
        return float(given.grad.abs().sum())

    expected = pull(lambda z: weighted_cross_entropy(z, labels, WEIGHTS))
    assert pull(lambda z: schedule.loss(z, labels, epoch)) == pytest.approx(expected, rel=1e-9)


def test_the_scale_is_finite_where_every_trial_is_certain():
    logits = torch.tensor([[-40.0, 40.0], [40.0, -40.0]], requires_grad=True)
    loss = LossSchedule(LossConfig(), switch_epoch=1).loss(logits, torch.tensor([1, 0]), epoch=9)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
