"""The command that repairs a refused ingest, as a user would type it.

Invariant: a printed command is whole: it can be pasted into a shell. Used by alphabet, ingest and ingest_summary.
"""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from liftray.data.formats.spelling import spell
from liftray.data.labels import STATES, UNLABELLED
from liftray.data.validate import COIL_SPELLINGS, LABEL_REASONS
from liftray.standard_streams import as_argument

_EIGHT = frozenset("BGIST")


@dataclass(frozen=True)
class IngestCommand:
    """The arguments of one call of `ingest`.

    Attributes:
        inputs: Files and directories, `-` for standard input.
        out: The data set's directory.
        format: `auto` or a format.
        alphabet: The alphabet, or None to detect it.
        labels: Label of the file -> state.
        set: The part of a split, or None.
    """

    inputs: tuple[str, ...]
    out: str
    format: str = "auto"
    alphabet: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    set: str | None = None

    def __call__(self, changes: Mapping[str, Any]) -> str:
        """The command line with some arguments changed; `labels` are added to those that are there."""
        labels = {**self.labels, **changes.get("labels", {})}
        new = replace(self, **{**changes, "labels": labels})
        words = ["liftray", "ingest", *new.inputs, "--out", new.out]
        words += ["--format", new.format] * (new.format != "auto")
        words += ["--alphabet", new.alphabet] if new.alphabet else []
        words += ["--set", new.set] if new.set else []
        for letter, state in labels.items():
            # A pair that begins with a hyphen would be read as an option.
            pair = f"{spell(letter)}={state}"
            words += [f"--labels={pair}"] if pair.startswith("-") else ["--labels", pair]
        return shlex.join(words)


def remedies(alphabet: str, labels: Collection[str]) -> tuple[str, dict[str, Any]]:
    """What to change where labels are not in the alphabet.

    Args:
        alphabet: The alphabet that refused them.
        labels: The labels that it lacks.

    Returns:
        The condition in words, and the arguments to change.
    """
    found = set(labels)
    coil = "C" if alphabet == "ss3" else "L"
    dots = {letter: coil for letter in sorted(found & COIL_SPELLINGS) if letter != coil}
    rest = found - COIL_SPELLINGS
    if not rest:
        return f"if {_names(dots)} is coil", {"labels": dots}
    if alphabet == "ss3" and rest == {"L"}:
        return "if 'L' is coil in three states", {"labels": {"L": "C", **dots}}
    if rest <= _EIGHT | {"L", "P"}:
        richer = "ss9" if "P" in rest or alphabet == "ss8" else "ss8"
        return f"if the labels are {richer}", {
            "alphabet": richer,
            "labels": {letter: "L" for letter in sorted(found & COIL_SPELLINGS)},
        }
    other = {letter: UNLABELLED for letter in sorted(rest - set(STATES["ss9"]) - set("C"))}
    return f"if {_names(other)} means no label", {"labels": {**dots, **other}}


def warnings(summary: Mapping[str, Any], command: IngestCommand) -> list[str]:
    """What may be read wrongly in a new data set, each with the command that reads it otherwise.

    Args:
        summary: The counts of `ingest`.
        command: The call.
    """
    found = []
    bad, alphabet = summary["quarantined"], summary["alphabet"]
    refused = sum(bad["reasons"].get(reason, 0) for reason in LABEL_REASONS)
    if refused:
        shown = _names(bad.get("labels", {}))
        found.append(
            f"{refused} of {summary['num_chains'] + bad['total']} chains are not in the data set, because {shown} "
            f"is not in {alphabet}; {alternatives(command, remedies(alphabet, bad['labels']))}"
        )
    predicted = [source["name"] for source in summary["sources"] if source["format"] == "psipred"]
    if predicted:
        more = f" and {len(predicted) - 1} more files" if len(predicted) > 1 else ""
        found.append(f"the labels of {predicted[0]}{more} are predictions, not observed states")
    return found


def alternatives(command: IngestCommand | None, *choices: tuple[str, dict[str, Any]]) -> str:
    """The remedies for an error: `IF, run: COMMAND; IF, run: COMMAND`."""
    shown = [f"{condition}, {_run(command, changes)}" for condition, changes in choices]
    return "; ".join(shown)


def _run(command: IngestCommand | None, changes: dict[str, Any]) -> str:
    if command:
        return f"run: {command(changes)}"
    options = command_options(changes)
    return f"use {options}"


def command_options(changes: Mapping[str, Any]) -> str:
    """The options alone, where there is no command to repeat."""
    whole = IngestCommand((), "X")(changes)
    return whole.partition("--out X ")[2]


def command_of(
    inputs: Collection[str | Path],
    out: str | Path,
    format: str,
    alphabet: str | None,
    labels: Mapping[str, str],
    part: str | None,
) -> IngestCommand:
    """The command of a call of `ingest`."""
    return IngestCommand(tuple(map(as_argument, inputs)), str(out), format, alphabet, dict(labels), part)


def _names(labels: Collection[str]) -> str:
    return " and ".join("a blank" if letter == " " else repr(letter) for letter in sorted(labels)) or "it"
