"""The example that fine-tunes a network of ONNX, on a small one that is made here."""

from pathlib import Path

import numpy as np
import pytest
import skimage.io
from onnx import TensorProto, helper, numpy_helper

from examples import pretrained


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution that finds what is dark, as far as its bias lets it, and a sigmoid."""
    shape = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["logits"], pads=[1, 1, 1, 1]),
            helper.make_node("Sigmoid", ["logits"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.full((1, 3, 3, 3), -0.1, np.float32), "w"),
            numpy_helper.from_array(np.full(1, -9, np.float32), "b"),
        ],
    )
    path = tmp_path / "small.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_runs_and_draws(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "p.png"
    pretrained.main(["--model", str(model), "--out", str(out), "--steps", "3"])
    scores = [line for line in capsys.readouterr().out.splitlines() if line.startswith("F1")]
    assert [line.split("  ")[1] for line in scores] == [
        "as it comes, clean",
        "as it comes, noisy",
        "fine-tuned, noisy",
    ]
    assert skimage.io.imread(out)[..., :3].std() > 20


def test_data() -> None:
    clean, words = pretrained.page()
    assert clean.shape == words.shape == (191, 384)
    assert 0.1 < words.mean() < 0.6
    x, target = pretrained.crops(pretrained.entered(clean), words, np.random.default_rng(0))
    assert (x.shape, target.shape) == ((4, 3, 96, 96), (4, 1, 96, 96))
    assert pretrained.f1(words > 0, words > 0) == 1
    assert pretrained.f1(words < 1, words > 0) == 0


def test_says_how_to_get_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="pip install --no-deps rapidocr-onnxruntime"):
        pretrained.model_path(None)
    with pytest.raises(SystemExit, match=r"error: .*no\.onnx is not a file"):
        pretrained.main(["--model", "no.onnx"])
