"""What explorers display, caught."""

import pytest

from aasist_lib.explore import clips, distortions, threshold


@pytest.fixture
def shown(monkeypatch):
    """What is displayed."""
    objects = []
    for module in (clips, distortions, threshold):
        monkeypatch.setattr(module, "display", objects.append)
    return objects
