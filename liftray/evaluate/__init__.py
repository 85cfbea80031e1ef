"""Scores with intervals, and the baselines beside them."""
