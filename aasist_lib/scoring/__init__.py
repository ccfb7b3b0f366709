"""Scoring with a trained detector (`detector`): a corpus split (`split`) or recordings (`recordings`, `batch`)."""

from aasist_lib.models import log_odds
from aasist_lib.scoring.split import ScoringError, score_split, score_table

__all__ = ["ScoringError", "log_odds", "score_split", "score_table"]
