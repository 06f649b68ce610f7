"""The example that draws filters; of its pictures only a few, since each is compiled."""

import numpy as np
import pytest
import skimage.io

from examples import filter_sheet


@pytest.fixture
def grey_file(tmp_path):
    path = tmp_path / "grey.png"
    skimage.io.imsave(path, np.tile(np.arange(0, 250, 5, np.uint8), (40, 1)), check_contrast=False)
    return path


def test_photograph_is_a_square_of_three_colours(grey_file):
    x = filter_sheet.photograph(grey_file)
    assert x.shape == (40, 40, 3)
    np.testing.assert_allclose(x[3, :, 1], np.arange(25, 225, 5) / 255, atol=1e-6)  # the middle of 50 columns
    assert filter_sheet.photograph(None).shape == (384, 384, 3)


def test_sheet_has_a_tile_for_each_filter(grey_file, tmp_path, monkeypatch):
    tiles = [filter_sheet.SMOOTHING[0], filter_sheet.EDGES[0], filter_sheet.EDGES[2]] * 2
    monkeypatch.setattr(filter_sheet, "ROWS", (("a row", tiles),))
    out = tmp_path / "new" / "sheet.png"
    assert filter_sheet.main(["sheet", "--photo", str(grey_file), "--out", str(out)]) == 0
    picture = skimage.io.imread(out)
    assert picture.shape[1] == round(2.75 * 6 * 120)
    assert picture[..., :3].std() > 20


def test_rows_are_full_and_labels_are_unlike():
    labels = [tile.label for _, tiles in filter_sheet.ROWS for tile in tiles]
    assert {len(tiles) for _, tiles in filter_sheet.ROWS} == {6}
    assert len(set(labels)) == len(labels)


def test_a_missing_photograph_is_an_error_of_one_line(tmp_path, capsys):
    assert filter_sheet.main(["sheet", "--photo", str(tmp_path / "no.png")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
