"""What every module of the package keeps to: it is short, and few of them are given the whole settings."""

import ast
from pathlib import Path

import pytest

import liftray

PACKAGE = Path(liftray.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 350
# Jobs and what prepares or derives whole runs. Everything else takes the sections that it reads: a module that joins
# this list can depend on every setting there is.
TAKE_SETTINGS = {
    "adapt": {"tagger"},
    "bench": {"fits"},
    "search": {"course", "rounds", "search_report", "sharing", "space", "trial", "trial_rows", "tune"},
    "study": {"estimate", "findings", "held_out", "plan", "preview", "study_job"},
    "track": {"mlflow/runs"},
    "train": {
        "memory/estimate",
        "memory/report",
        "prefill",
        "prepare",
        "rank_job",
        "run_digest",
        "train_job",
    },
}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def _takes_settings(path: Path) -> bool:
    """Whether a parameter or an attribute of the module is annotated with `Settings`, alone or inside a type."""
    annotations: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.arg | ast.AnnAssign):
            annotations.append(node.annotation)
    names = [part for one in annotations if one is not None for part in ast.walk(one)]
    return any(
        (isinstance(part, ast.Name) and part.id == "Settings")
        or (isinstance(part, ast.Constant) and part.value == "Settings")
        for part in names
    )


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_few_modules_take_the_whole_settings() -> None:
    allowed = {f"{package}/{name}" for package, names in TAKE_SETTINGS.items() for name in names}
    assert {_name(path) for path in MODULES if _takes_settings(path)} - {"config"} == allowed
