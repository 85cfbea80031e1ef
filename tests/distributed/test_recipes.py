"""Every command of README, docs/ and cluster/, and the notebooks: run as written, or checked in a named way.

A comment before each code block names how it is tested:

    run       executed, in the order of the page
    resolve   its settings are loaded and validated by the real command; nothing starts
    study     a study's dry run on this project's sample
    cluster   submitted to the cluster of cluster/local.sh, whose address and paths replace the placeholders
    prepared  the fixture has done the same with a short training
    syntax    parsed by bash: it needs other machines
    check     compiled by Python
    output    not a command

Training recipes run three epochs with few resamples and no baselines, which the workspace's `liftray` adds. All else is
as printed.
"""

import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbclient
import pytest
import yaml

from liftray import config
from tests.parts import recipes as recipe_parts

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "cluster").glob("*.md")),
]
# Pages whose recipes the others build on come first.
FIRST = ("README.md", "docs/tutorials/predict.md", "docs/tutorials/train.md", "docs/how-to/own-labels.md")
BLOCK = re.compile(
    r"(?:<!-- recipe: (?P<how>[a-z]+) -->\n)?^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.M | re.S
)
FILE = re.compile(
    r"(?<![\w/.-])((?:liftray|tests|jobs|configs|cluster|docs|reports)/[\w/.-]+\.(?:py|yaml|md|sh|png|sbatch))"
)
HOW = ("run", "resolve", "study", "cluster", "prepared", "syntax", "check", "output")


@dataclass(frozen=True)
class Recipe:
    """One code block of a page."""

    how: str | None
    language: str
    text: str
    line: int


def recipes(page: Path) -> list[Recipe]:
    text = page.read_text(encoding="utf-8")
    return [
        Recipe(block["how"], block["language"], block["text"], text.count("\n", 0, block.start()) + 1)
        for block in BLOCK.finditer(text)
    ]


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _executed() -> list[Path]:
    pages = [page for page in PAGES if any(one.how in ("run", "resolve", "study") for one in recipes(page))]
    return sorted(pages, key=lambda page: (_name(page) not in FIRST, _name(page)))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_is_tested_in_a_named_way(page: Path) -> None:
    for recipe in recipes(page):
        where = f"{_name(page)}:{recipe.line}"
        if recipe.language in ("", "text"):
            continue
        assert recipe.how in HOW, f"{where}: write <!-- recipe: HOW --> before the block"
        if recipe.language == "bash":
            subprocess.run(["bash", "-n"], input=recipe.text, text=True, check=True)
        elif recipe.language == "python":
            compile(recipe.text, where, "exec")
        elif recipe.language == "yaml":
            yaml.safe_load(recipe.text)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    # Changelogs and records of decisions may name what is gone.
    named = FILE.findall(page.read_text(encoding="utf-8")) if page.name != "decisions.md" else []
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


def test_the_map_has_every_package() -> None:
    drawn = BLOCK.search((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## The map")[2])
    assert drawn is not None
    packages = [path.parent.name for path in (ROOT / "liftray").glob("*/__init__.py")]
    assert [name for name in packages if f"{name}/" not in drawn["text"]] == []


@pytest.mark.parametrize("script", ["local.sh", "slurm.sbatch"])
def test_cluster_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / "cluster" / script)], check=True)


@pytest.mark.parametrize("file", ["kuberay.yaml", "vm.yaml"])
def test_cluster_manifests_run_a_job_that_is_there(file: str) -> None:
    text = (ROOT / "cluster" / file).read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(text))
    assert all(documents)
    jobs = [one["spec"]["entrypoint"] for one in documents if one.get("kind") == "RayJob"]
    for words in (job.split() for job in jobs):
        assert words[:2] == ["liftray", "train"]
        path = words[words.index("--config") + 1]
        settings = config.load(ROOT / path, [word for word in words if re.match(r"[a-z_.]+=", word)])
        # What the job reads and writes is on the storage that all nodes see.
        places = [*settings.data.train.values(), *settings.data.valid.values(), *settings.data.test.values()]
        assert all(place.startswith("/shared/") for place in [*places, settings.run.dir])


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", _executed(), ids=_name)
def test_recipes_work_as_written(page: Path, workspace: Path) -> None:
    for recipe in recipes(page):
        if recipe.how == "run" and recipe.language == "python":
            recipe_parts.finish(
                workspace, [sys.executable, "-c", recipe.text], f"{_name(page)}:{recipe.line}"
            )
        elif recipe.how in ("run", "resolve", "study"):
            recipe_parts.run_bash(
                workspace, recipe.text, how=recipe.how, where=f"{_name(page)}:{recipe.line}"
            )


@pytest.fixture
def local_cluster(workspace: Path) -> Iterator[dict[str, str]]:
    """The cluster of cluster/local.sh on free ports, with a token of its own: its environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="lr"))  # short: socket paths hold 107 characters
    (folder / "token").write_text(secrets.token_hex(32))
    # The script also takes the ports that follow each of the two.
    extra = {"PORT": str(port), "DASHBOARD_PORT": str(port - 10), "RAY_TMPDIR": str(folder)}
    extra |= {"RAY_AUTH_TOKEN_PATH": str(folder / "token"), "HOW": "run"}
    with (folder / "local.log").open("w") as log:
        environment = recipe_parts.environment(workspace, extra)
        command = ["bash", "cluster/local.sh"]
        cluster = subprocess.Popen(
            command, cwd=workspace, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert cluster.stdout is not None
        assert "two nodes" in cluster.stdout.readline(), (folder / "local.log").read_text()
        yield extra
    finally:
        cluster.send_signal(signal.SIGTERM)
        cluster.wait(timeout=120)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(900)
def test_jobs_are_submitted_to_a_cluster_as_written(workspace: Path, local_cluster: dict[str, str]) -> None:
    data = workspace / "shared" / "data"
    data.mkdir(parents=True)
    for part in ("train", "valid", "test"):
        (data / part).symlink_to(workspace / "runs" / "quickstart" / "data" / part)
    filled = {
        "http://HEAD:8265": f"http://127.0.0.1:{local_cluster['DASHBOARD_PORT']}",
        "http://MLFLOW:5000": f"sqlite:///{workspace}/mlflow.db",
        "/shared": f"{workspace}/shared",
    }
    submitted = [one for one in recipes(ROOT / "cluster" / "README.md") if one.how == "cluster"]
    assert submitted
    for recipe in submitted:
        text = recipe.text
        for placeholder, value in filled.items():
            text = text.replace(placeholder, value)
        recipe_parts.finish(
            workspace,
            ["bash", "-euo", "pipefail", "-c", text],
            f"cluster/README.md:{recipe.line}",
            **local_cluster,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "docs" / "notebooks").glob("*.py")), ids=lambda path: path.stem
)
def test_notebooks_run(notebook: Path, workspace: Path) -> None:
    content = jupytext.read(notebook)
    client = nbclient.NotebookClient(content, timeout=300, resources={"metadata": {"path": str(workspace)}})
    client.execute()
    assert any(cell.get("outputs") for cell in content.cells)
