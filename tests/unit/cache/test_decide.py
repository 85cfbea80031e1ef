"""Whether storing the frozen prefix pays: the prediction's sums, and the room that there is."""

from dataclasses import replace
from pathlib import Path

from liftray.adapt.cut import Cut
from liftray.backbone.sources import resolve
from liftray.cache import decide, fill
from liftray.cache.decide import Choice, Rates, Work
from tests.parts import tiny

# 10,000 residues at 1,000/s: 10 s an epoch on one worker; 4 MB written and read at 1 MB/s.
_WORK = Work(residues=10_000, missing=10_000, row_bytes=400, epochs=2, workers=1)
_RATES = Rates(residues_per_s=1_000, read_bytes_per_s=1e6, write_bytes_per_s=1e6, start_s=5)


def test_two_epochs_are_computed_sooner_and_ten_are_read_sooner() -> None:
    # Computing 20 s; filling 5 + 10 + 4 and reading 8 s. Ten epochs: 100 s against 19 + 40.
    assert not decide.predict(_WORK, _RATES).use
    ten = decide.predict(replace(_WORK, epochs=10), _RATES)
    assert ten.use
    assert (
        "compute the frozen blocks for 100.0 s, or to fill the cache for 19.0 s and read it for 40.0 s"
        in ten.why
    )


def test_what_is_stored_already_is_not_filled_again() -> None:
    stored = decide.predict(replace(_WORK, missing=0), _RATES)
    assert stored.use
    assert "fill the cache for 5.0 s" in stored.why


def test_workers_share_the_blocks_but_not_the_disk() -> None:
    shared = decide.predict(replace(_WORK, epochs=10, workers=10), _RATES)
    assert not shared.use
    assert "blocks for 10.0 s, or to fill the cache for 10.0 s and read it for 40.0 s" in shared.why


def test_room_that_other_fills_will_take_is_not_free(tmp_path: Path) -> None:
    chosen = tiny.settings(
        cache__enabled=True, cache__dir=str(tmp_path / "cache"), adapter__skip_layers=1, data__max_length=120
    )
    source = tiny.write_backbone(tmp_path / "esm", "esm")
    train = tiny.dataset(tmp_path / "t", tiny.chains([20, 70], seed=1))
    feed = tiny.feed_spec({"t": train}, {"v": train}, chosen, source)
    backbone = resolve([source])
    prefix = fill.place(
        feed,
        fill.key_of(backbone, Cut(1, 1, tiny.BLOCKS), "float32", chosen.cache, use_gpu=False),
        chosen.cache,
    )

    def choose(promised: int) -> Choice:
        return decide.choose(prefix, feed, backbone, chosen.cache, chosen.scaling, 3, promised)

    free = choose(0)
    assert free.use
    assert free.writes >= 90 * prefix.key.row_bytes
    full = choose(1 << 60)
    assert not full.use
    assert "GB are free" in full.why
