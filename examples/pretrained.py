"""Fine-tunes a trained network of ONNX: PP-OCR's text detector learns to cut ink from a noisy page.

    python -m examples.pretrained [--model PATH] [--out FILE.png] [--steps N]

The network finds regions of text. It comes with the package rapidocr-onnxruntime (Apache-2.0), or as any file
of the same network by --model. The picture is scikit-image's `page`; Sauvola's threshold of the clean picture
says what is ink, and the network sees the picture dimmed and with noise. The left part is trained on, the
right part is what is shown and measured.
"""

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
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


def page(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The dimmed and noisy page as the network's input `(3, H, W)`, and which pixels are ink."""
    clean = skimage.data.page() / 255.0
    ink = clean < skimage.filters.threshold_sauvola(clean, 25)
    rng = np.random.default_rng(seed)
    seen = np.clip(0.6 * clean + 0.12 * rng.standard_normal(clean.shape), 0, 1)
    mean, std = (np.array(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((seen - mean) / std).astype(np.float32), ink.astype(np.float32)


def crops(x: np.ndarray, ink: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four squares of the training part."""
    tops, lefts = rng.integers(0, x.shape[1] - SIZE, 4), rng.integers(0, CUT - SIZE, 4)
    places = [(slice(t, t + SIZE), slice(s, s + SIZE)) for t, s in zip(tops, lefts, strict=True)]
    return np.stack([x[:, r, c] for r, c in places]), np.stack([ink[None, r, c] for r, c in places])


def fine_tune(
    network: onnx.Network, params: dict[str, jax.Array], data: tuple[np.ndarray, np.ndarray], steps: int
) -> dict[str, jax.Array]:
    """All parameters but the statistics of batch normalisations, by Adam."""
    fixed = {name: params[name] for name in network.statistics}
    learned = {name: array for name, array in params.items() if name not in fixed}
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-3, steps))

    @jax.jit
    def step(learned, state, x, ink):
        def loss(learned):
            return optax.sigmoid_binary_cross_entropy(network(fixed | learned, x), ink).mean()

        updates, state = optimiser.update(jax.grad(loss)(learned), state)
        return optax.apply_updates(learned, updates), state

    state, rng = optimiser.init(learned), np.random.default_rng(1)
    for _ in range(steps):
        learned, state = step(learned, state, *crops(*data, rng))
    return fixed | learned


def f1(found: np.ndarray, ink: np.ndarray) -> float:
    return float(2 * (found & ink).sum() / (found.sum() + ink.sum()))


def shuffled(params: dict[str, jax.Array], network: onnx.Network) -> dict[str, jax.Array]:
    """Untrained parameters: random numbers of each array's own mean and spread."""
    rng = np.random.default_rng(2)
    return {
        name: array if name in network.statistics else jnp.asarray(rng.permuted(np.asarray(array).ravel()).reshape(array.shape))
        for name, array in params.items()
    }


def draw(path: Path, panels: dict[str, np.ndarray]) -> None:
    figure, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels), 3.5), layout="constrained")
    for axis, (title, picture) in zip(axes, panels.items(), strict=True):
        axis.imshow(picture, cmap="gray")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the network, if the package is not installed")
    parser.add_argument("--out", type=Path, default=Path("pretrained.png"))
    parser.add_argument("--steps", type=int, default=150)
    args = parser.parse_args()
    path = model_path(args.model)
    logits = onnx.load(path).nodes[-1].inputs[0]  # what the last sigmoid is of
    network = onnx.load(path, outputs=[logits])
    x, ink = page()
    unseen, wanted = x[None, :, :ROWS, CUT:], ink[:ROWS, CUT:] > 0
    run: Callable[[dict[str, jax.Array]], np.ndarray] = lambda params: np.asarray(  # noqa: E731
        jax.jit(network)(params, unseen)[0, 0] > 0
    )
    dark = unseen[0, 0]
    found = {
        "Otsu's threshold": dark < skimage.filters.threshold_otsu(dark),
        "the network as it comes": run(network.params),
        "fine-tuned": run(fine_tune(network, network.params, (x, ink), args.steps)),
        "as long from weights at random": run(
            fine_tune(network, shuffled(network.params, network), (x, ink), args.steps)
        ),
    }
    scores = {name: f1(mask, wanted) for name, mask in found.items()}
    for name, score in scores.items():
        print(f"F1 {score:.3f}  {name}")
    masks = {f"{name}\nF1 {scores[name]:.2f}": ~mask for name, mask in found.items()}
    draw(args.out, {"what the network sees\n": dark, **masks, "ink\n": ~wanted})
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
