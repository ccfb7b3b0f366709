"""The seeded scores on which the organisers' evaluation code was run, and where the real score files are."""

import os
from pathlib import Path

import numpy as np
import pytest

from aasist_lib.config import project_root

# case: seed, (draw, two parameters, size) of bona fide and of spoof, decimals kept
CASES = {
    "gaussian": (7, ("normal", 2, 1.5, 1000), ("normal", -1, 1, 9000), None),
    "overlap": (8, ("normal", 0.2, 1, 500), ("normal", 0, 1, 500), None),
    "ties_rounded_1dp": (9, ("normal", 1, 1, 2000), ("normal", -0.5, 1, 6000), 1),
    "perfect": (10, ("uniform", 1, 2, 100), ("uniform", -2, -1, 300), None),
    "inverted": (11, ("normal", -1, 1, 300), ("normal", 1, 1, 700), None),
    "tiny_3_vs_5": (12, ("normal", 1, 1, 3), ("normal", 0, 1, 5), None),
    "full_scale_asvspoof5_680774": (13, ("normal", 1.5, 1.2, 138688), ("normal", -1.5, 1, 542086), None),
    "tandem": (21, ("normal", 2, 1.5, 1000), ("normal", -1, 1, 9000), None),
}


def draw(name: str) -> tuple[np.ndarray, ...]:
    """Bona fide and spoof scores of a case."""
    seed, *classes, decimals = CASES[name]
    rng = np.random.default_rng(seed)
    scores = [getattr(rng, kind)(first, second, size) for kind, first, second, size in classes]
    return tuple(each if decimals is None else np.round(each, decimals) for each in scores)


def draw_asv() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a speaker verifier: target, nontarget, spoof."""
    rng = np.random.default_rng(22)
    return rng.normal(3, 1, 2000), rng.normal(-1, 1, 3000), rng.normal(1.5, 1.3, 4000)


@pytest.fixture(scope="session")
def golden_scores():
    """name -> (bona fide, spoof)."""
    return draw


@pytest.fixture(scope="session")
def golden_asv():
    """Target, nontarget, spoof."""
    return draw_asv()


@pytest.fixture(scope="session")
def reference_2019() -> Path:
    """The folder of real ASVspoof 2019 LA scores: AASIST_REFERENCE, or ../shared/reference beside the project."""
    folder = Path(os.environ.get("AASIST_REFERENCE", project_root() / ".." / "shared" / "reference"))
    if not (folder / "asvspoof2019_la").is_dir():
        pytest.skip("no real score files: set AASIST_REFERENCE to the folder that holds asvspoof2019_la/")
    return folder / "asvspoof2019_la"
