"""Reports name the machine and the versions that are here."""

import importlib.metadata
import os
from pathlib import Path

import torch

import liftray
from liftray.machine import hardware, versions


def test_versions_are_those_installed() -> None:
    found = versions()

    assert set(found) == {
        "python",
        "liftray",
        "torch",
        "transformers",
        "adapters",
        "peft",
        "accelerate",
        "ray",
        "deepspeed",
        "mlflow",
        "pyarrow",
        "numpy",
    }
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["liftray"] == liftray.__version__


def test_hardware_is_that_of_this_machine() -> None:
    found = hardware()

    assert set(found) == {
        *("cpu", "cpu_flags", "cores", "cores_usable", "threads"),
        *("memory_gib", "gpu", "load_1min", "system"),
    }
    assert found["threads"] == torch.get_num_threads()
    assert set(found["cpu_flags"]) <= set(Path("/proc/cpuinfo").read_text().split())
    assert found["cpu"]
    assert 1 <= found["cores_usable"] == len(os.sched_getaffinity(0))
    assert found["memory_gib"] > 0
