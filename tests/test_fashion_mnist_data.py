"""The images of the Fashion-MNIST example: folders, digits, splits, and the stream of batches."""

import gzip
import struct
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from examples.common.task import Shard
from examples.fashion_mnist import data
from examples.fashion_mnist.data import DataConfig, Images


def write(path, array, pack=False):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


@pytest.fixture
def folder(tmp_path):
    """Thirty training and nine test images of 5x6 pixels: the first pixel is the image's number."""
    rng = np.random.default_rng(3)
    for part, count, pack in (("train", 30, True), ("t10k", 9, False)):
        images = rng.integers(0, 255, (count, 5, 6))
        images[:, 0, 0] = np.arange(count)
        suffix = ".gz" if pack else ""
        write(tmp_path / f"{part}-images-idx3-ubyte{suffix}", images, pack)
        write(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", np.arange(count) % 4, pack)
    return tmp_path


def test_folder_is_split(folder):
    found = data.load(DataConfig(data=folder, validation=0.1))
    assert (found.size, found.classes, found.name) == ((5, 6), ("0", "1", "2", "3"), str(folder))
    assert found.training.images[:, 0, 0].tolist() == list(range(27))
    assert found.validation.images[:, 0, 0].tolist() == [27, 28, 29]
    assert found.validation.labels.tolist() == [3, 0, 1]
    assert found.test.images[:, 0, 0].tolist() == list(range(9))


def test_unpacked_names_with_a_dot_are_found(folder):
    (folder / "t10k-labels-idx1-ubyte").rename(folder / "t10k-labels.idx1-ubyte")
    assert len(data.load(DataConfig(data=folder)).test.labels) == 9


def test_fashion_mnist_is_known_by_its_labels(folder, monkeypatch):
    known = sha256(bytes(i % 4 for i in range(9))).hexdigest()
    monkeypatch.setattr(data, "FASHION_TEST_LABELS", known)
    found = data.load(DataConfig(data=folder))
    assert found.name == "Fashion-MNIST"
    assert found.classes[9] == "ankle boot"


def test_fingerprint_changes_with_any_pixel_or_label(folder):
    first = data.load(DataConfig(data=folder))
    prints = {first.fingerprint, data.load(DataConfig(data=folder)).fingerprint}
    assert len(prints) == 1
    for part in ("training", "validation", "test"):
        for number, place in ((0, (-1, 2, 3)), (1, -1)):
            arrays = [array.copy() for array in getattr(first, part)]
            arrays[number][place] ^= 1
            prints.add(replace(first, **{part: Images(*arrays)}).fingerprint)
    assert len(prints) == 7


def test_debian_then_digits(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DEBIAN", folder)
    assert data.load(DataConfig()).name == str(folder)
    monkeypatch.setattr(data, "DEBIAN", tmp_path / "not installed")
    digits = data.load(DataConfig())
    assert digits.name == "scikit-learn's digits"
    parts = (digits.training, digits.validation, digits.test)
    assert [len(part.labels) for part in parts] == [1425, 75, 297]
    assert (digits.size, len(digits.classes), digits.test.images.max()) == ((8, 8), 10, 255)


def damage_labels(folder):
    write(folder / "t10k-labels-idx1-ubyte", np.arange(8))


def damage_size(folder):
    write(folder / "t10k-images-idx3-ubyte", np.zeros((9, 4, 6)))


def damage_rank(folder):
    write(folder / "t10k-images-idx3-ubyte", np.zeros((9, 30)))


def damage_count(folder):
    write(folder / "train-images-idx3-ubyte.gz", np.zeros((1, 5, 6)))
    write(folder / "train-labels-idx1-ubyte.gz", np.zeros(1))


def damage_emptiness(folder):
    write(folder / "t10k-images-idx3-ubyte", np.zeros((0, 5, 6)))
    write(folder / "t10k-labels-idx1-ubyte", np.zeros(0))


def damage_presence(folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (damage_labels, r"shape \(9, 5, 6\), .*t10k-labels-idx1-ubyte 8 labels"),
        (damage_size, r"training images are \(5, 6\), test images \(4, 6\)"),
        (damage_rank, r"t10k-images-idx3-ubyte holds uint8 of shape \(9, 30\), not 3 axes"),
        (damage_count, "has one training image"),
        (damage_emptiness, r"shape \(0, 5, 6\)"),
        (damage_presence, r"no t10k-labels-idx1-ubyte or .*\.gz in .*apt install dataset-fashion-mnist"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_wrong_with_a_folder_is_said(folder, damage, wrong):
    damage(folder)
    with pytest.raises(ValueError, match=wrong):
        data.load(DataConfig(data=folder))


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ({"validation": 1.0}, "validation=1.0"),
        ({"shift": -1}, "shift=-1"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_settings_that_cannot_be_are_refused(folder, setting, wrong):
    with pytest.raises(ValueError, match=wrong):
        data.load(DataConfig(data=folder, **setting))


def stream(folder, *shard, seed=7, **settings):
    config = DataConfig(**{"data": folder, "validation": 0.1, "batch_size": 6, "shift": 0, **settings})
    return data.batches(data.load(config), config, seed=seed, shard=Shard(*shard))


def numbers(batch):
    return np.round(255 * batch["image"][:, 0, 0, 0]).astype(int).tolist()


def test_every_epoch_is_a_new_order_of_all_images(folder):
    batches = stream(folder)
    drawn = [
        next(batches) for _ in range(9)
    ]  # 54 images, two epochs of 27: the fifth batch holds parts of both
    assert {batch["image"].shape for batch in drawn} == {(6, 5, 6, 1)}
    seen = [number for batch in drawn for number in numbers(batch)]
    assert sorted(seen[:27]) == sorted(seen[27:]) == list(range(27))
    assert seen[:27] != seen[27:]
    assert seen[:27] != list(range(27))
    labels = [label for batch in drawn for label in batch["label"].tolist()]
    assert labels == [number % 4 for number in seen]


def test_a_batch_is_a_function_of_seed_and_number(folder):
    first, second = stream(folder, shift=2, flip="always"), stream(folder, shift=2, flip="always")
    for _ in range(5):
        next(first)
    state = first.get_state()
    later = [next(first) for _ in range(3)]
    second.set_state(state)
    for batch in later:
        again = next(second)
        np.testing.assert_array_equal(batch["image"], again["image"])
        np.testing.assert_array_equal(batch["label"], again["label"])
    other = next(stream(folder, seed=8, shift=2, flip="always"))
    assert not np.array_equal(next(stream(folder, shift=2, flip="always"))["image"], other["image"])


@pytest.mark.parametrize("count", [2, 3])
def test_shards_are_the_parts_of_the_global_batch(folder, count):
    whole = stream(folder, shift=2, flip="always")
    parts = [stream(folder, index, count, shift=2, flip="always") for index in range(count)]
    for _ in range(6):
        batch, pieces = next(whole), [next(part) for part in parts]
        for name in batch:
            np.testing.assert_array_equal(batch[name], np.concatenate([piece[name] for piece in pieces]))


def test_shifts_and_mirror_images(folder):
    """Every one of the 25 places and both mirror images occur, each exactly as moved by hand."""
    config = DataConfig(data=folder, validation=0.1, batch_size=27, shift=2, flip="always")
    found = data.load(config)
    batches = data.batches(found, config, seed=1, shard=Shard())
    views = {}
    for number, image in enumerate(found.training.images):
        framed = np.pad(image, 2)
        for top in range(5):
            for left in range(5):
                moved = framed[top : top + 5, left : left + 6]
                views[moved.tobytes()] = (number, top, left, False)
                views[moved[:, ::-1].tobytes()] = (number, top, left, True)
    drawn = [next(batches) for _ in range(20)]
    seen = [
        views[np.round(255 * image[..., 0]).astype(np.uint8).tobytes()]
        for batch in drawn
        for image in batch["image"]
    ]
    assert {(top, left) for _, top, left, _ in seen} == {(top, left) for top in range(5) for left in range(5)}
    mirrored = np.mean([mirror for *_, mirror in seen])
    assert 0.4 < mirrored < 0.6


def test_only_fashion_mnist_is_mirrored_without_being_told(folder, monkeypatch):
    def has_mirror_images(**settings):
        config = DataConfig(data=folder, validation=0.1, batch_size=27, shift=0, **settings)
        found = data.load(config)
        batch = next(data.batches(found, config, seed=1, shard=Shard()))
        images = {image.tobytes() for image in found.training.images}
        return any(
            np.round(255 * image).astype(np.uint8).tobytes() not in images for image in batch["image"][..., 0]
        )

    assert not has_mirror_images()
    assert has_mirror_images(flip="always")
    monkeypatch.setattr(data, "FASHION_TEST_LABELS", sha256(bytes(i % 4 for i in range(9))).hexdigest())
    assert has_mirror_images()
    assert not has_mirror_images(flip="never")
