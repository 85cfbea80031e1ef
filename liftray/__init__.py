"""LiftRay: adapter fine-tuning of protein language models for secondary structure prediction, on Ray.

Importing this package imports none of torch, ray, deepspeed, mlflow, adapters or transformers.
"""

import os

# oneDNN keeps what it built for each shape that it met, 1,024 of them by default. Packed batches have a new shape each:
# a process that trains a convolutional head on a CPU would grow with each step. What a step uses again is fewer.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

__version__ = "0.1.0"
