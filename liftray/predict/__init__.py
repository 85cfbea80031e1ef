"""Bundles, and predictions from them."""
