"""The example on scikit-learn's digits."""

import json

from PIL import Image

from examples import prune


def test_a_small_network_is_pruned_trained_and_drawn(tmp_path, capsys):
    arguments = ["demo", "--out", str(tmp_path), "--steps", "20", "--ratios", "0.5", "--repeats", "1"]
    assert prune.run(prune._COMMANDS, "", arguments) == 0
    said = capsys.readouterr().out
    whole, half = json.loads((tmp_path / "results.json").read_text())["results"]
    assert half["layers"] == {"first/conv": 16, "second/conv": 32, "hidden": 128, "logits": 10}
    assert whole["tuned"] == whole["pruned"] > 0.4  # of ten digits, after sixty steps
    assert half["tuned"] > half["pruned"]
    assert half["parameters"] < 0.3 * whole["parameters"]
    assert min(half["forward_ms"], half["step_ms"]) > 0
    assert half["multiply_adds"] < 0.3 * whole["multiply_adds"]
    assert said.count("of the multiply-adds are left") == 2
    with Image.open(tmp_path / "prune.png") as drawn:
        assert drawn.size == (1500, 460)
    assert prune.run(prune._COMMANDS, "", ["demo", "--data", "nowhere"]) == 2
