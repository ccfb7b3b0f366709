"""The figure of focal losses shows the losses and gradients that training uses."""

import numpy as np
import pytest
import torch

from aasist_lib import plots
from aasist_lib.losses import focal_loss


def test_the_curves_are_the_library_s_loss_and_its_gradient():
    left, right = plots.loss_gradients([0, 2]).axes
    for axes in (left, right):
        assert [line.get_label() for line in axes.lines] == ["γ = 0, cross-entropy", "γ = 2"]
    for number, gamma in enumerate((0.0, 2.0)):
        p = torch.tensor(left.lines[number].get_xdata())
        margin = torch.logit(p).requires_grad_()
        logits = torch.stack([torch.zeros_like(margin), margin], dim=1)
        each = [focal_loss(row[None], torch.tensor([1]), torch.ones(2, dtype=torch.float64), gamma) for row in logits]
        np.testing.assert_allclose(left.lines[number].get_ydata(), torch.stack(each).detach(), atol=1e-6)
        torch.stack(each).sum().backward()
        np.testing.assert_allclose(right.lines[number].get_ydata(), margin.grad.abs(), atol=1e-6)


@pytest.mark.parametrize("gammas", [[], [1, -1]])
def test_impossible_exponents_are_refused(gammas):
    with pytest.raises(plots.PlotError, match="gammas"):
        plots.loss_gradients(gammas)
