"""PNG masks that are written by bands, read back by Pillow and by our own reader."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from textdiff.pipeline.exchange.outputs import MaskBand, OutputTarget
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.image_files.volumes import Volume
from textdiff.pipeline.prediction.arrays import PngMask, UncertaintyMap, to_grey, write_mask


def target_at(folder, size, dtype=np.uint8):
    volume = Volume(folder / "a.tif", "a", (folder / "a.tif",))
    return OutputTarget(folder, volume, size, {0: "background", 1: "nucleus"}, np.dtype(dtype))


def band_of(top, mask, uncertainty=None):
    shape = mask.shape
    return MaskBand(0, top, mask, np.ones(shape, np.float32), np.ones((2, *shape), np.float32), uncertainty)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("heights", [[20], [1] * 20, [7, 13]])
def test_masks_by_bands_are_the_mask(tmp_path, dtype, heights):
    mask = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (20, 13), dtype, endpoint=True)
    writer, top = PngMask(target_at(tmp_path, mask.shape, dtype)), 0
    for height in heights:
        writer.add(band_of(top, mask[top : top + height]))
        top += height
    assert [path.name for path in tmp_path.iterdir()] == ["a.png.tmp"]
    writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as image:
        assert (np.array(image) == mask).all()
    assert (read_mask(tmp_path / "a.png") == mask).all()
    write_mask(tmp_path / "b.png", mask)
    assert (read_mask(tmp_path / "b.png") == mask).all()


def test_uncertainty_by_bands_is_its_grey_image(tmp_path):
    uncertainty = np.random.default_rng(0).random((20, 13), np.float32) * 0.69
    writer = UncertaintyMap(target_at(tmp_path, uncertainty.shape))
    for top in (0, 9):
        rows = uncertainty[top : (9, 20)[top > 0]]
        writer.add(band_of(top, np.zeros(rows.shape, np.uint8), rows))
    writer.finish()
    assert (read_mask(tmp_path / "a_uncertainty.png") == to_grey(uncertainty, 2)).all()


def test_nothing_is_left_of_what_is_discarded_and_an_old_mask_stays(tmp_path):
    write_mask(tmp_path / "a.png", np.ones((2, 2), np.uint8))
    writer = PngMask(target_at(tmp_path, (20, 13)))
    writer.add(band_of(0, np.zeros((5, 13), np.uint8)))
    writer.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert read_mask(tmp_path / "a.png").all()


def test_memory_does_not_grow_with_the_height(tmp_path):
    rows = np.random.default_rng(0).integers(0, 2, (64, 4096), np.uint8)
    writer = PngMask(target_at(tmp_path, (64 * 32, 4096)))
    tracemalloc.start()
    for i in range(32):
        writer.add(band_of(64 * i, rows))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    writer.finish()
    assert most < 20 * rows.nbytes  # of 32, with the bands themselves at 13 bytes a pixel
    assert (read_mask(tmp_path / "a.png") == np.tile(rows, (32, 1))).all()


def test_a_mask_makes_its_folder(tmp_path):
    write_mask(tmp_path / "masks" / "a.png", np.ones((2, 2), np.uint8))
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a.png"]
