"""Write requirements.lock from pip's installation report; `make lock` calls it.

Invariant: the lock fits machines with and without CUDA: it names no local build, nor what only one brings.
"""

import json
import sys
from pathlib import Path

HEADER = """\
# Exact versions that LiftRay is tested with (Python 3.11, Linux); they also install on Python 3.12 and 3.13. Rebuilt by
# `make lock` from pyproject.toml.
#
# torch is pinned without a build tag: pip takes the CPU build where the index or --find-links offers one, else the
# CUDA build, whose nvidia-* and triton packages torch itself pins exactly; so they are not listed.
# No hashes: that version of torch has several builds with different files, and pip checks hashes for all packages or
# for none. requirements-nodeps.lock, whose one wheel is the same everywhere, has its hash.
"""
# What a CUDA build of torch brings along and a CPU build does not.
ONLY_WITH_CUDA = ("nvidia-", "cuda-", "triton", "pytorch-triton")


def main(report: str, lock: str) -> None:
    """Turn `pip install --report` output into pins, sorted by name."""
    listed = json.loads(Path(report).read_text(encoding="utf-8"))["install"]
    pins = {}
    for package in (entry["metadata"] for entry in listed):
        name = package["name"].lower().replace("_", "-")
        if not name.startswith(("liftray", *ONLY_WITH_CUDA)):
            pins[name] = package["version"].partition("+")[0]
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    Path(lock).write_text(HEADER + "".join(lines), encoding="utf-8")
    print(f"{lock}: {len(lines)} packages")


if __name__ == "__main__":
    main(*sys.argv[1:])
