"""Noise taken out of speech while it is spoken: `python -m examples.streaming_audio demo`.

A small mask network (Luo, Mesgarani: Conv-TasNet, doi:10.1109/TASLP.2019.2915167, with few layers) learns it
from sound that is made here: syllables of a glottal pulse train through vowel resonances, consonants of
filtered noise, in white noise and mains hum. Then other such sound, or a WAV file of yours, goes through it
20 ms at a time, as from a microphone; what comes out is written, drawn and compared with the whole's result.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from scipy import signal
from scipy.io import wavfile
from scipy.signal import windows

import jaxconv
from jaxconv.partition import Stream, streaming

from .common.cli import run
from .common.figures import save

RATE = 8000
CHUNK = 160  # 20 ms
_VOWELS = np.array(
    [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
)


def speech(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Something like speech: syllables of a consonant and a vowel, with pauses."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * RATE:
        pitch = rng.uniform(90, 220)
        parts += [_consonant(rng), _vowel(rng, pitch), np.zeros(int(RATE * rng.choice([0.01, 0.02, 0.15])))]
    found = np.concatenate(parts)[: int(seconds * RATE)]
    return (0.1 * found / max(found.std(), 1e-6)).astype(np.float32)


def _vowel(rng: np.random.Generator, pitch: float) -> np.ndarray:
    n = int(RATE * rng.uniform(0.08, 0.3))
    glide = pitch * np.linspace(1, rng.uniform(0.75, 1.25), n)
    phase = np.cumsum(glide) / RATE
    y = np.diff(np.floor(phase), prepend=0.0)  # one pulse each period
    for centre, width in zip(_VOWELS[rng.integers(len(_VOWELS))], (80, 110, 160), strict=True):
        radius = np.exp(-np.pi * width / RATE)
        y = signal.lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2], y)
    return windows.tukey(n, 0.3) * y / (np.std(y) + 1e-9)


def _consonant(rng: np.random.Generator) -> np.ndarray:
    n = int(RATE * rng.uniform(0.02, 0.08))
    low = rng.uniform(1200, 2500)
    band = signal.butter(2, [low, low + 1200], "band", fs=RATE, output="sos")
    return 0.5 * windows.tukey(n, 0.5) * signal.sosfilt(band, rng.normal(size=n)) * rng.uniform(0.5, 2)


def noisy(rng: np.random.Generator, clean: np.ndarray) -> np.ndarray:
    """With white noise, about 3 dB below the speech, and a mains hum."""
    t, hum = np.arange(len(clean)) / RATE, rng.choice([50.0, 60.0])
    tones = sum(np.sin(2 * np.pi * (k * hum * t + rng.uniform())) / k for k in (1, 2, 3))
    level = clean.std() * 10 ** (-rng.uniform(0, 6) / 20)
    return (clean + level * rng.normal(size=len(clean)) + 0.5 * level * tones).astype(np.float32)


class Masker(nnx.Module):
    """Frames of 2 ms, a mask for each of their channels, and back to samples."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.encode = jaxconv.nn.Conv(1, width, (32,), strides=16, padding=8, use_bias=False, rngs=rngs)
        self.enter = jaxconv.nn.Conv(width, width, (1,), rngs=rngs)
        self.blocks = nnx.List(_Block(width, dilation, rngs=rngs) for dilation in (1, 2, 4, 8, 1, 2, 4, 8))
        self.mask = jaxconv.nn.Conv(width, width, (1,), rngs=rngs)
        self.decode = jaxconv.nn.ConvTranspose(
            width, 1, (32,), strides=16, padding=8, use_bias=False, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """`(N, samples, 1)` to the same; the samples are a multiple of 16."""
        frames = self.encode(x)
        y = self.enter(jax.nn.relu(frames))
        for block in self.blocks:
            y = block(y)
        return self.decode(frames * jax.nn.sigmoid(self.mask(jax.nn.relu(y))))


class _Block(nnx.Module):
    """Depthwise in time, two frames of the future in the first round; then across channels."""

    def __init__(self, width: int, dilation: int, *, rngs: nnx.Rngs) -> None:
        ahead = 1 if dilation <= 2 else 0
        options = {"kernel_dilation": dilation, "padding": [((2 - ahead) * dilation, ahead * dilation)]}
        self.along = jaxconv.nn.DepthwiseConv(width, (3,), rngs=rngs, **options)
        self.across = jaxconv.nn.Conv(width, width, (1,), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.across(jax.nn.gelu(self.along(x)))


def train(model: Masker, rng: np.random.Generator, *, steps: int, batch: int, seconds: float) -> float:
    """Mean squared error by Adam; returns the mean loss of the last tenth."""
    length = int(seconds * RATE) // 16 * 16
    optimiser = nnx.Optimizer(model, optax.adam(optax.cosine_decay_schedule(3e-3, steps)), wrt=nnx.Param)

    @nnx.jit
    def step(model: Masker, optimiser: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(x) - y) ** 2))(model)
        optimiser.update(model, grads)
        return loss

    pool = np.stack([speech(rng, seconds)[:length] for _ in range(8 * batch)])
    losses = []
    for _ in range(steps):
        clean = pool[rng.integers(len(pool), size=batch)]
        dirty = np.stack([noisy(rng, one) for one in clean])
        losses.append(step(model, optimiser, jnp.asarray(dirty[..., None]), jnp.asarray(clean[..., None])))
    return float(np.mean(losses[-max(steps // 10, 1) :]))


def hear(stream: Stream, x: np.ndarray) -> tuple[np.ndarray, float]:
    """What comes out if a signal goes in chunk by chunk, and seconds of computing for a second of it."""
    chunks = [x[None, start : start + CHUNK, None] for start in range(0, len(x), CHUNK)]
    state = stream.init()
    stream.feed(state, chunks[0])  # compiled
    start, heard = time.perf_counter(), []
    for chunk in chunks:
        state, y = stream.feed(state, chunk)
        heard.append(np.asarray(y))
    heard.append(np.asarray(stream.finish(state)))
    return np.concatenate(heard, 1)[0, :, 0], (time.perf_counter() - start) / (len(x) / RATE)


def demo(
    *,
    wav: Path | None = None,
    out: Path = Path("runs/streaming_audio"),
    steps: int = 500,
    batch: int = 8,
    width: int = 64,
) -> None:
    """Learn to take noise away, then do it while the sound comes in.

    Args:
        wav: A recording to make noisy and clean again; without it, made speech that was not trained with.
        out: Folder for three WAV files and a picture.
        steps: Of training; 500 are about a minute on two cores.
        batch: Seconds of sound in a step.
        width: Channels of a frame.
    """
    rng = np.random.default_rng(0)
    model = Masker(width, rngs=nnx.Rngs(0))
    print(f"loss {train(model, rng, steps=steps, batch=batch, seconds=1.0):.2e} after {steps} steps")
    clean = _read(wav) if wav else speech(np.random.default_rng(1), 4.0)
    clean = clean[: len(clean) // 16 * 16]
    dirty = noisy(np.random.default_rng(2), clean)
    stream = streaming(model, jax.ShapeDtypeStruct((1, CHUNK, 1), "float32"))
    streamed, load = hear(stream, dirty)
    whole = np.asarray(model(jnp.asarray(dirty)[None, :, None]))[0, :, 0]
    print(f"latency {stream.latency} samples, {float(stream.latency) / RATE * 1e3:.1f} ms")
    print(f"computing takes {load:.2f} of the time the sound takes")
    print(f"streamed and whole differ by {np.abs(streamed - whole).max():.1e} at most")
    print(f"signal to noise: {_ratio(clean, dirty):.1f} dB in, {_ratio(clean, streamed):.1f} dB out")
    out.mkdir(parents=True, exist_ok=True)
    for name, sound in {"clean": clean, "noisy": dirty, "streamed": streamed}.items():
        wavfile.write(out / f"{name}.wav", RATE, np.clip(sound, -1, 1))
    draw(out / "streaming_audio.png", clean, dirty, streamed, whole)
    print(out)


def _read(path: Path) -> np.ndarray:
    """A WAV file as one channel at our rate, about as loud as what was trained with."""
    rate, sound = wavfile.read(path)
    sound = sound.astype(np.float64).reshape(len(sound), -1).mean(1)
    sound = signal.resample_poly(sound, RATE, rate)
    return (0.1 * sound / max(sound.std(), 1e-9)).astype(np.float32)


def _ratio(clean: np.ndarray, heard: np.ndarray) -> float:
    return float(10 * np.log10((clean**2).sum() / ((heard - clean) ** 2).sum()))


def draw(path: Path, clean: np.ndarray, dirty: np.ndarray, streamed: np.ndarray, whole: np.ndarray) -> None:
    """Spectrograms before and after, and the difference between streamed and whole."""
    figure = Figure(figsize=(11, 9), layout="constrained", facecolor="white")
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1, 1, 0.5])
    shown = {
        f"what came in  {_ratio(clean, dirty):.1f} dB": dirty,
        f"what came out, chunk by chunk  {_ratio(clean, streamed):.1f} dB": streamed,
        "what was spoken": clean,
    }
    for axis, (title, sound) in zip(axes, shown.items(), strict=False):
        f, t, power = signal.spectrogram(sound, RATE, nperseg=256, noverlap=192)
        axis.pcolormesh(t, f, 10 * np.log10(power + 1e-12), cmap="magma", vmin=-85, vmax=-35, rasterized=True)
        axis.set_title(title, fontsize=11)
        axis.set_ylabel("Hz")
    axes[3].plot(np.arange(len(whole)) / RATE, streamed - whole, linewidth=0.5)
    axes[3].set(title="streamed less whole", xlabel="s", xlim=(0, len(whole) / RATE))
    save(figure, path)


_COMMANDS: dict[str, Callable[..., None]] = {"demo": demo}

if __name__ == "__main__":
    sys.exit(run(_COMMANDS, "python -m examples.streaming_audio"))
