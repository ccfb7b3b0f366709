"""Inputs of training and scoring: clips as waveforms, cached features, training batches, and the check of the audio."""
