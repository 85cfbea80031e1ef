"""Every reader on some hundred mutated inputs, on the inputs that once failed, and on bytes that hypothesis makes."""

import contextlib
import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liftray.errors import LiftrayError
from tests.fuzz import parts
from tests.fuzz.run import Tally, fuzz, one, peak_bytes
from tests.fuzz.targets import TARGETS, Target

REGRESSIONS = Path(__file__).parent / "regressions"
RUNS = {"text": 300, "config": 200, "structure": 150, "table": 150, "model": 40}
TEXT = [name for name, target in TARGETS.items() if target.kind in ("text", "config")]


def _target(name: str) -> object:
    return pytest.param(TARGETS[name], id=name)


def _explain(tally: Tally) -> list[str]:
    return [f"{found.kind}: {found.detail}, input {found.number}" for found in tally.findings.values()]


@pytest.mark.parametrize("target", map(_target, TARGETS))
def test_every_seed_is_read(target: Target, tmp_path: Path) -> None:
    for number, seed in enumerate(target.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        target.run(seed, folder)


@pytest.mark.parametrize("target", map(_target, TARGETS))
def test_mutated_inputs_are_read_or_refused_in_bounds(target: Target, tmp_path: Path) -> None:
    assert not _explain(fuzz(target, RUNS[target.kind], seed=1, folder=tmp_path))


@pytest.mark.parametrize(
    ("target", "path"),
    [(TARGETS[path.parent.name], path) for path in sorted(REGRESSIONS.glob("*/*"))],
    ids=lambda value: value.name,
)
def test_what_once_failed_is_read_or_refused(target: Target, path: Path, tmp_path: Path) -> None:
    assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    tally = Tally(target.name)
    one(target, path.read_bytes(), tmp_path, tally, 0, peak_bytes())
    assert not _explain(tally)


@pytest.mark.parametrize("target", map(_target, TEXT))
def test_any_bytes_are_read_or_refused(target: Target) -> None:
    words = st.lists(st.sampled_from([*target.words, *target.seeds()]) | st.binary(max_size=20), max_size=12)

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=words.map(b"".join))
    def check(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(LiftrayError):
            target.run(data, Path(folder))

    check()


def test_an_input_is_the_same_every_time_it_is_made(tmp_path: Path) -> None:
    seen: list[list[bytes]] = [[], []]
    for inputs in seen:
        target = Target(
            "probe", "text", lambda data, folder, kept=inputs: kept.append(data), lambda: [b">a\nMKT\n"]
        )
        fuzz(target, 20, seed=3, folder=tmp_path)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 10


def test_faults_are_found_with_the_input_that_shows_them(tmp_path: Path) -> None:
    def fragile(data: bytes, folder: Path) -> None:
        if b"M" not in data:
            raise KeyError("no M")
        raise LiftrayError("an escape \x1b[2J")

    tally = fuzz(Target("probe", "text", fragile, lambda: [b">a\nMKT\n"]), 200, seed=0, folder=tmp_path)
    kinds = {found.kind: found for found in tally.findings.values()}
    assert b"M" not in kinds["KeyError"].data
    assert "exit code" in kinds


def test_files_of_a_folder_travel_as_one_input(tmp_path: Path) -> None:
    files = {"a.json": b"{}", "b/c.bin": bytes(range(256))}
    assert parts.unpack(parts.pack(files)) == files
    parts.write(parts.pack({"../out": b"x", "in": b"y"}), tmp_path / "folder")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["in"]
