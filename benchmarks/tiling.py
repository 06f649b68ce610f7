"""Tiles: memory and time of an image that does not fit, and what tiles cost where the image does.

    python -m benchmarks.tiling large --side 20000 --out benchmarks/results/tiling_cpu.jsonl
    python -m benchmarks.tiling speed --out benchmarks/results/tiling_cpu.jsonl

`large` enlarges a picture by two with FSRCNN (56, 12, 4), from one memory map of bytes to another, and
appends the seconds and the largest resident memory of the whole process. `speed` runs networks on images that
fit, whole and by tiles in turns, and appends every time; tiles are given, or picked for the memory that the
name ends with. The weights are random: they do not change the work.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from examples.fcn_segmentation.model import FCN
from examples.fcn_segmentation.model import ModelConfig as Segments
from examples.super_resolution.model import ModelConfig, SuperResolution
from jaxconv.partition import tiled

from .measure import interleave


def fsrcnn() -> SuperResolution:
    """The network of examples/super_resolution, twice as large."""
    return SuperResolution(ModelConfig(model="fsrcnn", scale=2), rngs=nnx.Rngs(0))


def enlarge(model: SuperResolution, picture: jax.Array) -> jax.Array:
    """Bytes to bytes, (height, width)."""
    high = model(picture[None, ..., None].astype(jnp.float32) / 255)[0, ..., 0]
    return jnp.clip(jnp.round(high * 255), 0, 255).astype(jnp.uint8)


def large(side: int, memory: int, folder: Path) -> dict[str, Any]:
    """One record of a picture of side x side bytes."""
    source = np.lib.format.open_memmap(folder / "low.npy", "w+", np.uint8, (side, side))
    rng = np.random.default_rng(0)
    for row in range(0, side, 1000):
        source[row : row + 1000] = rng.integers(0, 256, source[row : row + 1000].shape, np.uint8)
    del source
    low = np.load(folder / "low.npy", mmap_mode="r")
    high = np.lib.format.open_memmap(folder / "high.npy", "w+", np.uint8, (2 * side, 2 * side))
    by_tiles, model = tiled(enlarge, memory=memory), fsrcnn()
    before = _resident()
    start = time.perf_counter()
    tiling = by_tiles.tiling(model, low)
    print(tiling, flush=True)
    by_tiles(model, low, out=high, progress=True)
    seconds = time.perf_counter() - start
    return {
        "what": "large",
        "side": side,
        "memory": memory,
        "tile": tiling.tile,
        "counts": tiling.counts,
        "seconds": seconds,
        "resident_before": before,
        "resident": _resident(),
    }


def _resident() -> int:
    """The most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def contenders() -> dict[str, tuple[Callable[..., Any], Any, np.ndarray, dict[str, Any]]]:
    """For each network the function, its parameters, an image, and what `tiled` is told."""
    rng = np.random.default_rng(0)

    def image(*shape: int) -> np.ndarray:
        return rng.uniform(size=shape).astype(np.float32)

    def apply(model: Any, x: jax.Array) -> jax.Array:
        return model(x)

    espcn = SuperResolution(ModelConfig(model="espcn", scale=2), rngs=nnx.Rngs(0))
    segments = FCN(Segments(width=0.125), 3, 21, rngs=nnx.Rngs(0))
    segments.eval()
    score = segments.network.score.kernel
    score[...] = jnp.asarray(rng.normal(size=score[...].shape), jnp.float32)  # zero at first
    return {
        "FSRCNN x2, 768 x 768": (apply, fsrcnn(), image(1, 768, 768, 1), {"tile": 768}),
        "ESPCN x2, 768 x 768": (apply, espcn, image(1, 768, 768, 1), {"tile": 768}),
        "FCN-8s, 768 x 768": (apply, segments, image(1, 768, 768, 3), {"tile": 384}),
        "FCN-8s, 768 x 768, 256 MiB": (apply, segments, image(1, 768, 768, 3), {}),
        "FCN-8s, 1536 x 1536, 256 MiB": (apply, segments, image(1, 1536, 1536, 3), {}),
        "FCN-8s, 1536 x 1536, 512 MiB": (apply, segments, image(1, 1536, 1536, 3), {"memory": 2**29}),
        "FCN-8s, 1536 x 1536, 1 GiB": (apply, segments, image(1, 1536, 1536, 3), {"memory": 2**30}),
    }


def speed(rounds: int, only: str) -> list[dict[str, Any]]:
    """Records of the networks whose names hold `only`: all seconds of the whole image and of its tiles."""
    records = []
    for name, (fn, model, x, options) in contenders().items():
        if only not in name:
            continue
        by_tiles = tiled(fn, **options)
        whole = jax.jit(fn)
        different = np.abs(by_tiles(model, x) - np.asarray(whole(model, x))).max()
        calls = {
            "whole": lambda whole=whole, model=model, x=x: np.asarray(whole(model, x)),
            "tiles": lambda by_tiles=by_tiles, model=model, x=x: by_tiles(model, x),
        }
        found = interleave(calls, rounds, 0.1)
        tiling = by_tiles.tiling(model, x)
        ratio = np.median([min(a) / min(b) for a, b in zip(found["whole"], found["tiles"], strict=True)])
        print(name, tiling.counts, f"whole / tiles {ratio:.2f}, differ by {different:.1e}", flush=True)
        records.append(
            {
                "what": "speed",
                "net": name,
                "tile": tiling.tile,
                "counts": tiling.counts,
                "halo": tiling.halo,
                "ratio": float(ratio),
                "different": float(different),
                "seconds": found,
            }
        )
    return records


def main() -> None:
    """Appends what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["large", "speed"])
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--memory", type=int, default=2**28)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="of speed, what the networks' names hold")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.what == "large":
        with tempfile.TemporaryDirectory() as folder:
            records = [large(args.side, args.memory, Path(folder))]
    else:
        records = speed(args.rounds, args.only)
    with args.out.open("a") as file:
        for record in records:
            print(json.dumps(record), file=file)


if __name__ == "__main__":
    main()
