"""Scores: of a corpus split (`split`), of recordings (`recordings`, `batch`), by a trained detector (`detector`)."""

from aasist_lib.scoring.split import ScoringError, log_odds, score_split, score_table

__all__ = ["ScoringError", "log_odds", "score_split", "score_table"]
