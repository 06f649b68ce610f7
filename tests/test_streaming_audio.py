"""The example that takes noise out of speech chunk by chunk: its sound, its stream, what it writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.io
from flax import nnx
from scipy.io import wavfile

from examples import streaming_audio
from examples.common.cli import run
from examples.streaming_audio import RATE
from jaxconv.partition import streaming
from jaxconv.testing import assert_close


def tone(path, *, seconds=0.5, rate=16_000):
    """A stereo file of integers at another rate than the example's: two tones, the second softer."""
    t = np.arange(int(seconds * rate)) / rate
    left, right = 8000 * np.sin(2 * np.pi * 440 * t), 2000 * np.sin(2 * np.pi * 660 * t)
    wavfile.write(path, rate, np.stack([left, right], 1).astype(np.int16))
    return path


def test_made_sound(rng):
    clean = streaming_audio.speech(rng, 0.7)
    assert clean.shape == (int(0.7 * RATE),)
    assert clean.std() == pytest.approx(0.1, rel=1e-3)
    loudness = clean[: len(clean) // 80 * 80].reshape(-1, 80).std(1)
    assert loudness.min() < 0.05 * loudness.max()  # pauses
    dirty = streaming_audio.noisy(rng, clean)
    assert 0 < streaming_audio._ratio(clean, dirty) < 6


def test_a_file_becomes_one_channel_at_our_rate(tmp_path):
    sound = streaming_audio._read(tone(tmp_path / "tone.wav"))
    assert (sound.dtype, sound.shape) == (np.float32, (RATE // 2,))
    assert sound.std() == pytest.approx(0.1, rel=1e-3)
    spectrum = np.abs(np.fft.rfft(sound))
    loudest = np.argsort(spectrum)[-2:] * RATE / len(sound)
    assert loudest[::-1] == pytest.approx([440, 660], abs=2)


def test_the_stream_is_the_whole(rng):
    """With parameters that are nowhere zero; the last chunk is shorter."""

    def draw(leaf):
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])), leaf.dtype)

    structure, state = nnx.split(nnx.eval_shape(lambda: streaming_audio.Masker(6, rngs=nnx.Rngs(0))))
    model = nnx.merge(structure, jax.tree.map(draw, state))
    x = rng.normal(size=4 * streaming_audio.CHUNK + 48).astype(np.float32)
    stream = streaming(model, jax.ShapeDtypeStruct((1, streaming_audio.CHUNK, 1), "float32"))
    heard, load = streaming_audio.hear(stream, x)
    whole = jax.jit(lambda model, x: model(x))(model, jnp.asarray(x)[None, :, None])[0, :, 0]
    assert_close(heard, whole, contraction=2 * 32 + 8 * (3 + 6) + 3 * 6)
    assert load > 0
    # A sample needs frames up to 8 samples behind it, they need six more of 16, those 24 samples.
    assert stream.latency == 8 + 16 * (1 + 2 + 1 + 2) + 24 - 1


def test_demo(tmp_path, capsys):
    out = tmp_path / "new"
    small = ["--steps", "2", "--batch", "1", "--width", "4"]
    command = ["demo", "--wav", str(tone(tmp_path / "tone.wav")), "--out", str(out), *small]
    assert run(streaming_audio._COMMANDS, "test", command) == 0
    said = capsys.readouterr().out
    assert "after 2 steps" in said
    assert "streamed and whole differ by" in said
    sounds = {name: wavfile.read(out / f"{name}.wav") for name in ("clean", "noisy", "streamed")}
    assert {(rate, len(sound)) for rate, sound in sounds.values()} == {(RATE, RATE // 2)}
    assert skimage.io.imread(out / "streaming_audio.png")[..., :3].std() > 20
