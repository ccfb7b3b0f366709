"""Figures one can move: in JupyterLab a control redraws them; headless, a few choices are drawn.

Headless is what `AASIST_HEADLESS=1` says, which the runner sets. A control takes the arrow keys once it has the focus.
"""

from aasist_lib.explore.clips import ClipExplorer
from aasist_lib.explore.distortions import AugmentationPlayground, distortion_tour
from aasist_lib.explore.recordings import RecordingExplorer
from aasist_lib.explore.threshold import ThresholdExplorer

__all__ = ["AugmentationPlayground", "ClipExplorer", "RecordingExplorer", "ThresholdExplorer", "distortion_tour"]
