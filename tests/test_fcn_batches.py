"""The segmentation example's batches: augmentation, class weights, the stream."""

import doctest

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from examples.common.task import Shard
from examples.fcn_segmentation import augment, data
from examples.fcn_segmentation.augment import AugmentConfig, cut
from examples.fcn_segmentation.data import DataConfig, batches, class_weights
from examples.fcn_segmentation.dataset import IGNORE, Pair, survey, to_input
from examples.fcn_segmentation.sources import composites, generated

PLAIN = AugmentConfig(crop=16, scale=1, flip=False, contrast=0, brightness=0)


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("image", "label"))


# Augmentation


@pytest.fixture
def places():
    """A picture whose two channels are each pixel's row and column, and labels that differ all over."""
    rows, columns = np.mgrid[:37, :53].astype(np.float32)
    label = ((7 * rows + 3 * columns) % 5).astype(np.uint8)
    return Pair("places", np.stack([rows, columns], axis=-1), label)


def test_a_plain_piece_is_a_piece(places, rng):
    starts = set()
    for _ in range(30):
        piece = cut(places, PLAIN, upright=False, rng=rng)
        top, left = piece["image"][0, 0].astype(int)
        window = slice(top, top + 16), slice(left, left + 16)
        np.testing.assert_array_equal(piece["image"], places.image[window])
        np.testing.assert_array_equal(piece["label"], places.label[window])
        assert [piece[name].dtype for name in ("image", "label")] == [np.float32, np.int32]
        starts.add((top, left))
    assert len(starts) > 20


def test_bytes_become_shares_of_white(places, rng):
    pair = Pair("x", places.image.astype(np.uint8), places.label)
    piece = cut(pair, PLAIN, upright=True, rng=rng)
    assert piece["image"].max() <= 53 / 255
    assert piece["image"].dtype == np.float32
    top, left = np.round(255 * piece["image"][0, 0]).astype(int)
    np.testing.assert_array_equal(piece["image"], to_input(pair.image)[top : top + 16, left : left + 16])


@pytest.mark.parametrize("upright", [True, False])
def test_scaled_and_mirrored_labels_stay_with_their_pixels(places, rng, upright):
    """The interpolated picture tells where each pixel was taken from."""
    config = AugmentConfig(crop=24, scale=2, contrast=0, brightness=0)
    steps, seen = [], set()
    for _ in range(60):
        piece = cut(places, config, upright=upright, rng=rng)
        inside = piece["label"] != IGNORE
        rows, columns = (np.floor(piece["image"][..., axis] + 0.5).astype(int) for axis in (0, 1))
        # Half-way between two pixels either label is the nearest one: rounding decides.
        sure = inside & (np.abs((piece["image"] % 1) - 0.5) > 1e-3).all(axis=-1)
        np.testing.assert_array_equal(piece["label"][sure], places.label[rows, columns][sure])
        down, right = piece["image"][12, 12] - piece["image"][11, 11]
        assert abs(down) == pytest.approx(abs(right), abs=1e-4)
        steps.append(abs(down))
        seen.add((np.sign(down), np.sign(right)))
    assert seen == {(1, 1), (1, -1)} | (set() if upright else {(-1, 1), (-1, -1)})
    assert 0.5 <= min(steps) < 0.6
    assert 1.7 < max(steps) <= 2.0


def test_pixels_between_pixels_are_linear(rng):
    x = rng.uniform(size=(13, 17, 2)).astype(np.float32)
    rows, columns = rng.uniform(-2, 14, 9), rng.uniform(-2, 18, 7)
    y = augment._linear(augment._linear(x, rows, axis=0), columns, axis=1)
    at = np.meshgrid(rows, columns, indexing="ij")
    for channel in range(2):
        wanted = map_coordinates(x[..., channel], at, order=1, mode="nearest")
        np.testing.assert_allclose(y[..., channel], wanted, atol=1e-6)


def test_a_small_picture_is_padded_with_what_is_to_be_ignored(rng):
    pair = Pair("x", rng.uniform(size=(5, 40, 1)).astype(np.float32), np.full((5, 40), 3, np.uint8))
    tops = set()
    for _ in range(20):
        piece = cut(pair, PLAIN, upright=True, rng=rng)
        inside = piece["label"] == 3
        assert inside.sum() == 5 * 16
        assert (piece["label"][~inside] == IGNORE).all()
        assert inside[:, 0].sum() == 5
        top = int(inside[:, 0].argmax())
        np.testing.assert_array_equal(
            piece["image"][:top], np.broadcast_to(piece["image"][top], (top, 16, 1))
        )
        tops.add(top)
    assert {0, 11} <= tops <= set(range(12)) or len(tops) > 5


def test_brightness_and_contrast(places):
    """The change is one linear map of the whole piece, the mean moved by the brightness alone."""
    image = places.image[..., :1] / 53
    pair, gains, shifts = Pair("x", image, places.label), [], []
    config = AugmentConfig(crop=37, scale=1, flip=False, contrast=0.5, brightness=0.2)
    plain = AugmentConfig(crop=37, scale=1, flip=False, contrast=0, brightness=0)
    for seed in range(40):
        before = cut(pair, plain, upright=True, rng=np.random.default_rng(seed))["image"]
        after = cut(pair, config, upright=True, rng=np.random.default_rng(seed))["image"]
        gain, _ = np.polyfit(before.ravel(), after.ravel(), 1)
        np.testing.assert_allclose(after, (before - before.mean()) * gain + after.mean(), atol=1e-5)
        gains.append(gain)
        shifts.append(after.mean() - before.mean())
    assert np.exp(-0.5) <= min(gains) < 0.75
    assert 1.3 < max(gains) <= np.exp(0.5)
    assert -0.2 <= min(shifts) < -0.12
    assert 0.12 < max(shifts) <= 0.2 + 1e-6


@pytest.mark.parametrize(
    "wrong", [{"crop": 0}, {"scale": 0.5}, {"contrast": -1}, {"brightness": float("-inf")}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AugmentConfig(**wrong)
    with pytest.raises(ValueError, match="batch_size=0"):
        DataConfig(batch_size=0)


# Labels counted, weighed, and batches


def test_a_survey_counts_labels_and_notices_any_change(rng):
    pairs = [
        Pair(str(i), rng.uniform(size=(6, 7, 1)), rng.choice([0, 1, 2, IGNORE], (6, 7)).astype(np.uint8))
        for i in range(3)
    ]
    found = survey(pairs, 4)
    for row, pair in zip(found.counts, pairs, strict=True):
        assert row.tolist() == [np.sum(pair.label == number) for number in range(4)]
    prints = {found.fingerprint, survey(pairs[::-1], 4).fingerprint}
    changed = pairs[1].label.copy()
    changed[3, 4] = (changed[3, 4] + 1) % 3 if changed[3, 4] != IGNORE else 0
    prints.add(survey([pairs[0], pairs[1]._replace(label=changed), pairs[2]], 4).fingerprint)
    pixels = pairs[2].image.copy()
    pixels[0, 0] += 1e-9
    prints.add(survey([*pairs[:2], pairs[2]._replace(image=pixels)], 4).fingerprint)
    assert len(prints) == 4
    assert survey(pairs, 4).fingerprint == found.fingerprint
    with pytest.raises(ValueError, match="0 has label 2, but there are 2 classes"):
        survey(pairs, 2)


def test_class_weights(rng):
    counts = rng.integers(0, 50, (6, 5)) * rng.integers(0, 2, (6, 5))
    counts[:, 3] = 0
    counts[0, :3] += 1
    weights = class_weights(counts, "balanced")
    shares = {
        c: sum(row[c] for row in counts) / sum(row.sum() for row in counts if row[c])
        for c in range(5)
        if counts[:, c].any()
    }
    for c in range(5):
        wanted = np.median(list(shares.values())) / shares[c] if c in shares else 1
        assert weights[c] == pytest.approx(wanted, rel=1e-6)
    assert class_weights(counts, "none").tolist() == [1] * 5
    assert doctest.testmod(data).attempted
    assert not doctest.testmod(data).failed
    assert not doctest.testmod(composites).failed


@pytest.fixture(scope="module")
def shapes():
    return generated.load(images=5, size=40, seed=0)


CONFIG = DataConfig(batch_size=6, augment=AugmentConfig(crop=24))


def take(stream, count):
    return [next(stream) for _ in range(count)]


def test_batches_are_a_function_of_seed_and_number(shapes):
    stream = batches(shapes, CONFIG, seed=4, shard=Shard())
    first = take(stream, 3)
    state = stream.get_state()
    rest = take(stream, 4)
    assert first[0]["image"].shape == (6, 24, 24, 3)
    assert first[0]["label"].shape == (6, 24, 24)
    again = batches(shapes, CONFIG, seed=4, shard=Shard())
    again.set_state(state)
    assert all(map(same, rest, take(again, 4)))
    assert all(map(same, first, take(batches(shapes, CONFIG, seed=4, shard=Shard()), 3)))
    assert not same(first[0], next(batches(shapes, CONFIG, seed=5, shard=Shard())))
    assert not same(first[0], first[1])


def test_shards_together_are_the_batch(shapes):
    whole = take(batches(shapes, CONFIG, seed=4, shard=Shard()), 4)
    parts = [take(batches(shapes, CONFIG, seed=4, shard=Shard(index, 3)), 4) for index in range(3)]
    for number, batch in enumerate(whole):
        joined = {name: np.concatenate([part[number][name] for part in parts]) for name in batch}
        assert same(batch, joined)
    with pytest.raises(ValueError, match="batch_size=6 cannot be split over 4"):
        batches(shapes, CONFIG, seed=4, shard=Shard(0, 4))


def test_every_picture_is_cut_from_in_every_epoch(shapes):
    """Pictures that are told by their labels: 5 pictures in batches of 6."""
    pairs = [pair._replace(label=np.full_like(pair.label, i)) for i, pair in enumerate(shapes.training)]
    numbered = type(shapes)(**{**vars(shapes), "training": pairs})
    config = DataConfig(batch_size=6, augment=AugmentConfig(crop=24, scale=1))
    stream = batches(numbered, config, seed=0, shard=Shard())
    order = np.concatenate([batch["label"][:, 0, 0] for batch in take(stream, 5)])
    epochs = order.reshape(6, 5)
    assert (np.sort(epochs, axis=1) == np.arange(5)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1
