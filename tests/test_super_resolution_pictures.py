"""The super-resolution example up to the network: resizing, metrics, image files, photographs and patches."""

import doctest
import math
import re
from fractions import Fraction
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.color
import skimage.metrics
from PIL import Image

from examples.common.task import Shard
from examples.super_resolution import data, images
from examples.super_resolution import imresize as imresize_module
from examples.super_resolution import metrics as metrics_module
from examples.super_resolution.imresize import bicubic, imresize
from examples.super_resolution.metrics import psnr, rgb2ycbcr, ssim, to_8_bit, ycbcr2rgb

DOWN = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 4), Fraction(2, 3)]
UP = [Fraction(2), Fraction(3), Fraction(4), Fraction(5, 2)]


def keys(t):
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def slow_imresize(x, scale):
    """One output at a time: every pixel of an endlessly mirrored picture that the kernel reaches."""
    factor, stretch = float(scale), max(1.0, 1 / float(scale))
    out = [math.ceil(side * scale) for side in x.shape]

    def line(o, side):
        centre = (o + 0.5) / factor - 0.5
        around = range(math.floor(centre - 2 * stretch) - 1, math.ceil(centre + 2 * stretch) + 2)
        weights = [keys((centre - i) / stretch) for i in around]
        mirror = [i % (2 * side) if i % (2 * side) < side else 2 * side - 1 - i % (2 * side) for i in around]
        return [(i, w / sum(weights)) for i, w in zip(mirror, weights, strict=True) if w]

    y = np.zeros(out)
    for o in np.ndindex(*out):
        rows, columns = (line(at, side) for at, side in zip(o, x.shape, strict=True))
        y[o] = sum(a * b * x[i, j] for i, a in rows for j, b in columns)
    return y


@pytest.mark.parametrize("scale", [*DOWN, *UP], ids=str)
def test_imresize_is_the_sum_over_a_mirrored_picture(rng, scale):
    x = rng.normal(size=(11, 7))  # 7 is less than the 16 pixels a quarter reaches: mirrored more than once
    np.testing.assert_allclose(imresize(x, scale), slow_imresize(x, scale), rtol=0, atol=1e-13)


def test_imresize_weights_are_those_of_matlab():
    """In closed form, away from the border: the kernel stretched by 2 and 3, and the plain one."""

    def weights(size, scale, o):
        row = imresize(np.eye(size)[:, None].repeat(2, 1), scale)[o, 0]
        return row[row != 0]

    np.testing.assert_allclose(
        256 * weights(64, Fraction(1, 2), 10), [-3, -9, 29, 111, 111, 29, -9, -3], atol=1e-12
    )
    np.testing.assert_allclose(
        243 * weights(60, Fraction(1, 3), 10), [-3, -6, 27, 63, 81, 63, 27, -6, -3], atol=1e-12
    )
    phase = np.array([-3, 29, 111, -9]) / 128
    np.testing.assert_allclose(weights(64, 2, 21), phase[[3, 2, 1, 0]], atol=1e-15)
    np.testing.assert_allclose(weights(64, 2, 22), phase, atol=1e-15)


@pytest.mark.parametrize("scale", [*DOWN, *UP], ids=str)
def test_imresize_size_constant_and_ramp(scale):
    x = np.add.outer(2.0 * np.arange(48), 3.0 * np.arange(61))
    y = imresize(x, scale)
    assert y.shape == tuple(math.ceil(side * scale) for side in x.shape)
    np.testing.assert_allclose(imresize(np.full((9, 14), 0.7), scale), 0.7, rtol=1e-14)
    # Weights that are symmetric or interpolate reproduce straight lines away from the border.
    if scale != Fraction(2, 3):
        down, right = ((np.arange(size) + 0.5) / float(scale) - 0.5 for size in y.shape)
        inner = (
            (slice(math.ceil(2 * scale), -math.ceil(2 * scale)),) * 2 if scale > 1 else (slice(3, -3),) * 2
        )
        np.testing.assert_allclose(y[inner], np.add.outer(2 * down, 3 * right)[inner], rtol=1e-12)


def test_imresize_of_a_jax_array_is_that_of_numpy(rng):
    x = rng.normal(size=(12, 9, 3))
    y = jax.jit(lambda x: bicubic(x, 3))(jnp.float32(x))
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, imresize(x, 3), atol=30 * np.finfo(np.float32).eps)


def test_colours_are_those_of_matlab(rng):
    rgb = rng.uniform(size=(5, 7, 3))
    np.testing.assert_allclose(rgb2ycbcr(rgb), skimage.color.rgb2ycbcr(rgb), atol=1e-12)
    np.testing.assert_allclose(ycbcr2rgb(rgb2ycbcr(rgb)), rgb, atol=1e-14)
    primaries = rgb2ycbcr(np.array([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    known = [[16, 128, 128], [235, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110]]
    np.testing.assert_array_equal(to_8_bit(primaries), known)
    grey = rng.uniform(size=(3, 4))
    np.testing.assert_allclose(images.luma(grey), images.luma(np.dstack([grey] * 3)), atol=1e-12)


@pytest.mark.parametrize("border", [0, 3])
def test_psnr_and_ssim_are_those_of_scikit_image(rng, border):
    truth = to_8_bit(rng.uniform(0, 255, size=(41, 29)))
    x = to_8_bit(truth + rng.normal(scale=20, size=truth.shape))
    inside = (slice(border, 41 - border), slice(border, 29 - border))
    wanted = skimage.metrics.peak_signal_noise_ratio(truth[inside], x[inside], data_range=255)
    assert psnr(x, truth, border=border) == pytest.approx(wanted, abs=1e-10)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    wanted = skimage.metrics.structural_similarity(truth[inside], x[inside], **options)
    assert ssim(x, truth, border=border) == pytest.approx(wanted, abs=1e-10)
    assert not math.isclose(psnr(x, truth, border=border), psnr(x, truth, border=border + 1))


def test_ssim_is_the_formula_in_every_window(rng):
    x, truth = rng.uniform(0, 255, size=(2, 13, 12))
    gauss = np.exp(-np.add.outer(np.arange(-5, 6) ** 2, np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    gauss /= gauss.sum()
    values = []
    for i, j in np.ndindex(3, 2):
        a, b = (picture[i : i + 11, j : j + 11] for picture in (x, truth))
        ma, mb = (gauss * a).sum(), (gauss * b).sum()
        va, vb, cov = (
            (gauss * (a - ma) ** 2).sum(),
            (gauss * (b - mb) ** 2).sum(),
            (gauss * (a - ma) * (b - mb)).sum(),
        )
        c1, c2 = 6.5025, 58.5225
        values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert ssim(x, truth) == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("module", [imresize_module, metrics_module])
def test_docstrings_are_true(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_perfect_pictures():
    x = np.arange(400.0).reshape(20, 20) % 251
    assert psnr(x, x) == math.inf
    assert ssim(x, x) == 1.0


# Image files. Each entry: Pillow's mode, the values written, what reading must give (pixels and alpha).

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.dstack([RAMP, 255 - RAMP, RAMP // 2])


def palette(transparent):
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 3, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    if transparent:
        image.info["transparency"] = 2
    return image


def expected_palette():
    return np.eye(3)[np.arange(12).reshape(3, 4) % 3]


KINDS = {
    "grey": (lambda: Image.fromarray(RAMP), RAMP / 255, None),
    "grey+alpha": (lambda: Image.fromarray(np.dstack([RAMP, 255 - RAMP])), RAMP / 255, 1 - RAMP / 255),
    "rgb": (lambda: Image.fromarray(RGB), RGB / 255, None),
    "rgba": (lambda: Image.fromarray(np.dstack([RGB, RAMP])), RGB / 255, RAMP / 255),
    "16 bit": (lambda: Image.fromarray(RAMP.astype(np.uint16) * 257 + 3), (RAMP * 257.0 + 3) / 65535, None),
    "bilevel": (lambda: Image.fromarray(RAMP > 100), (RAMP > 100) * 1.0, None),
    "palette": (lambda: palette(transparent=False), expected_palette(), None),
    "palette+alpha": (lambda: palette(transparent=True), expected_palette(), 1 - expected_palette()[..., 2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_png(tmp_path, kind):
    make, pixels, alpha = KINDS[kind]
    make().save(tmp_path / "x.png")
    picture = images.read(tmp_path / "x.png")
    np.testing.assert_allclose(picture.pixels, pixels, atol=1e-12)
    assert picture.peak == (65535 if kind == "16 bit" else 255)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_allclose(picture.alpha, alpha, atol=1e-12)


def test_reading_cmyk_and_a_turned_photograph(tmp_path):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "x.tif")
    np.testing.assert_allclose(images.read(tmp_path / "x.tif").pixels, RGB / 255, atol=2 / 255)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: turn clockwise
    Image.fromarray(RGB).save(tmp_path / "x.png", exif=turned)
    np.testing.assert_allclose(images.read(tmp_path / "x.png").pixels, np.rot90(RGB, -1) / 255)


@pytest.mark.parametrize("kind", ["grey", "grey+alpha", "rgb", "rgba", "16 bit"])
def test_what_is_written_is_read_back(tmp_path, kind):
    make, *_ = KINDS[kind]
    make().save(tmp_path / "x.png")
    picture = images.read(tmp_path / "x.png")
    images.write(tmp_path / "y.png", picture)
    again = images.read(tmp_path / "y.png")
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert (again.alpha is None, again.peak) == (picture.alpha is None, picture.peak)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "y.png"]


def test_writing_clips_rounds_and_honours_the_format(tmp_path):
    images.write(
        tmp_path / "y.bmp", images.Picture(np.array([[-0.2, 0.5 / 255], [0.49 / 255, 1.7]]), None, 65535)
    )
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "y.bmp")), [[0, 1], [0, 255]])
    clear = images.Picture(np.zeros((2, 2)), np.zeros((2, 2)))
    for name, complaint in (
        ("y.jpg", "holds no transparency"),
        ("y.xyz", "name it with one of"),
        ("no/y.png", "no folder"),
    ):
        with pytest.raises(ValueError, match=complaint):
            images.write(tmp_path / name, clear)


def damaged(tmp_path, how):
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(path)
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        path.write_bytes(content[:60] + bytes(byte ^ 255 for byte in content[60:]))
    elif how == "text":
        path.write_text("no picture")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "missing":
        path.unlink()
    elif how == "floats":
        path = tmp_path / "x.tif"
        Image.fromarray(np.ones((4, 4), np.float32)).save(path)
    return path


@pytest.mark.parametrize("how", ["truncated", "flipped", "text", "empty", "missing", "floats"])
def test_an_unreadable_image_is_named(tmp_path, how):
    path = damaged(tmp_path, how)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        images.read(path)


# Photographs and patches.


def folder_of_photographs(folder, rng, sizes=((40, 52), (48, 37), (61, 45))):
    """Smooth random colour pictures, called a.png, b.png, ..."""
    folder.mkdir(exist_ok=True)
    for name, (height, width) in zip("abcdefgh", sizes, strict=False):
        coarse = rng.uniform(size=(-(-height // 4), -(-width // 4), 3))
        pixels = np.clip(imresize(coarse, 4)[:height, :width], 0, 1)
        images.write(folder / f"{name}.png", images.Picture(pixels))
    return folder


def test_the_skimage_split_is_by_photograph():
    training, held_out = data.find(data.DataConfig())
    assert not {path.name for path in training} & {path.name for path in held_out}
    assert [path.name for path in held_out] == ["astronaut.png", "coffee.png", "camera.png", "chelsea.png"]
    assert sum("motorcycle" in path.name for path in training) == 2
    assert all(path.is_file() for path in (*training, *held_out))


def test_a_folder_is_split_at_its_end(tmp_path, rng):
    folder_of_photographs(tmp_path, rng, [(30, 30)] * 7)
    (tmp_path / "notes.txt").write_text("no photograph")
    training, held_out = data.find(data.DataConfig(data=str(tmp_path), holdout=0.3))
    assert [path.stem for path in training] == list("abcde")
    assert [path.stem for path in held_out] == list("fg")
    _, held_out = data.find(data.DataConfig(data=str(tmp_path), holdout=0.01))
    assert [path.stem for path in held_out] == ["g"]


def test_debian_photographs(tmp_path, rng, monkeypatch):
    folders = [folder_of_photographs(tmp_path / name, rng, [(30, 30)] * 2) for name in ("nature", "all")]
    monkeypatch.setattr(data, "DEBIAN_FOLDERS", (*folders, tmp_path / "missing"))
    with pytest.raises(ValueError, match="mate-backgrounds"):
        data.find(data.DataConfig(data="debian"))
    for path in (folders[0] / "one.jpg", folders[1] / "two.jpg", folders[1] / "analogpattern_by_someone.jpg"):
        Image.fromarray(RGB).save(path)
    training, held_out = data.find(data.DataConfig(data="debian"))
    assert [path.name for path in (*training, *held_out)] == ["one.jpg", "two.jpg"]


def test_a_photograph_is_cropped_and_reduced(tmp_path, rng):
    folder_of_photographs(tmp_path, rng, [(40, 52)])
    photo = data.load_photo(tmp_path / "a.png", scale=3, minimum=8, halve_jpeg=True)
    y = skimage.color.rgb2ycbcr(np.asarray(Image.open(tmp_path / "a.png")))[:39, :51, 0] / 255
    np.testing.assert_allclose(photo.high, y, atol=1e-7)
    np.testing.assert_allclose(photo.low, imresize(y, Fraction(1, 3)), atol=1e-7)
    assert (photo.high.dtype, photo.low.shape) == (np.float32, (13, 17))


def test_a_jpeg_is_halved(tmp_path, rng):
    folder_of_photographs(tmp_path, rng, [(40, 52)])
    Image.open(tmp_path / "a.png").save(tmp_path / "a.jpg", quality=95)
    shapes = [
        data.load_photo(tmp_path / "a.jpg", scale=2, minimum=8, halve_jpeg=halve).high.shape
        for halve in (True, False)
    ]
    assert shapes == [(20, 26), (40, 52)]


@pytest.mark.parametrize(
    ("case", "complaint"),
    [
        ("missing", "no folder .*give skimage, debian or an existing folder"),
        ("empty", "no photographs in"),
        ("single", "one to train and one to hold out"),
        ("holdout", "holdout=1.5 must be a share"),
        ("small", "a.png is too small: 39x51 pixels, at scale 3 it needs 300"),
        ("corrupt", "cannot read .*b.png"),
        ("flat", "every patch .*lower flat"),
    ],
)
def test_unusable_photographs_are_refused(tmp_path, rng, case, complaint):
    folder = tmp_path / "photographs"
    if case != "missing":
        folder_of_photographs(
            folder, rng, {"empty": [], "single": [(40, 40)]}.get(case, [(40, 52), (48, 37)])
        )
    if case == "corrupt":
        (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    config = data.DataConfig(
        data=str(folder),
        holdout=1.5 if case == "holdout" else 0.2,
        patch=100 if case == "small" else 8,
        flat=1.0 if case == "flat" else 0.0,
    )
    with pytest.raises(ValueError, match=complaint):
        tiles_of(config)


def tiles_of(config):
    training, held_out = data.find(config)
    return data.tiles(data.load([*training, *held_out], config, 3), config)


def photographs(rng, scale=3):
    highs = [rng.uniform(size=(side * scale, 20 * scale)).astype(np.float32) for side in (15, 22)]
    return [data.Photo(f"{n}", high, imresize(high, Fraction(1, scale))) for n, high in enumerate(highs)]


def orientations(patch):
    return [np.rot90(mirrored, turns) for mirrored in (patch, patch[:, ::-1]) for turns in range(4)]


def locate(photos, low, high, scale):
    """The photograph and the orientation from which both patches of a pair were cut at one place."""
    for number, photo in enumerate(photos):
        for orientation, (a, b) in enumerate(zip(orientations(low), orientations(high), strict=True)):
            windows = np.lib.stride_tricks.sliding_window_view(photo.low, a.shape)
            for top, left in np.argwhere((windows == a).all(axis=(2, 3))):
                place = (slice(scale * at, scale * at + b.shape[0]) for at in (top, left))
                if np.array_equal(photo.high[tuple(place)], b):
                    return number, orientation
    raise AssertionError("the pair is in no photograph")


def test_patches_are_aligned_pairs_in_eight_orientations(rng):
    photos, config = photographs(rng), data.DataConfig(patch=8, batch_size=4)
    stream = data.batches(photos, config, scale=3, seed=1, shard=Shard())
    found = []
    for batch in (next(stream) for _ in range(15)):
        assert (batch["low"].shape, batch["high"].shape) == ((4, 8, 8, 1), (4, 24, 24, 1))
        found += [
            locate(photos, low[..., 0], high[..., 0], 3)
            for low, high in zip(batch["low"], batch["high"], strict=True)
        ]
    assert {number for number, _ in found} == {0, 1}
    assert len({orientation for _, orientation in found}) == 8


def test_an_epoch_visits_every_tile_that_shows_something(rng):
    photos = photographs(rng)
    photos[0].low[:8, :8] = 0.5
    config = data.DataConfig(patch=8, flat=0.01)
    tiles = data.tiles(photos, config)
    assert data.Tile(0, 0, 0) not in tiles
    assert {data.Tile(0, 0, 4), data.Tile(0, 4, 0), data.Tile(1, 12, 12)} <= set(tiles)
    assert len(tiles) == 2 * 4 + 4 * 4 - 1


def test_the_stream_is_a_function_of_seed_and_position(rng):
    photos, config = photographs(rng), data.DataConfig(patch=8, batch_size=3)
    stream = data.batches(photos, config, scale=3, seed=1, shard=Shard())
    first = [next(stream) for _ in range(9)]
    state = stream.get_state()
    then = [next(stream) for _ in range(9)]
    resumed = data.batches(photos, config, scale=3, seed=1, shard=Shard())
    resumed.set_state(state)
    for wanted in then:
        batch = next(resumed)
        assert all(np.array_equal(batch[name], wanted[name]) for name in wanted)
    other = next(data.batches(photos, config, scale=3, seed=2, shard=Shard()))
    assert not np.array_equal(other["low"], first[0]["low"])
    assert not any(np.array_equal(a["low"], b["low"]) for a, b in pairwise(first))


def test_the_fingerprint_sees_one_pixel(rng):
    photos = photographs(rng)
    before = data.fingerprint(photos)
    photos[1].high[3, 5] += 1e-3
    assert data.fingerprint(photos) != before
