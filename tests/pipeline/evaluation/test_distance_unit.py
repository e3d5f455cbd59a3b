"""Distances in mm where every image states its pixels' size, else in pixels, with the reason."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from textdiff.cache.format.samples import SampleRow
from textdiff.pipeline.evaluation import distance_unit as unit
from textdiff.pipeline.evaluation.distance_unit import distance_unit
from textdiff.pipeline.image_files.spacing import PixelSpacing

WIDE = SampleRow("a", "a", "p", "test", 0, None, (100, 400), "a.dcm", "", None, None)
ROWS = [WIDE, replace(WIDE, parent="b", size=(200, 200), image="b.dcm")]


def reader(root, tile=None):
    features = SimpleNamespace(image_size=200, tile=tile)
    return SimpleNamespace(table=SimpleNamespace(root=root), manifest=SimpleNamespace(features=features))


@pytest.fixture
def stated(monkeypatch, tmp_path):
    """File name → spacing that it states; to be changed by the test."""
    of = {"a.dcm": PixelSpacing((0.5, 0.25)), "b.dcm": PixelSpacing((1.0, 2.0))}
    for name in of:
        (tmp_path / name).touch()
    monkeypatch.setattr(unit, "pixel_spacing", lambda path: of.get(path.name) if path.parent == tmp_path else None)
    return of


@pytest.mark.usefixtures("stated")
def test_pixels_of_the_models_square_cover_other_lengths_along_each_axis(tmp_path):
    native, tiles, model = (
        distance_unit(reader(tmp_path, tile), ROWS, at)
        for at, tile in (("native", None), ("model", 64), ("model", None))
    )
    assert {of.name for of in (native, tiles, model)} == {"mm"}
    assert native.spacing == tiles.spacing == {"a": (0.5, 0.25), "b": (1.0, 2.0)}
    # 100 rows of 0.5 mm are 50 mm in 200 pixels, 400 columns of 0.25 mm are 100 mm in 200.
    assert model.spacing == {"a": (0.25, 0.5), "b": (1.0, 2.0)}
    assert model.of(WIDE) == (0.25, 0.5)
    assert model.remark == ""


def test_one_image_that_states_none_puts_all_into_pixels_and_is_named(stated, tmp_path):
    del stated["b.dcm"]
    found = distance_unit(reader(tmp_path), ROWS, "native")
    assert (found.name, found.of(WIDE)) == ("px", (1.0, 1.0))
    assert found.remark == "1 (b) of 2 images state no pixel size or are gone: distances are in pixels"
    stated.clear()
    assert distance_unit(reader(tmp_path), ROWS, "native").remark == ""  # nothing odd about photographs


def test_files_that_are_gone_or_not_named_are_remarked(stated, tmp_path):
    stated.clear()
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).unlink()
    found = distance_unit(reader(tmp_path), ROWS, "native")
    assert found.remark == "2 (a, b) of 2 images state no pixel size or are gone: distances are in pixels"
    unnamed = distance_unit(reader(""), ROWS, "native")
    assert (found.name, unnamed.name) == ("px", "px")
    assert unnamed.remark == "the cache does not name its image files (--hash-ids): distances are in pixels"


def test_sizes_at_the_detector_are_named(stated, tmp_path):
    stated["a.dcm"] = PixelSpacing((0.2, 0.2), at_detector=True)
    found = distance_unit(reader(tmp_path), ROWS, "native")
    assert found.name == "mm"
    assert found.remark == (
        "1 (a) of 2 images state the pixel size at the detector alone (ImagerPixelSpacing): in the patient their "
        "distances are shorter"
    )
