"""Slides and OME-Zarr images in one call: outlines in pixels of the slide, and labels that lie on the image."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from textdiff.pipeline.config.prediction import PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.prediction import segmenter
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.training.train import train_head

shapely = pytest.importorskip("shapely")


@pytest.fixture(scope="module")
def run(_extracted, tmp_path_factory):
    """A run of the tiny data, trained once."""
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    settings = TrainConfig(
        _extracted.cache,
        tmp_path_factory.mktemp("runs") / "run",
        head="pixel",
        text="true",
        epochs=6,
        device="cpu",
        **sizes,
    )
    train_head(settings)
    return settings.run


def tissue(height, width):
    """Dark discs on light ground."""
    y, x = np.mgrid[:height, :width]
    inside = (y % 24 - 12) ** 2 + (x % 20 - 10) ** 2 < 49
    return np.where(inside[..., None], (90, 50, 140), (235, 190, 215)).astype(np.uint8)


def filled(path, size):
    """Area that the outlines of a GeoJSON file cover, and their bounds."""
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    polygons = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(polygon.is_valid for polygon in polygons)
    return sum(polygon.area for polygon in polygons), shapely.union_all(polygons).bounds


@pytest.mark.slow
def test_a_tiled_slide_has_outlines_in_its_own_pixels_whichever_level_is_segmented(run, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "_ROWS_AT_ONCE", 7)
    slide, whole = tmp_path / "a.svs", tissue(96, 80)
    options = {"tile": (32, 32), "compression": "jpeg", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(slide) as tiff:
        tiff.write(whole, description="Aperio Image\r\n80x96|AppMag = 40|MPP = 0.25", **options)
        tiff.write(np.ascontiguousarray(whole[::2, ::2]), **options)
    settings = PredictConfig(run, slide, tmp_path / "out", formats=("png", "geojson"), device="cpu")
    predict(settings)
    predict(replace(settings, images=tmp_path / "a.svs#level=1"))
    for name, factor in {"a": 1, "a_level1": 2}.items():
        mask = read_mask(tmp_path / "out" / f"{name}.png")
        assert mask.shape == (96 // factor, 80 // factor)
        area, (left, top, right, bottom) = filled(tmp_path / "out" / f"{name}.geojson", mask.shape)
        assert area == (mask > 0).sum() * factor**2
        rows, columns = (np.flatnonzero((mask > 0).any(axis)) * factor for axis in (1, 0))
        assert (left, top) == (columns[0], rows[0])
        assert (right, bottom) == (columns[-1] + factor, rows[-1] + factor)


def test_an_ome_zarr_volume_has_labels_slice_by_slice(run, tmp_path):
    pytest.importorskip("ome_zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader
        from ome_zarr.writer import write_image
    values = np.stack([tissue(40, 48), tissue(48, 56)[8:, 8:]])  # z, y, x, c
    source = tmp_path / "cells.ome.zarr"
    scale = {"c": 1.0, "z": 3.0, "y": 0.5, "x": 0.5}
    write_image(values.transpose(3, 0, 1, 2), str(source), axes="czyx", scale=scale, scale_factors=[2])
    settings = PredictConfig(run, source, tmp_path / "out", device="cpu")
    summary = predict(settings)
    assert [path.name for path in (tmp_path / "out").glob("cells*")] == ["cells.ome.zarr"]
    assert summary.masks == (str(tmp_path / "out" / "cells.ome.zarr"),)
    *_, label = Reader(parse_url(tmp_path / "out" / "cells.ome.zarr"))()
    predict(replace(settings, images=tmp_path / "cells.ome.zarr#z=1", formats=("png",)))
    predict(replace(settings, images=tmp_path / "cells.ome.zarr#z=0", formats=("png",)))
    planes = [read_mask(tmp_path / "out" / f"cells_z{z}.png") for z in (0, 1)]
    assert (np.asarray(label.data[0]) == np.stack(planes)).all()
    assert len({plane.tobytes() for plane in planes}) == 2
    assert label.metadata["coordinateTransformations"][0][0] == {"type": "scale", "scale": [3, 0.5, 0.5]}
    predict(settings)  # again: the labels are replaced
    assert (read_mask(tmp_path / "out" / "cells.ome.zarr#z=1") == planes[1]).all()
