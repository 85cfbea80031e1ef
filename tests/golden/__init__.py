"""Recorded results of the quickstart, which a change of the code must not move."""
