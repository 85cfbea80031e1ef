"""Every limit on what LiftRay reads, with the reason for its value.

Invariant: a reader takes its limits from here, checks a stated size before it allocates for it, and names the limit in
its refusal. Time and memory then follow from the size of the input: a reader holds at most `READER_MEMORY_BYTES` more
than the input has. Lowest layer: imports nothing.

The values are far above what real inputs have and far below what harms a machine. They are no settings: an input that
needs more is split or cleaned by its owner.
"""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

READER_MEMORY_BYTES = 64 * MIB
"""What a reader may hold beyond the size of its input. Records stream, so that a machine with 1 GiB can ingest."""

STREAMED_BYTES = 512 * GIB
"""A file read in pieces, inflated. UniRef100 as FASTA has about 200 GB; more is a sparse file or a mistake."""

STRUCTURE_BYTES = GIB
"""A structure file, inflated: it is read whole. The PDB's largest (3J3Q, 2.4 million atoms) has 250 MB."""

INFLATION_FREE_BYTES = 48 * MIB
"""What any compressed file may inflate to. Below it the ratio does not matter; a bomb stops here."""

INFLATION_RATIO = 120
"""Inflated bytes for each compressed byte, above the free part. Text of proteins has 2 to 20, labels alone up to 40."""

XZ_MEMORY_BYTES = 72 * MIB
"""Memory that an xz stream may ask for: `xz -9` needs 65 MiB, of which only as much is touched as was inflated."""

ZIP_LISTING_BYTES = 64 * KIB
"""Directory of a zip file. One member is read, so a longer directory is an archive of another kind."""

CONFIG_BYTES = 64 * KIB
"""A YAML file. The largest of the project has 3 KiB, and the YAML reader takes about a second for 100 KiB."""

OVERRIDE_CHARACTERS = 8 * KIB
"""One KEY=VALUE text: room for a search space or a list of paths."""

CONFIG_NODES = 5_000
"""Values in a YAML text, each alias counted as the values that it stands for: aliases of aliases grow exponentially."""

JSON_BYTES = 64 * MIB
"""A JSON file of LiftRay. `dataset.json` has 200 bytes a source file: this is room for 300,000 structures."""

BACKBONE_CONFIG_BYTES = MIB
"""A backbone's `config.json`. Real ones have under 5 KiB; those with long label maps reach 200 KiB."""

VOCABULARY_BYTES = 16 * MIB
"""A backbone's vocabulary: that of multilingual models has 14 MB, those of proteins under 20 KiB."""

NESTING = 32
"""Depth of lists and mappings in YAML and JSON. What LiftRay reads has at most 8; parsers recurse for each level."""

NUMBER_DIGITS = 400
"""Digits of one number in JSON or YAML: a float64 has at most 309 before its point; conversion is quadratic."""

LINE_CHARACTERS = 4 * MIB
"""One line of a text file that is kept; of a longer one only the start is. It is 40 times the longest chain."""

LINE_SKIPPED_CHARACTERS = 256 * MIB
"""One line of a text file that is skipped over. The largest chromosome in one line has 250 million letters."""

HEADER_CHARACTERS = 64 * KIB
"""The header of one record. The NCBI's `nr` joins headers of identical sequences to some tens of KiB."""

COLUMNS = 4096
"""Columns of a table: NetSurfP's has 20; one column for each of 1,280 features of an embedding fits too."""

ID_CHARACTERS = 255
"""The id of a chain: that of a file name on usual file systems, which outputs may need for it."""

RESIDUES = 100_000
"""Residues of one chain. No known protein has half of that (titin has 35,000)."""

STRUCTURE_RESIDUES = 1_000_000
"""Residues in the first model of a structure. The largest entry of the PDB has 313,236 (3J3Q)."""

MKDSSP_RESIDUES = 50_000
"""Residues of one model that mkdssp is given: its time grows with the square, to some minutes here."""

STRUCTURE_ATOMS = 20_000_000
"""Atoms of a structure file, all models. The largest of the PDB has 2.4 million; trajectories do not belong here."""

BINARYCIF_ROWS_FREE = 4096
"""Rows that a BinaryCIF category may have however few bytes the file has; above, a row needs a byte of the file.

A run-length column states any number of rows in 20 bytes, but coordinates need some bytes for each atom.
"""

PARQUET_ROWS = 2_000_000_000
"""Rows of one Parquet file: ten times UniRef90. More rows than that are stated by a damaged or hostile file."""

TABLE_BYTES = GIB
"""A Parquet table of a run, which is read whole: one row for each chain or step, under 100 bytes each."""
