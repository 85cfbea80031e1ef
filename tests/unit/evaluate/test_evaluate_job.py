import json
from html.parser import HTMLParser

import pyarrow.parquet as pq
import pytest

from liftray.data.dataset import ProteinDataset
from liftray.errors import ConfigError
from liftray.evaluate.evaluate_job import evaluate, short_names
from liftray.evaluate.evaluation_report import render_markdown
from liftray.predict.predictor import Predictor
from liftray.predict.training_sketch import sketch
from tests.parts import tiny
from tests.parts.tiny_tagger import TinyTagger

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Collects what a browser would see, and checks that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def predictor(alphabet="ss9", ss3_map="dssp", seed=0):
    return Predictor(TinyTagger(alphabet, seed=seed), {"ss3_map": ss3_map, "run_id": HOSTILE})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    made = {
        "train": tiny.chains([60, 80, 50, 90], seed=1, alphabet="ss9", name="t"),
        "one": tiny.chains([40, 55, 120, 33, 70], seed=2, alphabet="ss9", name="a"),
        "two": tiny.chains([45, 38, 66], seed=3, alphabet="ss9", name="b"),
    }
    return {name: tiny.dataset(folder / name, chains, "ss9") for name, chains in made.items()}


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    sets = {"one": data["one"], "a/b": data["two"], "a_b": data["two"]}
    result = evaluate(
        predictor(), sets, out, against=predictor(seed=1), train=[data["train"], data["one"]],
        resamples=100, model="ours", other=HOSTILE,
    )  # fmt: skip
    return result, out, Page((out / "report.html").read_text())


def test_files_hold_what_is_returned(results):
    result, out, _ = results
    assert list(result) == ["verdict", "metrics", "baselines", "leakage", "against", "paired"]
    rest = {name: part for name, part in result.items() if name != "verdict"}
    assert json.loads((out / "metrics.json").read_text()) == rest
    summary = json.loads((out / "summary.json").read_text())
    assert summary["metrics"] == result["metrics"]
    assert summary["verdict"] == result["verdict"]
    assert (summary["model"], summary["other"]) == ("ours", HOSTILE)
    assert set(result["baselines"]) == {"majority", "windowed_linear"}
    assert result["leakage"]["one"]["leaky"]
    assert result["paired"]["one"]["q9"].keys() == {"difference", "ci95", "p", "p_holm"}


def test_the_page_begins_with_the_verdict_against_the_best_baseline(results):
    result, _, page = results
    sentence = result["verdict"]["sentence"]
    assert result["verdict"]["set"] in ("a/b", "a_b")  # "one" is leaky
    assert sentence.startswith(f"On {result['verdict']['set']} (3 chains), ours is not better than ")
    words = " ".join(" ".join(page.words).split())
    assert words.index(sentence) < words.index("temperature")
    best = max(
        result["baselines"], key=lambda name: result["baselines"][name][result["verdict"]["set"]]["q9"]
    )
    assert result["verdict"]["baseline"] == best


def test_the_difference_is_that_of_the_two_scores(results):
    result, _, _ = results
    for name, paired in result["paired"].items():
        for score in ("q9", "q3_lift", "macro_f1", "sov99", "sov_refine", "nll"):
            ours, theirs = result["metrics"][name][score], result["against"][name][score]
            assert paired[score]["difference"] == pytest.approx(ours - theirs)


def test_every_chain_has_a_row_with_both_models(results):
    _, out, _ = results
    rows = pq.read_table(out / "per_protein.parquet").to_pylist()
    assert [row["set"] for row in rows] == ["one"] * 5 + ["a/b"] * 3 + ["a_b"] * 3
    assert all(0 <= row["q9_against"] <= 1 for row in rows)


def test_the_page_needs_nothing_from_outside_and_runs_nothing(results):
    _, out, page = results
    assert not page.all("script")
    assert not page.all("link")
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert "http" not in "".join(page.words)
    assert "url(" not in (out / "report.html").read_text()
    assert HOSTILE in " ".join(page.words)  # escaped, so shown as it is


def test_the_page_can_be_read_without_seeing_it(results):
    _, _, page = results
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("img")) == 4 * 3 + 4 + 3 + 3  # four plots a set, and the chains drawn
    assert all(len(image["alt"]) > 30 for image in page.all("img"))
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    anchors = {element["id"] for _, element in page.elements if "id" in element}
    assert {link["href"][1:] for link in page.all("a")} <= anchors
    labels = [element["aria-labelledby"] for _, element in page.elements if "aria-labelledby" in element]
    assert set(labels) <= anchors


def test_the_page_shows_the_scores(results):
    result, _, page = results
    words = " ".join(" ".join(page.words).split())
    for scores in (
        *result["metrics"].values(),
        *result["against"].values(),
        *result["baselines"]["majority"].values(),
    ):
        for score in ("q9", "q8", "q3_dssp", "q3_lift", "macro_f1", "mcc", "sov99", "sov_refine", "ece"):
            assert f"{100 * scores[score]:.2f}" in words
    assert "one is leaky:" in words


def test_the_same_results_give_the_same_page(data, tmp_path):
    for name in ("first", "second"):
        evaluate(predictor("ss3"), {"two": data["two"]}, tmp_path / name, resamples=100)
    first, second = ((tmp_path / name / "report.html").read_bytes() for name in ("first", "second"))
    assert first == second


def test_without_training_data_and_a_second_model_less_is_reported(data, tmp_path):
    result = evaluate(predictor("ss3"), {"two": data["two"]}, tmp_path, resamples=100)
    assert set(result) == {"verdict", "metrics"}
    page = Page((tmp_path / "report.html").read_text())
    words = " ".join(page.words)
    assert result["verdict"]["better"] is None
    assert "No verdict: this model was compared with no baseline; give the model's training sets" in words
    assert "Not checked" in words
    assert "chain by chain" not in words
    assert "q3_against" not in pq.read_table(tmp_path / "per_protein.parquet").column_names
    assert len(page.all("img")) == 3 + 3


def test_models_of_different_tasks_are_compared_by_the_map_of_ours(data, tmp_path):
    sets = {"two": data["two"]}
    result = evaluate(
        predictor("ss3", "lift"), sets, tmp_path, against=predictor("ss9", "dssp"), resamples=100
    )  # fmt: skip
    assert "q9" not in result["paired"]["two"]
    assert result["against"]["two"]["q3"] == result["against"]["two"]["q3_lift"]


def test_a_three_state_model_of_another_map_is_refused_before_anything_is_written(data, tmp_path):
    with pytest.raises(ConfigError, match="cannot be compared by the map dssp"):
        evaluate(
            predictor("ss9"),
            {"two": data["two"]},
            tmp_path / "out",
            against=predictor("ss3", "lift"),
            resamples=100,
        )
    assert not (tmp_path / "out").exists()


def test_models_are_named_by_uri_or_the_end_of_their_path(tmp_path):
    one, two, three = (str(tmp_path / name / "bundle") for name in ("a", "b", "c/a"))
    assert short_names("models:/name@champion", one) == ["models:/name@champion", "a/bundle"]
    assert short_names(one, two) == ["a/bundle", "b/bundle"]
    assert short_names(one, three) == [one, three]


def trained_on(data, *, sketched: bool) -> Predictor:
    """A model whose bundle says that it was trained on the set `one`."""
    model = predictor()
    dataset = ProteinDataset.open(data["one"])
    model.info["data"] = {"train": {"mine": dataset.digest}}
    if sketched:
        model.training = (sketch(record.sequence for record in dataset.iter_records()),)
    return model


@pytest.mark.parametrize("sketched", [True, False])
@pytest.mark.parametrize("train", ["two", None])
def test_leakage_is_checked_without_the_training_set_or_with_another(data, sketched, train):
    given = [data[train]] if train else []
    result = evaluate(
        trained_on(data, sketched=sketched), {"own": data["one"]}, None, train=given, resamples=50
    )
    own = result["leakage"]["own"]
    assert (own["share"], own["leaky"], own["training_set"]) == (1.0, True, "mine")
    if train:
        assert "own (5 chains, the model's own training set mine)" in result["verdict"]["sentence"]
    assert "The model was trained on these sets: own is mine." in render_markdown(
        result["metrics"], leakage=result["leakage"]
    )


def test_a_set_is_clean_only_if_bundle_and_training_sets_say_so(data):
    sets = {"own": data["one"], "two": data["two"]}
    leaks = evaluate(trained_on(data, sketched=True), sets, None, resamples=50)["leakage"]
    assert {name: leaked["leaky"] for name, leaked in leaks.items()} == {"own": True, "two": False}
    leaks = evaluate(trained_on(data, sketched=True), sets, None, train=[data["two"]], resamples=50)[
        "leakage"
    ]
    assert all(leaked["leaky"] for leaked in leaks.values())
    assert "leakage" not in evaluate(predictor(), sets, None, resamples=50)
