"""Interactive figures: in JupyterLab, widgets redraw them; in headless runs, a few fixed choices are drawn.

A run is headless if `AASIST_HEADLESS=1`, which the notebook runner sets. A focused widget responds to the arrow keys.
"""

from aasist_lib.explore.clips import ClipExplorer
from aasist_lib.explore.distortions import AugmentationPlayground, distortion_tour
from aasist_lib.explore.recordings import RecordingExplorer
from aasist_lib.explore.threshold import ThresholdExplorer

__all__ = ["AugmentationPlayground", "ClipExplorer", "RecordingExplorer", "ThresholdExplorer", "distortion_tour"]
