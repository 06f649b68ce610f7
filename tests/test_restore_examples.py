"""The examples of restoration on small data, and the tables of the benchmark."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks import restoration, restoration_cases, restoration_tables, results
from examples import deblur, pollen_3d
from jaxconv import restore


def test_pollen_is_sharper_and_drawn(rng, tmp_path, capsys):
    truth = np.zeros((20, 22, 26))
    truth[rng.integers(4, 16, 30), rng.integers(4, 18, 30), rng.integers(4, 22, 30)] = 40_000.0
    psf = restore.psf.gaussian(1.0, shape=(18, 20, 22))
    y = np.asarray(restore.blur(truth, psf, boundary="circular"))
    y = 50.0 * rng.poisson(np.maximum(y, 0) / 50)
    for name, values in (("pollen", truth), ("pollen_psf", psf), ("pollen_poisson_noise_blurred", y)):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.asarray(values, np.float32))
    arguments = ["demo", "--data", str(tmp_path), "--out", f"{tmp_path}/p.png", "--iterations", "6"]
    assert pollen_3d.run(pollen_3d._COMMANDS, "", arguments) == 0
    said = capsys.readouterr().out
    after, before = (float(part.split()[-2]) for part in said.splitlines()[1].split(",")[-2:])
    assert after > before + 1
    with Image.open(tmp_path / "p.png") as drawn:
        assert drawn.size == (1300, 820)
    assert pollen_3d.run(pollen_3d._COMMANDS, "", ["demo", "--data", "nowhere"]) == 2
    assert "pip download --no-deps sdeconv" in capsys.readouterr().err


def test_deblur_fits_the_motion(rng, tmp_path):
    steps = rng.normal(size=(96, 120)).cumsum(0).cumsum(1)
    scene = (steps - steps.min()) / (steps.max() - steps.min())
    params = {"length": 7.0, "angle": 30.0}
    seen = deblur.observe(scene.astype(np.float32), deblur.motion(params), 0.002)
    assert seen.y.shape == seen.truth.shape == (72, 96)
    found = deblur.restored(seen, params, {"length": 6.0, "angle": 26.0})
    assert len(found) == 6
    errors = {name: np.mean((x - seen.truth) ** 2) for name, x in found.items()}
    assert errors["Wiener"] < errors["blurred"]
    deblur.draw(tmp_path / "d.png", seen.truth, found)
    with Image.open(tmp_path / "d.png") as drawn:
        assert drawn.width == 1500


def test_benchmark_says_who_is_better(rng, tmp_path):
    psf = np.asarray(restore.psf.box((3, 5)), np.float32)
    truth = rng.uniform(size=(5, 6)).repeat(6, 0).repeat(6, 1).astype(np.float32)
    y = np.asarray(restore.blur(truth, psf, boundary="reflect"))
    case = restoration_cases.Case("tiny", y, truth, psf, 0.01)
    row = restoration.measure(case, ("skimage",), 1)
    facts = row["methods"]
    assert facts["observed"]["psnr"] == pytest.approx(-10 * np.log10(np.mean((y - truth) ** 2)), rel=1e-5)
    assert len(facts["skimage:wiener"]["samples"]) == 1
    # As if jaxconv had been twice as quick, and two decibels better.
    for name in ("wiener", "richardson_lucy", "unsupervised_wiener"):
        theirs = facts[f"skimage:{name}"]
        facts[f"jaxconv:{name}"] = {
            **theirs,
            "psnr": theirs["psnr"] + 2,
            "samples": [[min(theirs["samples"][0]) / 2]],
        }
    path = tmp_path / "r.jsonl"
    results.append(path, {"kind": "header"})
    results.append(path, row)
    text = "\n".join(restoration_tables.tables(results.read(path)))
    assert "| wiener | 1 | 2.00 | 2.00 | 2.00 | 0 of 1 |" in text
    assert "Geometric mean with jaxconv's boundaries: 2.00 times faster." in text


def test_every_photograph_of_the_benchmark_is_there_and_is_blurred_within_its_frame():
    assert len(list(restoration.names())) == 40
    case = restoration.build("coins-trajectory-0.03", None)
    rows, columns = (size // 2 for size in case.psf.shape)
    window = case.truth[:50, :50]
    by_hand = sum(
        case.psf[i, j] * window[20 + rows - i, 20 + columns - j] for i, j in np.ndindex(*case.psf.shape)
    )
    assert abs(case.y[20, 20] - by_hand) < 5 * 0.03
    assert case.y.shape == case.truth.shape == (303 - 24, 384 - 24)
