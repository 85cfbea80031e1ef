"""The real data sets, which are not part of the repository: tests that read them skip where they are absent.

`LIFTRAY_REAL_DATA` names their folder; the default is `shared/data` next to the checkout.
"""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "data"


def find(name: str) -> Path:
    """A file of the real data sets; the calling test skips where it is absent."""
    path = Path(os.environ.get("LIFTRAY_REAL_DATA") or _DEFAULT) / name
    if not path.exists():
        pytest.skip(f"needs the real data sets ({name}); LIFTRAY_REAL_DATA names their folder")
    return path
