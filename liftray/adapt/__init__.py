"""Adapters, heads and losses above the cut."""
