"""The embedded sample: real chains with labels, split so that no two splits share a homologue; see PROVENANCE.md."""

from pathlib import Path

SPLITS = ("train", "valid", "test")
EXAMPLE_FASTA = "example.fasta"


def directory() -> Path:
    """The folder of the sample: `train.ss9.txt`, `valid.ss9.txt`, `test.ss9.txt` and `example.fasta`."""
    return Path(__file__).resolve().parent
