"""The report as data, and its forms: JSON by its schema, JUnit, Markdown, HTML, remarks in groups."""

from __future__ import annotations

import copy
import json
import pickle
from importlib import resources
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import keras
import pytest

import converter
from converter.dropped import dropped_of
from converter.errors import BadInput, Item, Unsupported
from converter.junit import junit
from converter.markdown import code, markdown
from converter.page import page
from converter.rendering import grouped, refusal, screen
from converter.report import Remark, Report, sha256_of
from tests.reports import judged

HOSTILE = "</script><img src=x onerror=alert(1)> `|` [a](javascript:b) @someone \x1b[2J \x00 \ud800 ]]> &amp;\n# Head"


def schema() -> Any:
    return json.loads(resources.files("converter").joinpath("report.schema.json").read_text())


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  our own


def valid(report: Report) -> Any:
    data = json.loads(report.to_json())
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(data, schema())
    return data


def test_a_real_report_and_every_outcome_fit_the_schema() -> None:
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Dense(2, name="fc")(x))
    assert valid(converter.convert(model, "torch").report)["outcome"] == "equal"
    assert valid(converter.convert(model, "torch", verify=False).report)["outcome"] == "not verified"
    assert valid(judged(passed=False))["outcome"] == "not equal"
    found = {
        valid(Report.of_failure("net", "torch", error))["outcome"]: Report.of_failure("net", "torch", error).exit_code
        for error in (BadInput("no"), Unsupported([Item("a", "LSTM", "no.")]), ValueError("oops"))
    }
    assert found == {"bad input": 4, "unsupported": 3, "internal error": 70}
    odd = judged(max_rel="nan", chaotic={"y": float("inf")}, trainable={"source": 1, "target": 2, "why": ["tied"]})
    assert valid(odd)["chaotic"] == {"y": "inf"}


def test_the_schema_has_every_field() -> None:
    assert set(schema()["properties"]) == set(Report("a", "torch").to_dict())


def test_proven_is_proof_on_inputs_that_matter() -> None:
    assert judged().proven
    assert not judged(weak=["y"]).proven
    assert not judged(proof=False).proven
    assert not judged(passed=False).proven
    assert not Report("a", "torch").proven


def test_junit_has_a_case_for_each_rung_and_output_and_one_for_the_weights() -> None:
    suite = parsed(junit(judged())).find("testsuite")
    assert suite is not None
    cases = [(case.get("classname"), case.get("name")) for case in suite.findall("testcase")]
    assert cases == [
        ("keras source (cpu, float32)", "y"),
        ("onnxruntime (cpu, float32)", "y"),
        ("torch (cpu, float64)", "y"),
        ("torch (cpu, float32)", "y"),
        ("weights", "4 bit by bit"),
    ]
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "0", "0", "1"]


def test_junit_fails_for_inequality_and_errs_for_what_was_not_judged() -> None:
    failed = parsed(junit(judged(passed=False)))
    assert (failed.get("failures"), failed.get("errors")) == ("1", "0")
    weights = judged(wrong=("fc.weight: 3 of 4 elements differ",))
    assert [each.text for each in parsed(junit(weights)).iter("failure")] == ["fc.weight: 3 of 4 elements differ"]
    items = [Item(f"l{i}", "LSTM", "no.") for i in range(3)]
    refused = parsed(junit(Report.of_failure("net", "torch", Unsupported(items))))
    assert (refused.get("tests"), refused.get("errors")) == ("3", "3")
    for error in (BadInput("unreadable"), KeyError("ours")):
        root = parsed(junit(Report.of_failure("net", "torch", error)))
        assert (root.get("failures"), root.get("errors")) == ("0", "1")
    required = judged(weak=["y"])
    required.exit_code, required.error = 1, "A proof was required, and the evidence is weak."
    assert parsed(junit(required)).get("failures") == "1"


@pytest.mark.parametrize("form", [Report.to_json, junit, markdown, page, lambda r: "\n".join(screen(r))])
def test_text_of_a_model_is_nothing_but_text(form: Any) -> None:
    report = judged(output=HOSTILE, wrong=(HOSTILE,))
    report.source = HOSTILE
    report.warnings, report.repairs = [HOSTILE], [Remark(HOSTILE, HOSTILE)]
    report.error = HOSTILE
    text = form(report).encode("utf-8", "replace").decode()
    if form is junit:
        parsed(text)
    if form is page:
        assert "<img" not in text
        assert "<script" not in text
    if form is markdown:
        assert not any(line.lstrip("- ").startswith("#") for line in text.splitlines()[1:])
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert {row.replace("\\|", "").count("|") for row in rows} == {6}
    if form is Report.to_json:
        assert json.loads(form(report))


def test_a_code_span_cannot_be_left() -> None:
    assert code("a") == "`a`"
    assert code("a`b``c") == "```a`b``c```"
    assert code("`a") == "`` `a ``"
    assert code("a\n\n# b") == "`a # b`"


def test_forms_are_the_same_for_the_same_report() -> None:
    for form in (Report.to_json, junit, markdown, page):
        assert form(judged()) == form(judged())


def test_remarks_are_lines_that_know_their_place() -> None:
    remark = Remark("bn1", "axis=[3] is now axis=3")
    assert str(remark) == "bn1: axis=[3] is now axis=3"
    assert str(Remark("", "all of it")) == "all of it"
    for copied in (copy.deepcopy(remark), pickle.loads(pickle.dumps(remark))):  # noqa: S301  our own
        assert (copied, copied.where, copied.text) == (remark, "bn1", "axis=[3] is now axis=3")
    report = Report("a", "torch", notes=[("fc", "frozen"), "plain", remark])  # type: ignore[list-item]
    assert [getattr(note, "where", None) for note in report.notes] == ["fc", None, "bn1"]


def test_equal_remarks_are_counted() -> None:
    many = [Remark(f"bn{i}", "axis=[3] is now axis=3") for i in range(52)]
    assert grouped([*many, "plain"]) == ["axis=[3] is now axis=3: 52 layers", "plain"]
    assert grouped(many[:2]) == ["bn0, bn1: axis=[3] is now axis=3"]
    assert "bn51" in grouped(many, names=True)[0]


def test_remarks_that_differ_in_numbers_are_one_where_many_are_left() -> None:
    lines = [Remark(f"c{i}", f"nb_filter={i} is now filters={i}") for i in range(9)]
    assert grouped(lines) == ["nb_filter=0 is now filters=0 (and alike): 9 layers"]
    assert len(grouped(lines, names=True)) == 9


def test_refusals_are_grouped_and_items_are_complete() -> None:
    items = [Item(f"stage{i}/split", "tf.split", "it has no mapping.", "Use layers.Split.") for i in range(80)]
    error = Unsupported([*items, Item("m", "LSTM", "no.")])
    assert len(error.items) == 81
    assert str(error).splitlines() == [
        "81 parts of the model are not supported, of 2 kinds:",
        "  - tf.split: 80 calls, first in 'stage0/split': it has no mapping. Use layers.Split.",
        "  - LSTM 'm': no.",
    ]
    assert len(refusal(error, verbose=True)) == 82
    kinds = Unsupported([Item("x", f"Op{i}", "no.") for i in range(40)])
    assert len(refusal(kinds)) == 15
    assert "27 kinds" in refusal(kinds)[-1]


def test_what_is_dropped_is_named() -> None:
    L = keras.layers
    x = keras.Input((8,), name="x")
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4, activity_regularizer="l1", name="deep")])
    y = L.Dense(4, kernel_regularizer="l2", bias_constraint="non_neg", kernel_initializer="he_normal", name="fc")(x)
    model = keras.Model(x, inner(y))
    model.compile(optimizer="sgd", loss="mse")
    found = converter.convert(model, "torch", verify=False).report.dropped
    assert "compile(): optimizer SGD, loss mse" in found
    assert "fc: kernel_regularizer L2" in found
    assert "fc: bias_constraint NonNeg" in found
    assert "deep: activity_regularizer L1" in found
    assert any("HeNormal" in line and "Zeros" in line for line in found)
    plain = keras.Model(x, L.ReLU()(x))
    assert dropped_of(plain, {}) == []


def test_the_source_file_is_named_by_its_sum(tmp_path: Any) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path) == ""
