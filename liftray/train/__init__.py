"""Distributed adapter fine-tuning with Ray Train and DeepSpeed."""
