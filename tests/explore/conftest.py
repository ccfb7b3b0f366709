"""What explorers display, caught."""

import pytest

from aasist_lib.explore import clips, distortions, page, recordings, threshold


@pytest.fixture
def shown(monkeypatch):
    """What is displayed."""
    objects = []
    for module in (clips, distortions, page, recordings, threshold):
        monkeypatch.setattr(module, "display", objects.append)
    return objects
