"""What explorers display, caught."""

import pytest

from aasist_lib.explore import distortions, threshold


@pytest.fixture
def shown(monkeypatch):
    """What is displayed."""
    objects = []
    for module in (distortions, threshold):
        monkeypatch.setattr(module, "display", objects.append)
    return objects
