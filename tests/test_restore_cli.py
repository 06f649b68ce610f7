"""`jaxconv deblur`: files in and out, PSFs and methods in words, and mistakes in one line."""

import numpy as np
import pytest
from PIL import Image

from jaxconv import cli, restore
from jaxconv.restore import files, picture, words


@pytest.fixture
def scene(rng):
    """Blocks, so that there is something to sharpen; 28x33, in colour."""
    blocks = rng.uniform(0.1, 0.9, size=(7, 9, 3)).repeat(5, 0).repeat(5, 1)
    return blocks[:32, :37].astype(np.float32)


PSF = "box:3,5"


def blurred(scene):
    return np.asarray(restore.blur(scene, words.parse_psf(PSF)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_colour_comes_back_to_the_last_bit(rng, tmp_path, suffix):
    for channels in (3, 4):
        values = rng.integers(0, 65536, (7, 5, channels), np.uint16)
        alpha = values[..., 3] / 65535 if channels == 4 else None
        files.write(tmp_path / f"x{suffix}", files.Picture(values[..., :3] / 65535, alpha, 65535))
        again = files.read(tmp_path / f"x{suffix}")
        np.testing.assert_array_equal(np.rint(again.pixels * 65535), values[..., :3])
        assert again.peak == 65535
        assert alpha is None or np.array_equal(again.alpha, alpha)


def test_a_deep_png_is_one_for_pillow_too(rng, tmp_path):
    values = rng.integers(0, 65536, (6, 4, 3), np.uint16)
    files.write(tmp_path / "x.png", files.Picture(values / 65535, None, 65535))
    with Image.open(tmp_path / "x.png") as image:
        np.testing.assert_array_equal(np.asarray(image), values >> 8)


@pytest.mark.parametrize("peak", [255, 65535])
def test_a_picture_is_restored_in_its_depth_and_drawn(scene, tmp_path, capsys, peak):
    y = blurred(scene)
    source = tmp_path / "street.png"
    files.write(source, files.Picture(y, None, peak))
    assert cli.main(["deblur", str(source), "--psf", PSF, "--method", "inverse", "--threshold", "0.1"]) == 0
    result = files.read(tmp_path / "street_deblurred.png")
    assert result.peak == peak
    x, _ = restore.inverse(files.read(source).pixels, words.parse_psf(PSF), threshold=0.1)
    np.testing.assert_allclose(result.pixels, np.clip(x, 0, 1), atol=0.6 / peak)
    with Image.open(tmp_path / "street_deblur.png") as drawn:
        assert drawn.width == 1300
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 50
    assert capsys.readouterr().out.splitlines()[1:] == [
        str(tmp_path / f"street_deblur{e}.png") for e in ("red", "")
    ]


def test_methods_take_their_options(scene, tmp_path):
    grey = files.Picture(blurred(scene)[..., 0])
    files.write(tmp_path / "x.jpg", grey)
    command = ["deblur", str(tmp_path / "x.jpg"), "--psf", PSF, "--out", str(tmp_path / "y.tif")]
    options = ["--method", "richardson_lucy", "--iterations", "7", "--stop", "change:0", "--accelerate"]
    assert cli.main([*command, *options]) == 0
    stop = restore.RelativeChange(0.0)
    y = files.read(tmp_path / "x.jpg").pixels.astype(np.float32)
    x, _ = restore.richardson_lucy(y, words.parse_psf(PSF), iterations=7, stop=stop, accelerate=True)
    np.testing.assert_allclose(files.read(tmp_path / "y.tif").pixels, np.clip(x, 0, 1), atol=0.6 / 255)


def test_total_variation_takes_its_strength_from_the_noise(scene):
    y, psf = blurred(scene), words.parse_psf(PSF)
    x, report = words.method_with("fista", {"iterations": 3})(y, psf)
    weights = [0.15 * float(restore.noise_level(y[..., c])) for c in range(3)]
    np.testing.assert_allclose(report.chosen["weight"], weights, rtol=1e-5)
    alone = restore.fista(y[..., 2], psf, weights[2], iterations=3).x
    np.testing.assert_allclose(x[..., 2], alone, rtol=1e-4)
    assert "chosen by the level of the noise; 3 of 3 iterations: a fixed number." in str(report)


def test_psfs_in_words(tmp_path):
    np.testing.assert_array_equal(words.parse_psf("motion:15,30"), restore.psf.motion(15.0, 30.0))
    np.testing.assert_array_equal(words.parse_psf("gaussian:1.5"), restore.psf.gaussian(1.5))
    np.testing.assert_array_equal(words.parse_psf("box:4"), restore.psf.box((4, 4)))
    assert words.parse_psf("trajectory:3,9").shape == (9, 9)
    point = np.zeros((6, 8))
    point[1, 5:7] = 0.8, 0.4
    files.write(tmp_path / "star.png", files.Picture(point))
    found = words.parse_psf(str(tmp_path / "star.png"))
    np.testing.assert_allclose(found[3, 4:6], [2 / 3, 1 / 3], rtol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--psf", "motion:15"], "psf 'motion:15' has 1 numbers; write motion:LENGTH,DEGREES."),
        (["--psf", "motion:a,3"], "'motion:a,3' has 'a,3' where numbers belong"),
        (["--psf", "star.png"], "psf 'star.png' is neither a file nor one of gaussian:SIGMA"),
        (["--psf", "box:3.5"], "HEIGHT=3.5 must be a whole number."),
        (["--psf", "box:99"], "psf of shape (99, 99) is larger than data"),
        (["--psf", "disk:-1"], "radius=-1.0 must be positive."),
        (["--psf", PSF, "--tv", "1"], "wiener has no option tv; of these it has noise, balance, boundary."),
        (["--psf", PSF, "--stop", "soon", "--method", "fista"], "stop 'soon' is no rule; write whiteness"),
        (["--psf", PSF, "--boundary", "black"], "boundary='black' is not known here; use one of circular"),
        (["--psf", PSF, "--out", "y.doc"], "cannot write y.doc: name it with one of .png"),
        (["--psf", PSF, "--figure", "no/such/y.png"], "no/such"),
    ],
)
def test_mistakes_are_said_in_one_line(scene, tmp_path, capsys, arguments, message):
    files.write(tmp_path / "x.png", files.Picture(scene))
    assert cli.main(["deblur", str(tmp_path / "x.png"), *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"jaxconv deblur: {message}" if "such" not in message else "jaxconv deblur: ")
    assert message in said
    assert said.count("\n") == 1


def test_a_missing_picture_is_named(capsys):
    assert cli.main(["deblur", "none.png", "--psf", PSF]) == 1
    assert capsys.readouterr().err == "jaxconv deblur: no image file at none.png: check the path\n"


def test_the_detail_is_where_the_edges_are():
    pixels = np.zeros((50, 60))
    pixels[30:34, 40:44] = 1
    rows, columns = picture.detail(pixels)
    assert rows.stop - rows.start == columns.stop - columns.start == 10
    assert rows.start <= 29
    assert rows.stop >= 35
    assert columns.start <= 39
    assert columns.stop >= 45
