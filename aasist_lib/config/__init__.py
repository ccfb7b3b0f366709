"""Profiles: the YAML files that hold every setting of a run."""

from aasist_lib.config.load import load_profile
from aasist_lib.config.paper import Quoted, paper_values
from aasist_lib.config.profile import (
    ConfigError,
    DataConfig,
    FrontendConfig,
    LossConfig,
    ModelConfig,
    Profile,
    project_root,
)

__all__ = [
    "ConfigError",
    "DataConfig",
    "FrontendConfig",
    "LossConfig",
    "ModelConfig",
    "Profile",
    "Quoted",
    "load_profile",
    "paper_values",
    "project_root",
]
