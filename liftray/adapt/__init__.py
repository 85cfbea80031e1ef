"""Adapters, heads and losses on top of the cut."""
