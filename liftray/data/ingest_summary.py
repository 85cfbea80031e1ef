"""The lines that a person reads when ingest has ended.

Invariant: unexpected content has a line: bad records, chains without a label, repeated sequences, and sequences with
contradictory labels. Flow: ingest's summary -> [this] -> terminal.
"""

from collections.abc import Mapping
from typing import Any

from liftray.data.ingest import QUARANTINE_FILE


def lines(summary: Mapping[str, Any]) -> list[str]:
    """Describe a new data set.

    Args:
        summary: What `ingest` returned.

    Returns:
        One line of counts, then one line of remarks and one about the quarantine where there are any.
    """
    out = summary["out"]
    counts = (
        f"{summary['num_chains']} chains, {summary['num_residues']} residues, labels {summary['alphabet']}"
    )
    by = f", assigned by {summary['assigned_by']}" if summary.get("assigned_by") else ""
    found = [f"{out}: {counts}{by}"]
    if remarks := _remarks(summary):
        found.append(f"{out}: {remarks}")
    if left := summary.get("left_out"):
        others = ", ".join(f"{count} of {part or 'no named set'}" for part, count in left.items())
        found.append(f"{out}: the set {summary['set']}; left out: {others}")
    if bad := summary["quarantined"]["total"]:
        found.append(f"{out}/{QUARANTINE_FILE}: {bad} bad records, each with file, line, id and reason")
    return found


def _remarks(summary: Mapping[str, Any]) -> str:
    """Chains without labels, repeats and contradictions in one sentence; empty where there are none."""
    unlabelled, repeats = summary["unlabelled_chains"], summary["duplicates"]["sequences"]
    other, listed = summary["duplicates"]["contradictory"], summary["duplicates"]["contradictory_listed"]
    remarks = []
    if unlabelled:
        remarks.append(f"{unlabelled} chains without any label (all X)")
    if repeats:
        remarks.append(f"{repeats} chains repeat the sequence of an earlier one")
    if other:
        pair = f"; first: {listed[0]['id']} and {listed[0]['first_id']}" if listed else ""
        remarks.append(f"{other} of them with other labels (dataset.json lists them{pair})")
    return ", ".join(remarks)
