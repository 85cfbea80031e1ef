"""A full disk ends a fill with one clear line, and the store stays good."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.cached import entry, fill, read_back

FILL = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.parts.cached import *
from liftray.errors import LiftrayError
exec(sys.argv[3])
root = Path(sys.argv[2])
try:
    fill(root, range(2000), max_shard_bytes=20_000)
except LiftrayError as error:
    print(error)
    missing, refused = read_back(root, range(2000))
    assert refused == [] and 0 < len(missing) < 2000, (len(missing), refused)
    directory = KEY.directory(root)
    assert len(list(directory.glob('*.rows'))) == len(list(directory.glob('*.ledger')))
    sys.exit(error.exit_code)
"""


def run(root: Path, before: str, *wrapper: str) -> subprocess.CompletedProcess[str]:
    command = [*wrapper, sys.executable, "-c", FILL, str(Path(__file__).parents[3]), str(root), before]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


def test_a_disk_without_space(tmp_path: Path) -> None:
    if not can_mount():
        pytest.skip("no unprivileged mounts here: a small disk cannot be made")
    root = tmp_path / "small"
    root.mkdir()
    mount = "subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=200k', 'none', sys.argv[2]], check=True)"
    done = run(root, "import subprocess;" + mount, "unshare", "-rm")
    assert done.returncode == 2, done.stderr
    assert "cannot write the cache (No space left on device)" in done.stdout
    assert all(
        part in done.stdout for part in (str(root), "bytes needed", "free", "cache.max_gb", "cache.dir")
    )


@pytest.mark.parametrize("limit", [5_000, 19_000])
def test_a_file_that_may_not_grow(tmp_path: Path, limit: int) -> None:
    """The limit falls into rows, as no shard fits; the store before it stays whole and can be filled."""
    fill(tmp_path, range(3))
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))"
    done = run(tmp_path, limited)
    assert done.returncode == 2, done.stderr
    assert "cannot write the cache (File too large)" in done.stdout
    assert read_back(tmp_path, range(3)) == ([], [])
    fill(tmp_path, range(3, 30))
    assert read_back(tmp_path, range(30)) == ([], [])


def test_a_writer_that_failed_takes_no_more(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tests.parts.cached import *\n"
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))\n"
        "from liftray.errors import CacheError\n"
        "store = Store.open(Path(sys.argv[2]), KEY)\n"
        "with store.writer() as writer:\n"
        "    for number in range(100):\n"
        "        try:\n"
        "            writer.add(*entry(number))\n"
        "        except CacheError:\n"
        "            break\n"
        "    try:\n"
        "        writer.add(*entry(number))\n"
        "    except RuntimeError:\n"
        "        print('stopped')\n"
        "assert not list(store.directory.glob('*.rows'))\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[3]), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "stopped\n"
    assert read_back(tmp_path, range(2)) == ([0, 1], [])
    assert len(entry(0)[1])
