"""What oneDNN keeps for each shape is bounded in every process that imports the package, unless the user sets it."""

import os
import subprocess
import sys

import pytest

_NAME = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


@pytest.mark.parametrize(("given", "expected"), [(None, "64"), ("7", "7")])
def test_the_bound_is_set_before_torch_is_loaded(given: str | None, expected: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != _NAME}
    program = f"import liftray, os, sys; print(os.environ[{_NAME!r}], 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | ({} if given is None else {_NAME: given}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [expected, "False"]
