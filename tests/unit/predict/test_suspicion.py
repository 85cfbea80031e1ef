"""Labels and nucleotides given as sequences are noticed; real proteins are not."""

import pytest

from liftray.data import sample
from liftray.predict.fasta import Chain, read
from liftray.predict.suspicion import LABELS, NUCLEOTIDES, Suspicions, suspicion

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRV"
SS8 = "LLHHHHHHHHHHTTLEEEEELLLSSTGGGLLEEEEEBLLLL"[:40]
SS3 = SS8.translate(str.maketrans("LTSGB", "CCCHE"))


@pytest.mark.parametrize(
    "sequence", [SS3, SS8, "HHHHHHHHHH", PROTEIN + SS3, PROTEIN + SS8, PROTEIN + SS8 + SS3]
)
def test_labels(sequence: str) -> None:
    assert suspicion(sequence) == LABELS


@pytest.mark.parametrize(
    "sequence", ["ATGGCGTACGTTAGC", "AUGGCGUACGUUAGC", "ATGGCNTACGTTAGCATGRCG", "ACGT" * 50]
)
def test_nucleotides(sequence: str) -> None:
    assert suspicion(sequence) == NUCLEOTIDES


@pytest.mark.parametrize(
    "sequence",
    [
        PROTEIN,
        "HHHHHH",  # a tag
        "GSHHHHHHSSGLVPRGSHM",
        "GPPGPPGPPGPPGPPGPPGPPGPP",
        "GGGGSGGGGSGGGGS",
        "AAAAAAAAAAAAAAAA",
        "GAGAGSGAGAGSGAGAGS",
        "ACGT",
        "M",
        "",
        PROTEIN * 2,
        "MKTGGGGSGGGGS",
    ],
)
def test_proteins(sequence: str) -> None:
    assert suspicion(sequence) == ""


def test_no_chain_of_the_sample_is_suspicious() -> None:
    chains = [item for item in read(sample.directory() / "example.fasta") if isinstance(item, Chain)]
    for split in ("train", "valid", "test"):
        lines = (sample.directory() / f"{split}.ss9.txt").read_text(encoding="utf-8").splitlines()
        assert [text for text in lines[1::3] if suspicion(text)] == []
        assert all(
            suspicion(text) == LABELS for text in lines[2::3] if len(text) > 40 and set(text) & set("HE")
        )
    assert [chain.id for chain in chains if suspicion(chain.sequence)] == []


def test_one_sentence_for_each_kind() -> None:
    found = Suspicions()
    for number, sequence in enumerate([PROTEIN, SS3, SS8, "ACGT" * 5]):
        found.add(sequence, f"c{number}", f"x.fasta:{number}")
    assert found.counts == {LABELS: 2, NUCLEOTIDES: 1}
    assert found.sentences() == [
        "2 of 4 sequences look like labels and no protein; first: c1 (x.fasta:1); "
        "labelled files are read by `liftray ingest`",
        "1 of 4 sequences looks like nucleotides and no protein; first: c3 (x.fasta:3); translate them first",
    ]
