"""LiftRay: adapter fine-tuning of protein language models for secondary structure prediction, on Ray.

Importing this package imports none of torch, ray, deepspeed, mlflow, adapters or transformers.
"""

__version__ = "0.1.0"
