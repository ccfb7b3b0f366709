"""Studies of many trainings or conditions: ablation, robustness, probe."""
