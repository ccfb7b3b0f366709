"""What a detector is trained on and scored on: clips as waveforms, features computed once, batches."""
