"""Every limit has a reason, and a reader that keeps to it."""

import ast
import itertools
from pathlib import Path

from liftray import limits

_UNITS = {"KIB", "MIB", "GIB"}
# A bound that the fuzz harness measures; no reader asks for it.
_MEASURED = {"READER_MEMORY_BYTES"}


def test_every_limit_is_a_positive_number_with_a_reason_and_a_user() -> None:
    package = Path(limits.__file__).parent
    body = ast.parse(Path(limits.__file__).read_text(encoding="utf-8")).body
    names = {name for name in vars(limits) if name.isupper()} - _UNITS
    reasons = {
        one.targets[0].id
        for one, after in itertools.pairwise(body)
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and isinstance(after, ast.Expr)
    }
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    assert names - reasons == set()
    assert {name for name in names - _MEASURED if f"limits.{name}" not in code} == set()
    assert all(vars(limits)[name] > 0 for name in names)
