"""Random generators seeded by their purpose, so that a clip's random choices do not depend on the order of processing."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *key: object) -> np.random.Generator:
    """Return a generator for (seed, key): the same arguments give the same random numbers in any process."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *key))).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest)))
