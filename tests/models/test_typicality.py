"""Typicality: the distance is Mahalanobis's, the limit is set on dev, and a checkpoint keeps it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aasist_lib.models.typicality import DIRECTIONS, FLAGGED, Typicality, summary


def draw(clips: int, features: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((clips, features)) * np.arange(1, features + 1) + 3).astype(np.float32)


def test_the_distance_is_that_of_mahalanobis():
    train, dev, new = draw(5000), draw(1000, seed=1), draw(50, seed=2)
    fitted = Typicality.fit(train, dev)
    offsets = new - train.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(np.cov(train.T)), offsets))
    found = fitted(torch.from_numpy(new)).numpy() * float(fitted.limit)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_limit_is_exceeded_by_the_said_part_of_dev_and_by_all_that_is_elsewhere():
    train, dev = draw(3000), draw(2000, seed=1)
    fitted = Typicality.fit(train, dev)
    assert (fitted(torch.from_numpy(dev)) > 1).float().mean() == pytest.approx(FLAGGED, abs=1e-3)
    far = draw(100, seed=2)
    far[:, 0] += 8  # eight deviations in the direction of least variance
    assert (fitted(torch.from_numpy(far)) > 1).all()


@pytest.mark.parametrize(("clips", "features"), [(2, 1), (2, 8), (3, 384), (40, 384)])
def test_fewer_clips_than_features_give_finite_distances(clips, features):
    fitted = Typicality.fit(draw(clips, features), draw(5, features, 1))
    assert len(fitted.directions) <= min(DIRECTIONS, clips)
    assert torch.isfinite(fitted(torch.from_numpy(draw(9, features, 2)))).all()


def test_clips_that_are_all_alike_are_no_division_by_zero():
    fitted = Typicality.fit(np.full((9, 4), 2, np.float32), np.full((3, 4), 2.5, np.float32))
    assert torch.isfinite(fitted(torch.full((1, 4), 7.0))).all() and fitted(torch.full((1, 4), 7.0)) > 1


def test_the_state_restores_it():
    fitted, new = Typicality.fit(draw(50), draw(9, seed=1)), torch.from_numpy(draw(5, seed=2))
    torch.testing.assert_close(Typicality.from_state(fitted.state_dict())(new), fitted(new), rtol=0, atol=0)


def test_the_summary_is_the_mean_over_layers_and_frames_in_full_precision():
    states = torch.randn(3, 2, 50, 4).half()
    torch.testing.assert_close(summary(states), states.float().mean(dim=2).mean(dim=1))
