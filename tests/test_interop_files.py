"""Files that lie, are cut off, or hold code: a clear error, no code run, no memory wasted."""
# pyright: reportOptionalSubscript=false, reportOptionalMemberAccess=false

import io
import json
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import nn
from jaxconv.interop import flax, keras, torch

h5py = pytest.importorskip("h5py", reason="reads Keras's files; Keras brings it")

SHAPE = (4, 3, 3, 2)


def model():
    zeros = lambda _key, shape, dtype=jnp.float32, **_: jnp.asarray(np.zeros(shape, dtype))  # noqa: E731
    return nn.Conv(3, 4, (3, 2), kernel_init=zeros, bias_init=zeros, rngs=nnx.Rngs(0))


class Exploit:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def refused(load, path, match, **options):
    """The load raises, and allocates no more than a few megabytes on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match):
            load(model(), path, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6


def arrays(rng):
    return {
        "weight": rng.standard_normal(SHAPE).astype(np.float32),
        "bias": rng.standard_normal(4).astype(np.float32),
    }


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_files_are_read_as_they_were_written(rng, tmp_path, ending):
    state, path = arrays(rng), tmp_path / f"net.{ending}"
    torch.load(layer := model(), state)
    if ending == "safetensors":
        torch.save(layer, path)
    else:
        np.savez(path, **state)
    torch.load(other := model(), str(path))
    np.testing.assert_array_equal(other.kernel[...], np.transpose(state["weight"], (2, 3, 1, 0)))
    np.testing.assert_array_equal(other.bias[...], state["bias"])


def test_bfloat16_in_safetensors(tmp_path):
    layer = model()
    layer.kernel.set_value(jnp.asarray(np.arange(72).reshape(3, 2, 3, 4), jnp.bfloat16))
    layer.bias.set_value(jnp.asarray(np.arange(4), jnp.bfloat16))
    torch.save(layer, tmp_path / "net.safetensors")
    torch.load(other := model(), tmp_path / "net.safetensors")
    assert other.kernel[...].dtype == jnp.bfloat16
    np.testing.assert_array_equal(other.kernel[...], layer.kernel[...])


@pytest.mark.parametrize("ending", ["safetensors", "npz", "keras", "h5"])
@pytest.mark.parametrize("keep", [0, 0.03, 0.5, 0.97])
def test_truncated(rng, tmp_path, ending, keep):
    path = tmp_path / f"net.{ending}"
    load = torch.load if ending in ("safetensors", "npz") else keras.load
    if ending == "safetensors":
        torch.load(layer := model(), arrays(rng))
        torch.save(layer, path)
    elif ending == "npz":
        np.savez(path, **arrays(rng))
    elif ending == "h5":
        path.write_bytes(h5(rng))
    else:
        zipped(path, h5(rng))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    refused(load, path, "damaged")


def h5(rng, name="layers/conv2d/vars"):
    """What Keras writes for one convolution."""
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        out[f"{name}/0"] = rng.standard_normal((3, 2, 3, 4)).astype(np.float32)
        out[f"{name}/1"] = rng.standard_normal(4).astype(np.float32)
    return file.getvalue()


def zipped(path, weights, config="{}", **more):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
        for name, content in more.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (struct.pack("<Q", 2**60), "damaged"),
        (struct.pack("<Q", 99_000_000) + b"{}", "damaged"),
        ({"weight": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 16]}}, "damaged"),
        ({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**40]}}, "damaged"),
        ({"weight": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}, "damaged"),
        ({"weight": {"dtype": "object", "shape": [4], "data_offsets": [0, 16]}}, "damaged"),
        ([], "damaged"),
    ],
    ids=["huge header", "long header", "huge shape", "beyond the end", "backwards", "no dtype", "a list"],
)
def test_safetensors_that_lie(tmp_path, header, match):
    path = tmp_path / "net.safetensors"
    if not isinstance(header, bytes):
        text = json.dumps(header).encode()
        header = struct.pack("<Q", len(text)) + text
    path.write_bytes(header + bytes(16))
    refused(torch.load, path, match)


def test_npz_with_code(tmp_path):
    trace = tmp_path / "trace"
    np.savez(tmp_path / "net.npz", weight=np.array([Exploit(trace)], object))
    refused(torch.load, tmp_path / "net.npz", "holds Python objects, which may be code and were not loaded")
    assert not trace.exists()
    np.load(tmp_path / "net.npz", allow_pickle=True)["weight"]
    assert trace.exists()  # the file is what it is meant to be


def npy(shape, content):
    """An array file whose header says `shape`."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def test_npz_that_lies(tmp_path):
    path = tmp_path / "net.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weight.npy", npy((2**40,), bytes(16)))
    refused(torch.load, path, r"claims shape \(1099511627776,\)")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("weight.npy", "w") as out:
        out.write(npy((2**25,), b""))
        for _ in range(2**7):
            out.write(bytes(2**20))
    refused(torch.load, path, "claims to hold 134.*not unpacked")


def test_a_pickle_is_not_loaded_without_pytorch(tmp_path, monkeypatch):
    trace, path = tmp_path / "trace", tmp_path / "net.pt"
    path.write_bytes(pickle.dumps(Exploit(trace)))
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(torch.load, path, "where PyTorch is installed only; store the state_dict as .safetensors")
    assert not trace.exists()


@pytest.mark.parametrize("package", ["safetensors", "h5py", "orbax"])
def test_a_missing_package_is_named(rng, tmp_path, monkeypatch, package):
    torch.load(layer := model(), arrays(rng))
    torch.save(layer, tmp_path / "a.safetensors")
    (tmp_path / "a.h5").write_bytes(h5(rng))
    monkeypatch.setitem(sys.modules, package, None)
    load, name = {
        "safetensors": (torch.load, "a.safetensors"),
        "h5py": (keras.load, "a.h5"),
        "orbax": (flax.load, ""),
    }[package]
    with pytest.raises(ValueError, match=f"needs .*pip install {package}"):
        load(model(), tmp_path / name)


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    for load, name in [(torch.load, "no.npz"), (torch.load, "no.safetensors"), (keras.load, "no.keras")]:
        refused(load, tmp_path / name, "is no file: check the path")
    refused(torch.load, tmp_path / "net.onnx", r"end in .safetensors, .npz, .pt, .pth, .bin")
    refused(keras.load, tmp_path / "net.pb", r"end in .keras, .h5 or .hdf5")
    with pytest.raises(ValueError, match=r"weights are written to .safetensors"):
        torch.save(model(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match="is no folder"):
        flax.load(model(), tmp_path / "none")


# Keras's files


def test_keras_file(rng, tmp_path):
    zipped(tmp_path / "net.keras", data := h5(rng))
    keras.load(layer := model(), tmp_path / "net.keras")
    with h5py.File(io.BytesIO(data)) as file:
        np.testing.assert_array_equal(layer.kernel[...], file["layers/conv2d/vars/0"][()])


def test_keras_zip_leaves_nothing_on_the_disk(rng, tmp_path):
    """Nothing is unpacked, so a member's path leads nowhere."""
    inside = tmp_path / "inside"
    inside.mkdir()
    zipped(inside / "net.keras", h5(rng), **{"../escaped": b"x", "/tmp/../escaped": b"x"})
    keras.load(model(), inside / "net.keras")
    assert [p.name for p in tmp_path.rglob("*")] == ["inside", "net.keras"]


def test_keras_zip_bomb(tmp_path):
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w") as out:
            for _ in range(2**7):
                out.write(bytes(2**20))
    refused(keras.load, path, "claims to hold 134.*not unpacked")


def test_h5_that_claims_a_huge_array(tmp_path):
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (2**20, 2**20), np.float32, chunks=(64, 64))
    refused(keras.load, tmp_path / "net.h5", "claims to hold 4398046511104")


def test_h5_that_points_to_other_files(rng, tmp_path):
    secret = tmp_path / "secret.h5"
    secret.write_bytes(h5(rng, "layers/conv2d/vars"))
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["layers/conv2d"] = h5py.ExternalLink(str(secret), "/layers/conv2d")
    refused(keras.load, tmp_path / "net.h5", "nothing in the source for")
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (4,), np.uint8, external=[(str(secret), 0, 4)])
    refused(keras.load, tmp_path / "net.h5", "points to another file, which was not read")


def test_h5_with_a_cycle(rng, tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(h5(rng))
    with h5py.File(path, "a") as file:
        file["layers/conv2d/again"] = file["layers"]
    assert len(keras.load(model(), path).rows) == 2


def test_keras_configuration_is_data(rng, tmp_path):
    nested = "[" * 100_000 + "]" * 100_000
    for config in ("no json", nested):
        zipped(tmp_path / "net.keras", h5(rng), config)
        refused(keras.load, tmp_path / "net.keras", "its configuration is damaged")
    odd = {"config": {"layers": [3, {"class_name": None}, {"class_name": "Conv2D", "config": {"name": 7}}]}}
    zipped(tmp_path / "net.keras", h5(rng), json.dumps(odd))
    keras.load(model(), tmp_path / "net.keras")


def test_orbax_folder_that_is_none(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "_METADATA").write_text("{}")
    with pytest.raises(ValueError, match="is no Orbax checkpoint of arrays, or damaged"):
        flax.load(model(), tmp_path / "checkpoint")
