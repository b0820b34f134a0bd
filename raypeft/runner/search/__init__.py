"""Searching over settings with Ray Tune's own classes: Optuna suggests trials, ASHA stops those that lag behind."""
