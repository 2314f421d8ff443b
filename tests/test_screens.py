"""The default output of six conversions: one screen each, and the first line says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.rendering import SCREEN, screen
from converter.report import Remark
from tests import screens
from tests.reports import judged

FIRST = {
    "equal": "digits_cnn -> torch: equal. It rests on float64: keras source and torch agree to 1e-10.",
    "weak": "weak -> torch: WEAK EVIDENCE (output moves by 0.0e+00 of its size with the input); equal. It rests on ",
    "unequal": "mlp -> torch: NOT EQUAL. ",
    "refused": "kconvert: 80 parts of the model are not supported, of 3 kinds:",
    "repaired": "digits_legacy -> torch: equal. It rests on ",
    "chaotic": "chaotic -> torch: CHAOTIC IN FLOAT32 (the source's own float32 answers are ",
}
SAID = {
    "equal": ["worst ", "15 bit by bit", "ends in softmax", "compile(): optimizer Adam", "N,H,W,C -> N,C,H,W"],
    "weak": ["--inputs FILE.npz"],
    "unequal": ["differs ", "hidden.weight: 1 of 4096 elements differ", "nothing; --keep-going"],
    "refused": ["LSTM: 78 calls, first in 'stage0_lstm0'", "GRU 'gru'", "Lambda 'anything'"],
    "repaired": ["repaired ", "the proof does not judge them"],
    "chaotic": ["float64"],
}
CODES = {"unequal": 1, "refused": 3}


@pytest.mark.parametrize("kind", screens.KINDS)
def test_one_screen(kind: str, tmp_path: Path) -> None:
    code, out, err = screens.screen(kind, tmp_path)
    shown = (err if kind == "refused" else out).splitlines()
    assert code == CODES.get(kind, 0), out + err
    assert shown[0].startswith(FIRST[kind])
    files = [line for line in shown if str(tmp_path) in line]
    assert len(shown) - len(files) <= SCREEN
    assert len(files) == (0 if code else 3)
    for words in SAID[kind]:
        assert any(words in line for line in shown), (words, shown)
    if kind != "refused":
        assert err == ""


@pytest.mark.parametrize(("kind", "code"), [("equal", 0), ("weak", 0), ("unequal", 1), ("chaotic", 0)])
def test_quiet_prints_the_verdict_where_it_is_not_plainly_equal(kind: str, code: int, tmp_path: Path) -> None:
    done, out, err = screens.screen(kind, tmp_path, "-q")
    assert (done, err) == (code, "")
    assert out.splitlines() == ([] if kind == "equal" else out.splitlines()[:1])
    assert out.startswith("" if kind == "equal" else FIRST[kind])


def test_a_required_proof_is_not_weak(tmp_path: Path) -> None:
    code, out, err = screens.screen("weak", tmp_path, "--require-proof", "--report", str(tmp_path / "r.json"))
    assert code == 1
    assert "WEAK EVIDENCE" in out
    assert "weak" in err
    assert not (tmp_path / "weak_out").exists()
    assert '"exit_code": 1' in (tmp_path / "r.json").read_text()


def test_verbose_has_every_figure_and_place(tmp_path: Path) -> None:
    code, out, _ = screens.screen("repaired", tmp_path, "-v")
    assert code == 0
    for words in ("keras source", "onnxruntime", "float64", "own rounding", "seed [0, 3]", "numpy ", "proof 1e-10"):
        assert words in out
    assert "stem/leaky" in out


def test_a_changed_number_of_trainable_parameters_stands_in_the_first_line() -> None:
    counts = {"source": 1024, "target": 2048, "why": ["b: shares 'a' with it; in Keras each has its own"]}
    shown = screen(judged(trainable=counts))
    assert "TRAINABLE PARAMETERS CHANGED (1,024 in the source, 2,048 in the target); equal." in shown[0]
    assert any("shares 'a'" in line for line in shown)
    assert "TRAINABLE" not in screen(judged(trainable={**counts, "target": 1024}))[0]
    assert "TRAINABLE" not in screen(judged(trainable={**counts, "target": None}))[0]


def test_however_much_there_is_to_say_it_is_one_screen() -> None:
    report = judged(weak=["y"], trainable={"source": 1, "target": 2, "why": [f"why {i}" for i in range(30)]})
    for name in ("repairs", "notes", "warnings", "dropped", "turns", "unsupported"):
        setattr(report, name, [Remark(f"l{i}", f"{name} of the kind {'x' * i}") for i in range(40)])
    shown = screen(report, ["a.py", "a.safetensors"])
    assert len(shown) == SCREEN + 2
    assert all("\n" not in line for line in shown)
    assert any("more; -v prints them" in line for line in shown)
    assert len(screen(report, verbose=True)) > 200
