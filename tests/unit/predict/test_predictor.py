import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from liftray.backbone.packed import WindowLayout
from liftray.data.labels import decode
from liftray.errors import BundleError
from liftray.predict.fasta import BadChain
from liftray.predict.prediction import Prediction
from liftray.predict.predictor import Predictor
from tests.parts.tiny_tagger import FailingTagger, TinyTagger

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def random_chains(count: int, longest: int, seed: int = 0) -> list[tuple[str, str]]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest + 1, count)
    return [(f"c{n}", "".join(generator.choice(list(RESIDUES), length))) for n, length in enumerate(lengths)]


def predictions(predictor: Predictor, chains: list[tuple[str, str]]) -> list[Prediction]:
    results = list(predictor.predict(chains))
    assert all(isinstance(result, Prediction) for result in results)
    return [result for result in results if isinstance(result, Prediction)]


@pytest.mark.parametrize("alphabet", ["ss3", "ss8", "ss9"])
def test_one_prediction_a_chain_in_order_with_probabilities(alphabet: str) -> None:
    chains = random_chains(300, 150)

    results = predictions(Predictor(TinyTagger(alphabet), {}, tokens_per_batch=300), chains)

    assert [(result.id, result.sequence) for result in results] == chains
    for result in results:
        probabilities_LC = result.probabilities_LC
        assert probabilities_LC.dtype == np.float32
        assert len(result.states) == len(result.sequence) == len(probabilities_LC)
        np.testing.assert_allclose(probabilities_LC.sum(axis=1), 1, atol=1e-5)
        assert result.states == decode(probabilities_LC.argmax(axis=1), alphabet)


def test_results_do_not_depend_on_the_batch() -> None:
    chains = random_chains(60, 200)
    together = predictions(Predictor(TinyTagger(), {}, tokens_per_batch=4096), chains)
    small = predictions(Predictor(TinyTagger(), {}, tokens_per_batch=64), chains[::-1])[::-1]
    alone = [predictions(Predictor(TinyTagger(), {}), [chain])[0] for chain in chains]

    for one, two, three in zip(together, small, alone, strict=True):
        np.testing.assert_allclose(one.probabilities_LC, two.probabilities_LC, atol=1e-5)
        np.testing.assert_allclose(one.probabilities_LC, three.probabilities_LC, atol=1e-5)


def test_matches_the_model_run_by_hand() -> None:
    tagger = TinyTagger().eval()
    sequence = "MKTAYIAKQR"
    tokens_T = torch.as_tensor(tagger.tokens.encode(sequence))
    with torch.no_grad():
        logits_LC = tagger.logits(tokens_T, WindowLayout.of((len(tokens_T),)))[1:-1]

    [result] = predictions(Predictor(tagger, {"calibration": {"temperature": 2.0}}), [("a", sequence)])

    np.testing.assert_allclose(result.probabilities_LC, torch.softmax(logits_LC / 2, -1).numpy(), atol=1e-6)


def test_windows_change_nothing_where_the_model_sees_one_residue() -> None:
    chains = [("one", "M"), *random_chains(20, 500), ("titin-like", RESIDUES * 1750)]
    windowed = predictions(Predictor(TinyTagger(width=1, max_length=64), {}), chains)
    whole = predictions(Predictor(TinyTagger(width=1, max_length=40_000), {}), chains)

    for one, two in zip(windowed, whole, strict=True):
        np.testing.assert_allclose(one.probabilities_LC, two.probabilities_LC, atol=1e-5)


def test_window_context_reaches_over_its_scored_part() -> None:
    # Width 5 sees two residues each way; windows of 64 leave at least eight each way, so nothing is lost.
    chains = random_chains(5, 1000)
    windowed = predictions(Predictor(TinyTagger(max_length=64), {}), chains)
    whole = predictions(Predictor(TinyTagger(max_length=1000), {}), chains)

    for one, two in zip(windowed, whole, strict=True):
        np.testing.assert_allclose(one.probabilities_LC, two.probabilities_LC, atol=1e-5)


def test_batches_keep_to_the_budget() -> None:
    tagger = TinyTagger(max_length=64)
    list(Predictor(tagger, {}, tokens_per_batch=256).predict(random_chains(200, 300)))

    assert max(chains * width for chains, width in tagger.seen) <= 256
    assert max(width for _, width in tagger.seen) <= 66
    assert max(chains for chains, _ in tagger.seen) > 1


def test_bad_chains_keep_their_place() -> None:
    chains = [("a", "MKT"), ("gap", "M-T"), ("b", "acd*"), ("none", ""), ("c", "G")]

    results = list(Predictor(TinyTagger(), {}).predict(chains))

    assert [result.id for result in results] == ["a", "gap", "b", "none", "c"]
    assert [result.reason for result in results if isinstance(result, BadChain)] == ["gap", "empty"]
    assert [result.sequence for result in results if isinstance(result, Prediction)] == ["MKT", "ACD", "G"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("shape mismatch"), "model-failed"),
        (IndexError("index out of range in self"), "model-failed"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out-of-memory"),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
            "out-of-memory",
        ),
    ],
)
def test_a_chain_that_fails_does_not_take_others_along(error: Exception, reason: str) -> None:
    tagger = FailingTagger()
    tagger.error = error
    chains = [
        ("a", "MKT"),
        ("fails", "MWT"),
        ("b", "ACD"),
        ("nan", "CCC"),
        ("long", "A" * 100 + "W"),
        ("c", "GG"),
    ]

    results = list(Predictor(tagger, {}).predict(chains))

    message = [(result.id, result.reason if isinstance(result, BadChain) else "") for result in results]
    expected = [("a", ""), ("fails", reason), ("b", ""), ("nan", "not-finite"), ("long", reason), ("c", "")]
    assert message == expected


def test_an_endless_stream_is_read_only_a_little_ahead() -> None:
    taken = 0

    def endless() -> Iterator[tuple[str, str]]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield f"c{number}", "MKT"

    results = Predictor(TinyTagger(), {}).predict(endless())

    assert [result.id for result in itertools.islice(results, 300)] == [f"c{n}" for n in range(300)]
    assert taken <= 512


def test_no_chains_give_nothing() -> None:
    assert list(Predictor(TinyTagger(), {}).predict([])) == []


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), "1"])
def test_bad_temperature_is_refused(temperature: object) -> None:
    with pytest.raises(BundleError, match="temperature"):
        Predictor(TinyTagger(), {"calibration": {"temperature": temperature}})


def test_model_is_put_into_evaluation_mode() -> None:
    predictor = Predictor(TinyTagger().train(), {})
    first, second = (predictions(predictor, [("a", "MKTAYI")])[0].probabilities_LC for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_prediction_imports_no_orchestration(tmp_path: Path) -> None:
    (tmp_path / "in.fasta").write_text(">a\nMKTAYI\n>b\nACD\n")
    program = f"""
import sys
from liftray.predict.model import Model
from liftray.predict.predict_job import predict_files
from liftray.predict.prediction import ModelStamp
from liftray.predict.predictor import Predictor
from liftray.predict.writers import FORMATS
from tests.parts.tiny_tagger import TinyTagger
stamp = ModelStamp("tiny", "1", "0" * 64, "ss9", "dssp")
model = Model(Predictor(TinyTagger(), {{}}), stamp)
out = predict_files(model, [{str(tmp_path / "in.fasta")!r}], {str(tmp_path / "out")!r}, list(FORMATS))
print(out["predicted"], sorted({{"ray", "deepspeed", "mlflow"}} & set(sys.modules)))
"""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.stdout.strip() == "2 []", done.stderr
