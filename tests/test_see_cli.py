"""`jaxconv see`: sheets of a network in a file and of a run, and what is said of what is not there."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.common import run_folder
from examples.fashion_mnist.train import Classification
from jaxconv import cli

NETWORK = """
import functools, jax, jax.numpy as jnp, numpy as np
import jaxconv
from jaxconv.explain.see import Subject

rng = np.random.default_rng(0)
w = {n: {"kernel": jnp.asarray(rng.normal(size=s), jnp.float32)} for n, s in
     {"first": (3, 3, 3, 4), "second": (3, 2, 4, 5), "score": (1, 1, 5, 2)}.items()}

def answer(w, shape, x):
    x = jax.nn.relu(jaxconv.conv(x, w["first"]["kernel"], padding=1))
    x = jax.nn.relu(jaxconv.conv(jaxconv.max_pool(x, 2), w["second"]["kernel"]))
    x = jaxconv.conv(x, w["score"]["kernel"])
    return jaxconv.resize(x, size=shape) if shape else x.mean((1, 2))

def subject(image, checkpoint=None):
    assert checkpoint is None or checkpoint.name == "weights"
    size = (12, 16) if image.stem == "map" else (9, 12)
    x = jnp.asarray(rng.uniform(size=(1, *size, 3)), jnp.float32)
    layers, data = ["0/0/first+relu", "0/0/second+relu"], np.asarray(rng.uniform(size=(5, 9, 12, 3)), "f4")
    if image.stem == "map":
        fn = functools.partial(answer, w, size)
        return Subject(fn, x, layers, cam="0/0/second", classes=("ground", "thing"))
    return Subject(functools.partial(answer, w, None), x, layers, data=data, patches="0/0/first")

def nothing(image):
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "seen_network.py").write_text(NETWORK)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "see.txt").write_text("seen_network:subject\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sheets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del folder
    assert cli.main(["see", "seen_network.py:subject", "map.png", "--target", "thing", "--steps", "2"]) == 0
    assert cli.main(["see", "weights", "image.png", "--out", "sheet.png", "--steps", "2"]) == 0
    first, file, second, other = capsys.readouterr().out.splitlines()
    assert first.startswith("asked about thing, ")
    assert first.endswith(" % of the pixels")
    assert second in ("asked about class 0", "asked about class 1")
    for name, path in ((file, "map_see.png"), (other, "sheet.png")):
        assert name == path
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.shape[1] == 1760
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500  # colours of maps, not a blank page
    assert {p.name for p in Path().iterdir() if p.suffix == ".part"} == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weight", "a.png"], "'weight' is no folder and names no function"),
        (["seen_network:other", "a.png"], "seen_network has no function other"),
        (["no_such_module:subject", "a.png"], "no_such_module cannot be imported from here"),
        (["seen_network.py:nothing", "a.png"], "gave int; it has to return a jaxconv.explain.see.Subject"),
        ([".", "a.png"], "has no see.txt that names a function; name it: jaxconv see MODULE:FUNCTION"),
        (["weights", "a.png", "--checkpoint", "x"], "weights is a run itself; leave out --checkpoint"),
        (
            ["seen_network.py:subject", "map.png", "--target", "thng"],
            "'thng' is no number and none of ground",
        ),
        (["seen_network.py:subject", "map.png", "--target", "2"], "target=2 is no class; the result has 2"),
    ],
)
def test_what_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    del folder
    assert cli.main(["see", *words]) == 1
    assert message in capsys.readouterr().err


def test_runs_of_the_examples_name_their_function(tmp_path: Path) -> None:
    task = object.__new__(Classification)
    run_folder.name_subject(tmp_path, task)
    module, _, function = (tmp_path / "see.txt").read_text().strip().partition(":")
    assert module == "examples.fashion_mnist.see"
    assert callable(getattr(importlib.import_module(module), function))
    (tmp_path / "other").mkdir()
    run_folder.name_subject(tmp_path / "other", object())  # no example's
    assert not list((tmp_path / "other").iterdir())
