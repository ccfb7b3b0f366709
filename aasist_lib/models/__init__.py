"""Detectors: `build_model(config)` builds one from a profile's `model` section."""

from __future__ import annotations

from aasist_lib.config import ModelConfig
from aasist_lib.models.aasist import AASIST, BackEnd, log_odds
from aasist_lib.models.maps import AttentionMaps, StreamMaps
from aasist_lib.models.original import load_official_aasist
from aasist_lib.models.paper import load_paper_back_end
from aasist_lib.models.published import OfficialWeightsError

__all__ = [
    "AASIST",
    "AttentionMaps",
    "BackEnd",
    "OfficialWeightsError",
    "StreamMaps",
    "build_model",
    "load_official_aasist",
    "load_paper_back_end",
    "log_odds",
]


def build_model(config: ModelConfig) -> AASIST:
    """Build the detector that a profile's `model` section describes.

    Raises:
        ConfigError: the encoder is not available or does not fit the configuration.
    """
    return AASIST(config)
