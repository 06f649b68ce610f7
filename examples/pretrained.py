"""Fine-tunes a trained network of ONNX: PP-OCR's text detector learns to find words in a dim, noisy page.

    python -m examples.pretrained [--model PATH] [--out FILE.png] [--steps N]

The network comes with the package rapidocr-onnxruntime (Apache-2.0), or from any copy of its file by --model.
The picture is scikit-image's `page`: words are what is darker than Sauvola's threshold, closed to blobs. The
network sees the picture dimmed and with noise; its left part is trained on, its right part shown.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import skimage

from jaxconv.interop import onnx

PACKAGE, FILE = "rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"
MISSING = f"""the network is not installed; get it by one of

    pip install --no-deps rapidocr-onnxruntime    # the files of {PACKAGE} are all that is needed
    python -m examples.pretrained --model {Path(FILE).name}"""
SIZE, CUT, ROWS = 96, 256, 160  # of the crops that are trained on; columns of the training part; rows shown


def model_path(given: Path | None) -> Path:
    if given is not None:
        return given
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(MISSING)
    return Path(spec.submodule_search_locations[0]) / FILE


def page() -> tuple[np.ndarray, np.ndarray]:
    """The page, in [0, 1], and which pixels are words."""
    clean = skimage.data.page() / 255.0
    ink = clean < skimage.filters.threshold_sauvola(clean, 25)
    return clean, skimage.morphology.closing(ink, np.ones((5, 9))).astype(np.float32)


def worn(clean: np.ndarray) -> np.ndarray:
    """Dimmed and with noise."""
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    return np.clip(0.6 * clean + 0.12 * noise, 0, 1)


def entered(picture: np.ndarray) -> np.ndarray:
    """As the network was trained: three channels, standardised, `(3, H, W)`."""
    mean, std = (np.array(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((picture - mean) / std).astype(np.float32)


def crops(x: np.ndarray, words: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four squares of the training part."""
    tops, lefts = rng.integers(0, x.shape[1] - SIZE, 4), rng.integers(0, CUT - SIZE, 4)
    places = [(slice(t, t + SIZE), slice(s, s + SIZE)) for t, s in zip(tops, lefts, strict=True)]
    return np.stack([x[:, r, c] for r, c in places]), np.stack([words[None, r, c] for r, c in places])


def fine_tune(
    network: onnx.Network, params: dict[str, jax.Array], data: tuple[np.ndarray, np.ndarray], steps: int
) -> dict[str, jax.Array]:
    """All parameters but the statistics of batch normalisations, by Adam."""
    fixed = {name: params[name] for name in network.statistics}
    learned = {name: array for name, array in params.items() if name not in fixed}
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-3, steps))

    @jax.jit
    def step(learned, state, x, words):
        def loss(learned):
            return optax.sigmoid_binary_cross_entropy(network(fixed | learned, x), words).mean()

        updates, state = optimiser.update(jax.grad(loss)(learned), state)
        return optax.apply_updates(learned, updates), state

    state, rng = optimiser.init(learned), np.random.default_rng(1)
    for _ in range(steps):
        learned, state = step(learned, state, *crops(*data, rng))
    return fixed | learned


def f1(found: np.ndarray, words: np.ndarray) -> float:
    return float(2 * (found & words).sum() / (found.sum() + words.sum()))


def draw(path: Path, panels: dict[str, np.ndarray]) -> None:
    figure, axes = plt.subplots(1, len(panels), figsize=(2.1 * len(panels), 3.1), layout="constrained")
    for axis, (title, picture) in zip(axes, panels.items(), strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.pretrained",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, help="the network, if the package is not installed")
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained.png"), help="the figure, a PNG")
    parser.add_argument("--steps", type=int, default=100, help="of training (default 100)")
    args = parser.parse_args(argv)
    path = model_path(args.model)
    try:
        logits = onnx.load(path).nodes[-1].inputs[0]  # what the last sigmoid is of
        network = onnx.load(path, outputs=[logits])
    except (ImportError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    clean, words = page()
    noisy, part = worn(clean), np.s_[:ROWS, CUT:]
    trained = fine_tune(network, network.params, (entered(noisy), words), args.steps)
    run = jax.jit(network)
    panels, wanted = {"clean\n": clean[part], "dim and noisy\n": noisy[part]}, words[part] > 0
    for name, params, picture in (
        ("as it comes, clean", network.params, clean),
        ("as it comes, noisy", network.params, noisy),
        ("fine-tuned, noisy", trained, noisy),
    ):
        found = np.asarray(run(params, entered(picture)[None, :, *part])[0, 0] > 0)
        score = f1(found, wanted)
        print(f"F1 {score:.3f}  {name}")
        panels[f"{name}\nF1 {score:.2f}"] = ~found
    draw(args.out, panels | {"words\n": ~wanted})
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
