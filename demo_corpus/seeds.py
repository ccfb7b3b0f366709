"""Random generators named by what they are for, so that a clip's draws do not depend on the order of the work."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *key: object) -> np.random.Generator:
    """A generator for (seed, key): the same arguments give the same stream, in any process."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *key))).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest)))
