"""Small tables and a clip for the figures to be drawn from."""

import numpy as np
import pandas as pd
import pytest

from tests.plots.looking import RATE


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    label = np.repeat(["bonafide", "spoof"], [200, 400])
    attack = np.where(label == "bonafide", "-", np.array(["lpc", "piper"])[np.arange(600) % 2])
    values = rng.normal(np.where(label == "bonafide", 2.0, np.where(attack == "lpc", -2.0, 0.5)), 1)
    return pd.DataFrame({"utt_id": [f"u{n}" for n in range(600)], "score": values, "label": label, "attack": attack})


@pytest.fixture
def history():
    epoch = np.arange(1, 9)
    eer = np.array([0.3, 0.22, 0.16, 0.12, 0.09, 0.07, 0.075, 0.08])
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "dev_loss": 1 / epoch + 0.1,
            "dev_eer": eer,
            "learning_rate": 1e-3 * np.cos(epoch / 6),
            "focal_weight": np.clip((epoch - 4) / 3, 0, 1),
            "augmentation_probability": 0.5 + 0.4 * np.clip((epoch - 4) / 4, 0, 1),
            "augmentation_intensity": 1 + 0.8 * np.clip((epoch - 4) / 4, 0, 1),
        }
    )


@pytest.fixture
def clip():
    """A tone burst in the second half of a second, attention on it, and the nodes' edges."""
    time = np.arange(RATE) / RATE
    wave = 0.5 * np.sin(2 * np.pi * 3000 * time) * (time > 0.5)
    nodes = np.where(np.arange(10) < 5, 0.02, 0.18)
    curves = {"nodes": nodes, "stack": np.eye(10)[7], "graph": np.full(10, 0.1)}
    return {"wave": wave, "rate": RATE, "seconds": np.linspace(0, 1, 11), "curves": curves}
