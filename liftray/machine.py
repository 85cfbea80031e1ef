"""The machine and the library versions that a measured figure or a study holds for.

Invariant: gathered in one place, so that every report names the same facts. Lowest layer: imports torch only inside
functions.
"""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import liftray

_PACKAGES = (
    "torch", "transformers", "adapters", "peft", "accelerate", "ray", "deepspeed", "mlflow", "pyarrow", "numpy",
)  # fmt: skip
# Instructions that decide how fast a processor multiplies matrices.
_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "sve",
    "bf16",
)  # fmt: skip


def hardware() -> dict[str, Any]:
    """This machine and its load; a `load_1min` above `cores_usable` makes a measured speed doubtful."""
    return {
        "cpu": _cpuinfo("model name") or platform.machine(),
        "cpu_flags": [flag for flag in _FLAGS if flag in _cpuinfo("flags|Features").split()],
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "threads": _threads(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpu": _gpu(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the libraries that figures depend on; None for a library that is not installed."""
    # LiftRay's own from the code: an editable install's metadata keeps the version of the day it was installed.
    return {
        "python": platform.python_version(),
        "liftray": liftray.__version__,
        **{name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpuinfo(key: str) -> str:
    """The kernel's entry about the first core under a key; "" where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^(?:{key})\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _threads() -> int:
    """Threads of torch in this process; the processes of a suite have their own, recorded in its config."""
    import torch

    return torch.get_num_threads()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
