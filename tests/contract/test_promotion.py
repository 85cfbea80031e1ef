"""The champion moves only as gates and ledger allow, also when others move it at the same time."""

import threading
from pathlib import Path
from typing import Any

import pytest

from liftray.errors import TrackingError
from liftray.track.mlflow.store import client
from liftray.track.promotion import history, ledger, registry
from liftray.track.promotion.verdict import Refusal
from tests.parts.registry_parts import LENIENT, NAME, add_version, champion, gate, state


def test_a_champion_comes_goes_and_comes_back(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a", correct=[70] * 10)
    first = registry.promote(NAME, uri=mlflow_uri, reason="first one", policy=LENIENT)
    assert first["changed"]
    assert (first["version"], first["previous"]) == (1, None)
    add_version(mlflow_uri, tmp_path / "b", correct=[70] * 9 + [75])
    second = registry.promote(NAME, 2, uri=mlflow_uri, reason="better", policy=LENIENT)
    assert gate(second, "primary")["evidence"]["paired"]["num_chains"] == 10
    assert champion(mlflow_uri) == 2
    back = registry.rollback(NAME, uri=mlflow_uri, reason="fails on long chains")
    assert (back["version"], back["previous"]) == (1, 2)
    assert champion(mlflow_uri) == 1
    with pytest.raises(Refusal, match="NOTHING_BEFORE"):
        registry.rollback(NAME, uri=mlflow_uri, reason="again")
    recorded = history.entries(NAME, uri=mlflow_uri)
    assert [(entry["action"], entry["version"], entry["previous"]) for entry in recorded] == [
        ("promote", 1, None),
        ("promote", 2, 1),
        ("rollback", 1, 2),
    ]
    assert recorded[1]["evidence"]["difference"] == pytest.approx(0.005)
    assert recorded[2]["reason"] == "fails on long chains"
    shown = history.show(NAME, uri=mlflow_uri)
    assert shown["aliases"] == {"candidate": 2, "champion": 1}
    assert [version["version"] for version in shown["versions"]] == [1, 2]
    assert shown["ledger"]["entries"] == 3


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"correct": [60] * 10}, "SCORE_LOWER"),
        ({"q3": 0.6}, "SCORE_LOWER"),
        ({"q3": 0.9, "data": "d2"}, "DATA_DIFFERS"),
        ({"q3": 0.9, "task": "ss8"}, "TASK_DIFFERS"),
        ({"q3": None}, "NO_SCORE"),
    ],
)
def test_a_refusal_names_its_reason_moves_no_alias_and_is_recorded(
    mlflow_uri: str, tmp_path: Path, info: dict[str, Any], reason: str
) -> None:
    add_version(mlflow_uri, tmp_path / "a", correct=[70] * 10)
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    add_version(mlflow_uri, tmp_path / "b", **info)
    before = state(mlflow_uri)
    for dry_run in (True, False):
        with pytest.raises(Refusal) as caught:
            registry.promote(NAME, uri=mlflow_uri, reason="please", dry_run=dry_run, policy=LENIENT)
        assert reason in caught.value.reasons
        assert caught.value.exit_code == 3
        assert caught.value.verdict["verdict"]["passed"] is False
        assert state(mlflow_uri)[0] == before[0]
        if dry_run:
            assert state(mlflow_uri) == before
    last = history.entries(NAME, uri=mlflow_uri)[-1]
    assert (last["action"], last["version"], last["previous"], last["reason"]) == ("refuse", 2, 1, "please")
    assert reason in last["evidence"]["reasons"]


def test_a_refusal_in_the_ledger_stops_no_later_move(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a", correct=[70] * 10)
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    add_version(mlflow_uri, tmp_path / "b", correct=[60] * 10)
    with pytest.raises(Refusal):
        registry.promote(NAME, uri=mlflow_uri, reason="worse", policy=LENIENT)
    add_version(mlflow_uri, tmp_path / "c", correct=[80] * 10)
    registry.promote(NAME, uri=mlflow_uri, reason="better", policy=LENIENT)
    registry.rollback(NAME, uri=mlflow_uri, reason="back")

    assert champion(mlflow_uri) == 1
    lines = history.table(history.entries(NAME, uri=mlflow_uri)).splitlines()
    assert [line.split()[3] for line in lines] == ["action", "promote", "refuse", "promote", "rollback"]
    assert "SCORE_LOWER" in lines[2]
    assert "(worse)" in lines[2]


def test_scores_come_from_the_run_where_the_bundle_has_none(mlflow_uri: str, tmp_path: Path) -> None:
    made = add_version(mlflow_uri, tmp_path / "a", q3=None)
    client(mlflow_uri).log_metric(made["run_id"], "valid/q3", 0.75)
    assert (
        registry.promote(NAME, uri=mlflow_uri, reason="x", policy=LENIENT)["verdict"]["gates"][1]["evidence"][
            "candidate"
        ]
        == 0.75
    )


def test_a_dry_run_changes_nothing(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    before = state(mlflow_uri)
    result = registry.promote(NAME, uri=mlflow_uri, dry_run=True, policy=LENIENT)
    assert result["verdict"]["passed"]
    assert not result["changed"]
    assert state(mlflow_uri) == before


def test_promoting_the_champion_again_changes_nothing(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    before = state(mlflow_uri)
    assert not registry.promote(NAME, uri=mlflow_uri, reason="again", policy=LENIENT)["changed"]
    assert state(mlflow_uri) == before


def test_proposing_moves_the_candidate_only(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 2, uri=mlflow_uri, reason="first", policy=LENIENT)
    proposed = registry.propose(NAME, 1, uri=mlflow_uri, policy=LENIENT)
    assert proposed["verdict"]["passed"]
    assert proposed["verdict"]["to_check_at_promote"] == []
    assert history.show(NAME, uri=mlflow_uri)["aliases"] == {"candidate": 1, "champion": 2}
    with pytest.raises(TrackingError, match="no version 7"):
        registry.propose(NAME, 7, uri=mlflow_uri)


def test_an_alias_moved_outside_liftray_stops_everything(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 1, uri=mlflow_uri, reason="first", policy=LENIENT)
    client(mlflow_uri).set_registered_model_alias(NAME, "champion", "2")
    before = state(mlflow_uri)
    with pytest.raises(Refusal, match="ALIAS_MOVED"):
        registry.promote(NAME, 3, uri=mlflow_uri, reason="x", policy=LENIENT)
    with pytest.raises(Refusal, match="ALIAS_MOVED"):
        registry.rollback(NAME, uri=mlflow_uri, reason="x")
    assert state(mlflow_uri) == before


def test_entries_cut_off_the_ledgers_end_are_found(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 1, uri=mlflow_uri, reason="first", policy=LENIENT)
    registry.promote(NAME, 2, uri=mlflow_uri, reason="second", policy=LENIENT)
    client(mlflow_uri).delete_registered_model_tag(NAME, "liftray.ledger.000002")
    with pytest.raises(Refusal, match="ALIAS_MOVED"):
        registry.promote(NAME, 1, uri=mlflow_uri, reason="x", policy=LENIENT)


def test_a_move_that_was_recorded_but_not_made_can_be_finished(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    registry.promote(NAME, 1, uri=mlflow_uri, reason="first", policy=LENIENT)
    registry.promote(NAME, 2, uri=mlflow_uri, reason="second", policy=LENIENT)
    # As a process that died between its two writes leaves it.
    client(mlflow_uri).set_registered_model_alias(NAME, "champion", "1")
    assert registry.promote(NAME, 2, uri=mlflow_uri, reason="second", policy=LENIENT)["changed"]
    assert champion(mlflow_uri) == 2
    assert len(history.entries(NAME, uri=mlflow_uri)) == 2


def test_of_two_promoters_at_once_one_wins_and_the_other_is_refused(mlflow_uri: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_version(mlflow_uri, tmp_path / name)
    ready, results, recorded = threading.Barrier(2), [], []

    def work(version: int) -> None:
        ready.wait()
        try:
            results.append(
                registry.promote(NAME, version, uri=mlflow_uri, reason=f"number {version}", policy=LENIENT)
            )
        except Refusal as refusal:
            recorded.append(refusal.reasons)

    threads = [threading.Thread(target=work, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = ledger.read(client(mlflow_uri), mlflow_uri, NAME)
    assert len(results) + len(recorded) == 2
    assert [entry["version"] for entry in entries] == [result["version"] for result in results]
    assert champion(mlflow_uri) == entries[-1]["version"]
    assert all(reasons in (["CONCURRENT"], ["ALIAS_MOVED"]) for reasons in recorded)
