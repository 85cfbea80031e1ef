"""Pretrained protein language models: where they come from, how they are read, and where they are cut."""
