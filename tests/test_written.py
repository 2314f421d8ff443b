"""What is written: its dtypes, its names, the same bytes each time, and the weights as they are when it is written."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
import torch
from torch import nn

import converter
from converter import errors
from converter.judge.run_keras import float64_keras

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
FRESH = (
    "import importlib.util, sys\nimport numpy as np, torch, safetensors.torch\n"
    "spec = importlib.util.spec_from_file_location('net', sys.argv[1])\nnet = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(net)\nmodel = net.Model()\n"
    "model.load_state_dict(safetensors.torch.load_file(sys.argv[1][:-3] + '.safetensors'))\n"
    "x = torch.from_numpy(np.load(sys.argv[2])).to(getattr(torch, sys.argv[3]))\n"
    "y = model.eval()(x).detach()\nprint(y.dtype)\nnp.save(sys.argv[4], y.double().numpy())\n"
)


def run(*arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def network(dtype: str) -> Any:
    """Convolution, normalisations with and without weights of their own, and a dense head, in one dtype."""
    L = keras.layers
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((9, 8, 3), dtype=dtype, name="image")
    x = L.Conv2D(4, 3, dtype=dtype, name="conv")(x)
    x = L.BatchNormalization(dtype=dtype, scale=False, name="bn")(x)
    x = L.PReLU(dtype=dtype, shared_axes=[1, 2], name="slope")(x)
    x = L.LayerNormalization(dtype=dtype, name="norm")(x)
    x = L.GlobalAveragePooling2D(dtype=dtype, name="pool")(x)
    return keras.Model(inputs, L.Dense(3, dtype=dtype, name="fc")(x), name="net")


@pytest.mark.parametrize("dtype, step", [("float64", 1e-13), ("float16", 4e-3), ("bfloat16", 3e-2)])
def test_files_of_every_dtype_answer_in_a_fresh_process(dtype: str, step: float, tmp_path: Path) -> None:
    """The text makes the parameters in the dtype of their weights: the files load strictly, run, and answer in it."""
    model = network(dtype)
    made = converter.convert(model, "torch", verify=False)
    made.save(tmp_path / "net.py")
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3))
    want = keras.ops.convert_to_numpy(keras.ops.cast(model(keras.ops.cast(x, dtype)), "float32"))
    if dtype == "float64":
        with float64_keras():  # Keras's normalisations compute in float32 on torch, whatever their dtype
            want = keras.ops.convert_to_numpy(model(x))
    np.save(tmp_path / "x.npy", x.transpose(0, 3, 1, 2).copy())
    done = run("-c", FRESH, tmp_path / "net.py", tmp_path / "x.npy", dtype, tmp_path / "y.npy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"torch.{dtype}"
    assert np.abs(np.load(tmp_path / "y.npy") - want).max() < step
    shown = run("net.py", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == "(1, 3)"


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_a_module_of_another_dtype_becomes_layers_of_it(dtype: str, tmp_path: Path) -> None:
    kind = getattr(torch, dtype)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(168, 2)).to(kind).eval()
    x = torch.randn(2, 3, 9, 8).to(kind)
    made = converter.convert(module, "keras", example_inputs=(x,), verify=False)
    made.save(tmp_path / "net.keras")
    model = keras.saving.load_model(tmp_path / "net.keras")
    assert {str(weight.dtype) for weight in model.weights} == {dtype}
    with float64_keras():  # on torch Keras adds a bias in float32, whatever the layer's dtype
        answer = model(x.permute(0, 2, 3, 1).contiguous())
    assert answer.dtype == kind
    limit = {"float64": 1e-13, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    assert (answer - module(x)).abs().max() < limit


def test_the_command_judges_the_files_themselves(tmp_path: Path) -> None:
    """A fault between the model in memory and the files is the judge's to find: nothing is written then."""
    code = (
        "import sys\nimport numpy as np\nfrom converter import saving\nfrom converter.cli import main\n"
        "usual = saving.save_tensors\n"
        "def wrong(path, tensors, metadata=None):\n"
        "    tensors = [(k, v + np.float32(0.01) if k == 'fc1.weight' else v) for k, v in tensors]\n"
        "    usual(path, tensors, metadata)\n"
        "saving.save_tensors = wrong\nmain(sys.argv[1:])\n"
    )
    done = run("-c", code, FIXTURES / "digits_cnn.keras", "--to", "torch", cwd=tmp_path)
    assert done.returncode == 1, done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == []


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def heads() -> nn.Module:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop = nn.Conv2d(3, 4, 3), nn.Dropout(0.3)
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            x = self.drop(self.conv(image).mean((2, 3)))
            return {"cls": self.a(x), "box": self.b(x)}

    torch.manual_seed(0)
    return Heads().eval()


def test_same_file_same_bytes(tmp_path: Path) -> None:
    """In every format, in processes with other hashes and other addresses."""
    program = torch.export.export(heads(), (torch.zeros(2, 3, 9, 8),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "heads.pt2")
    code = (
        "import sys\nfrom converter import convert\nsource, heads = sys.argv[1:]\n"
        "made = convert(source, 'torch', verify=False)\n"
        "for name in ('n.py', 'n.pt2', 'n.onnx', 'folder'):\n    made.save(name)\n"
        "made = convert(heads, 'keras', verify=False)\n"
        "for name in ('h.keras', 'h.onnx'):\n    made.save(name)\n"
        "convert(heads, 'onnx', verify=False).save('g.onnx')\n"
    )
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        done = run("-c", code, FIXTURES / "digits_cnn.keras", tmp_path / "heads.pt2", cwd=folder, PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
        found.append({str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*.*")) if p.is_file()})
    assert found[0] == found[1]
    assert len(found[0]) == 11
    assert found[0]["h.onnx"] == found[0]["g.onnx"]


def test_onnx_bears_the_source_s_names_and_axis_order() -> None:
    """Keys of a dict, layer names, the names of forward's parameters; channels first by default, on either road."""

    def names(model: Any) -> tuple[list[str], list[str]]:
        return [i.name for i in model.graph.input], [o.name for o in model.graph.output]

    def lengths(model: Any) -> list[int]:
        return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]

    L = keras.layers
    x = keras.Input((9, 8, 3), name="picture")
    y = L.GlobalAveragePooling2D(name="pool")(L.Conv2D(4, 3, name="conv")(x))
    head = L.Dense(2, activation="softmax", name="cls_head")
    model = keras.Model(x, {"cls": head(y), "conv": L.Dense(3, name="other")(y)})
    for to in ("onnx", "torch"):
        made = converter.convert(model, to, verify=False).onnx
        assert names(made) == (["picture"], ["cls", "conv"])
        assert lengths(made) == [3, 9, 8]
        onnx.checker.check_model(made, full_check=True)
        kept = converter.convert(model, to, layout="source", verify=False).onnx
        assert lengths(kept) == [9, 8, 3]
    assert names(converter.convert(keras.Model(x, [head(y), y]), "onnx", verify=False).onnx)[1] == ["cls_head", "pool"]
    ids, width = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras would rather have the names of the layers as keys
        keyed = keras.Model({"ids": ids, "width": width}, L.Add(name="sum")([ids, width]))
    assert names(converter.convert(keyed, "onnx", verify=False).onnx) == (["ids", "width"], ["sum"])
    image = (torch.zeros(2, 3, 9, 8),)
    for to in ("onnx", "keras"):
        made = converter.convert(heads(), to, example_inputs=image, verify=False).onnx
        assert names(made) == (["image"], ["box", "cls"])
        assert lengths(made) == [3, 9, 8]
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert names(converter.convert(plain, "onnx", example_inputs=image, verify=False).onnx)[1] == ["output"]


def small() -> Any:
    L = keras.layers
    x = keras.Input((6, 5, 2), name="x")
    y = L.BatchNormalization(name="bn")(L.Conv2D(3, 2, name="conv")(x))
    return keras.Model(x, L.Dense(4, name="fc")(L.Flatten(name="flat")(y)), name="small")


def onnx_answer(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
    return answer


def test_weights_are_written_as_they_are_now_from_torch(tmp_path: Path) -> None:
    """A fine-tuned model, in every format; the report that is written says that the proof is of other weights."""
    made = converter.convert(small(), "torch")
    assert made.report.passed
    before = json.loads(made.report.to_json())
    model = made.model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(8, 2, 6, 5)).square().mean().backward()
    optimizer.step()
    x = torch.randn(3, 2, 6, 5)
    for name in ("net.py", "net.pt2", "net.onnx", "folder"):
        made.save(tmp_path / name)
    assert model.training
    want = copy.deepcopy(model).eval()(x).detach()
    got = torch.export.load(tmp_path / "net.pt2").module()(x)
    torch.testing.assert_close(got, want)
    assert np.abs(onnx_answer(tmp_path / "net.onnx", x.numpy()) - want.numpy()).max() < 1e-5
    from safetensors.torch import load_file

    for path in ("net.safetensors", "folder/model.safetensors"):
        state = load_file(tmp_path / path)
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    report = json.loads((tmp_path / "folder" / "report.json").read_text())
    assert before["passed"] is True
    assert report["passed"] is None
    assert "changed after the proof" in report["rests_on"]
    assert not report["proof"]


def test_weights_are_written_as_they_are_now_from_keras(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4)).eval()
    made = converter.convert(module, "keras", example_inputs=(torch.zeros(2, 2, 6, 5),))
    assert made.report.passed
    model = made.model
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(16, 6, 5, 2)), rng.normal(size=(16, 4)), verbose=0)
    x = rng.normal(size=(3, 6, 5, 2)).astype("float32")
    want = keras.ops.convert_to_numpy(model(x, training=False))
    for name in ("net.keras", "net.onnx", "folder"):
        made.save(tmp_path / name)
    for path in ("net.keras", "folder/model.keras"):
        loaded = keras.saving.load_model(tmp_path / path)
        assert np.abs(keras.ops.convert_to_numpy(loaded(x)) - want).max() < 1e-6
        assert not loaded.compiled
    assert np.abs(onnx_answer(tmp_path / "net.onnx", x.transpose(0, 3, 1, 2).copy()) - want).max() < 1e-5
    assert json.loads((tmp_path / "folder" / "report.json").read_text())["passed"] is None


def test_another_architecture_is_not_saved_as_this_one(tmp_path: Path) -> None:
    made = converter.convert(small(), "torch", verify=False)
    made.model.fc = nn.Linear(60, 7)
    with pytest.raises(errors.UsageError, match=r"fc\.weight: expected float32"):
        made.save(tmp_path / "net.py")
    made = converter.convert(small(), "torch", verify=False)
    made.model.half()
    with pytest.raises(errors.UsageError, match="float16"):
        made.save(tmp_path / "net.py")
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_shows_itself_in_one_line() -> None:
    made = converter.convert(small(), "torch", verify=False)
    assert repr(made) == "<Conversion of 'small' to torch: not verified>"


def test_a_pickle_of_the_model_in_memory_is_refused_and_copies_are_not(tmp_path: Path) -> None:
    model = converter.convert(small(), "torch", verify=False).model
    with pytest.raises(pickle.PicklingError, match=r"net\.py"):
        torch.save(model, tmp_path / "model.pt")
    twin, shallow = copy.deepcopy(model), copy.copy(model)
    assert twin.fc.weight is not model.fc.weight
    assert torch.equal(twin.fc.weight, model.fc.weight)
    assert shallow.fc is model.fc
    x = torch.randn(2, 2, 6, 5)
    assert torch.equal(twin(x), model(x))
    torch.save(model.state_dict(), tmp_path / "state.pt")


def test_an_uncompiled_ending(tmp_path: Path) -> None:
    """-o x.safetensors writes the source beside it; what another target is written as is refused by name."""
    made = converter.convert(small(), "torch", verify=False)
    assert made.save(tmp_path / "net.safetensors") == [tmp_path / "net.py", tmp_path / "net.safetensors"]
    with pytest.raises(errors.UsageError, match="keras"):
        made.save(tmp_path / "net.keras")


def test_a_changed_number_of_trainable_parameters_has_its_reason() -> None:
    class Unread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.aux = nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x)

    report = converter.convert(Unread(), "keras", example_inputs=(torch.zeros(2, 4),)).report
    assert report.passed
    assert report.trainable["source"] == 25
    assert report.trainable["target"] == 10
    assert "aux.weight" in report.trainable["why"][0]
    same = converter.convert(small(), "torch").report
    assert same.trainable["source"] == same.trainable["target"] > 0


def test_an_unexplained_number_of_trainable_parameters_is_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    from converter import trained

    monkeypatch.setitem(trained.COUNTS, "torch", lambda model: 7)
    report = converter.convert(small(), "torch").report
    assert report.passed is False
    assert "trainable" in report.broken


def test_what_a_keras_file_does_not_keep_is_counted(tmp_path: Path) -> None:
    """A frozen bias beside a trained kernel, which a .keras file cannot say, and a tied weight, which trains twice."""
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval()
    module[0].bias.requires_grad_(False)
    module[2].weight = module[0].weight
    torch.export.save(torch.export.export(module, (torch.zeros(2, 4),)), tmp_path / "net.pt2")
    live = converter.convert(module, "keras", example_inputs=(torch.zeros(2, 4),)).report
    assert live.passed
    assert (live.trainable["source"], live.trainable["target"]) == (20, 36)
    assert "TRAINABLE PARAMETERS CHANGED (20 in the source, 36 in the target)" in live.headline()
    assert "shares" in live.trainable["why"][0]
    done = run("-m", "converter", "net.pt2", "--to", "keras", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "r.json").read_text())["trainable"]
    assert (counts["source"], counts["target"], len(counts["why"])) == (20, 40, 2)
    assert "TRAINABLE" in done.stdout.splitlines()[0]
    assert "frozen in the source" in done.stdout
