"""A full disk and a directory that cannot be written: one line and exit 2, whichever command meets it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import liftray
from tests.parts import tiny

ROOT = Path(__file__).resolve().parents[2]
MAIN = "from liftray.cli import main; main()"
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
FASTA = "".join(f">chain{number}\n{'MKTAYIAKQR' * 30}\n" for number in range(100))
LABELLED = "".join(f">chain{number}\n{'MKTAYIAKQR' * 30}\n{'HHHHEEEECC' * 30}\n" for number in range(400))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FASTA file, labelled chains, a data set of them, a bundle of a tiny model and its weights."""
    from liftray.adapt import tagger
    from liftray.adapt.tagger import TaggerSettings
    from liftray.backbone import model
    from liftray.backbone.sources import resolve
    from liftray.predict import bundle

    folder = tmp_path_factory.mktemp("inputs")
    (folder / "x.fasta").write_text(FASTA)
    (folder / "x.txt").write_text(LABELLED)
    (folder / "few.txt").write_text(LABELLED[: LABELLED.index(">chain8")])
    liftray.ingest(folder / "few.txt", folder / "data")
    weights = tiny.write_backbone(folder / "weights")
    settings = TaggerSettings.of(tiny.settings(adapter__reduction_factor=4))
    made = tagger.build(model.load(resolve([weights])), settings, seed=0)
    bundle.save(made, folder / "bundle", [weights], {"data": {}, "metrics": {}})
    return folder


@pytest.fixture
def on_disk(inputs: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a job with the directory `disk` on a file system of its own: full after a few KB, or read-only."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine gives users no mount namespace")
    (tmp_path / "disk").mkdir()

    def run(options: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        mount = f'mount -t tmpfs -o {options} none disk && exec "$@"'
        command = [*NAMESPACE, "sh", "-c", mount, "sh", sys.executable, "-c", MAIN]
        given = [argument.replace("IN/", f"{inputs}/") for argument in arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [*command, *given], capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    return run


TRAIN = ["--config", "configs/quickstart.yaml", "data.train={a: IN/data}", "data.valid={a: IN/data}",
         "data.test={}", "backbone.source=IN/weights", "adapter.skip_layers=0"]  # fmt: skip
COMMANDS = {
    "ingest": ["ingest", "IN/x.txt", "--out", "disk/out"],
    "predict": ["predict", "--model", "IN/bundle", "--input", "IN/x.fasta", "--formats", "csv", "--out", "disk/out"],
    "evaluate": ["evaluate", "--model", "IN/bundle", "--data", "a=IN/data", "--out", "disk/out"],
    "train": ["train", *TRAIN, "run.dir=disk/run", "tracking.uri=sqlite:///disk/mlflow.db"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize("options", ["size=4k", "ro"])
def test_one_line_and_exit_2(
    on_disk: Callable[..., subprocess.CompletedProcess[str]], command: str, options: str
) -> None:
    done = on_disk(options, *COMMANDS[command])
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1
    assert "disk" in lines[0]
    assert "unforeseen" not in lines[0]
    assert "; " in lines[0], "there is a remedy"


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    command = f"{sys.executable} -c 'from liftray.cli import main; main()' train --print-config >/dev/full"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: no space left on device")
