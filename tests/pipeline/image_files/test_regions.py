import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.data.inspection import inspect_entries
from textdiff.pipeline.data.layouts import Entry
from textdiff.pipeline.image_files import raster as decoding
from textdiff.pipeline.image_files.reading import open_image, open_mask, read_image, read_mask

REGIONS = [(0, 0, 70, 90), (0, 0, 1, 1), (69, 89, 1, 1), (15, 16, 17, 18), (31, 0, 33, 90), (5, 40, 60, 3)]


@pytest.fixture
def rgb():
    """Noise whose size is no multiple of any tile."""
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)


def write(path, array, **options):
    tifffile.imwrite(path, array, **{"photometric": "rgb", **options})
    return path


def damage(path, segment):
    """Overwrite the compressed bytes of one tile or strip."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        start, n = page.dataoffsets[segment], page.databytecounts[segment]
    content = bytearray(path.read_bytes())
    content[start : start + n] = b"\xff" * n
    path.write_bytes(content)


def assert_reads_regions_of(path, expected):
    regions = open_image(path)
    assert regions.size == (70, 90)
    for top, left, height, width in REGIONS:
        region = regions.read(top, left, height, width)
        assert region.dtype == np.uint8
        np.testing.assert_array_equal(region, expected[top : top + height, left : left + width])
    np.testing.assert_array_equal(regions.read_whole(), expected)


# The same values, whatever the file


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("layout", [{"tile": (32, 16)}, {"rowsperstrip": 9}, {}])
def test_lossless_tiffs(tmp_path, rgb, layout, compression, byteorder, big):
    options = {"compression": compression, "bigtiff": big, "byteorder": byteorder, **layout}
    path = write(tmp_path / "a.tif", rgb, predictor=compression is not None, **options)
    assert_reads_regions_of(path, rgb)


@pytest.mark.parametrize("layout", [{"tile": (32, 32)}, {"rowsperstrip": 16}])
def test_planes_that_lie_apart(tmp_path, rgb, layout):
    path = write(tmp_path / "a.tif", np.moveaxis(rgb, -1, 0), planarconfig="separate", compression="zlib", **layout)
    assert_reads_regions_of(path, rgb)


@pytest.mark.parametrize("layout", [{"tile": (32, 32)}, {"rowsperstrip": 16}])
def test_jpeg_segments_equal_what_tifffile_decodes(tmp_path, rgb, layout):
    path = write(tmp_path / "a.tif", rgb, compression="jpeg", **layout)
    assert_reads_regions_of(path, tifffile.imread(path))


def test_jpeg_tiles_that_share_tables(tmp_path):
    flat = np.full((64, 64, 3), (200, 30, 90), np.uint8)
    path = write(tmp_path / "a.tif", flat, compression="jpeg", tile=(32, 32))
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tiles = [content[at : at + n] for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    # As scanners write them: the tables once, in a tag, and every tile without.
    start, end = tiles[0].index(b"\xff\xdb"), tiles[0].index(b"\xff\xc0")
    tables = b"\xff\xd8" + tiles[0][start:end] + b"\xff\xd9"
    bare = [tile[:start] + tile[end:] for tile in tiles]
    write(
        tmp_path / "b.tif",
        iter(bare),
        shape=flat.shape,
        dtype=np.uint8,
        compression="jpeg",
        tile=(32, 32),
        jpegtables=tables,
    )
    np.testing.assert_array_equal(open_image(tmp_path / "b.tif").read(30, 30, 4, 4), read_image(path)[30:34, 30:34])


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_files_that_are_decoded_whole(tmp_path, rgb, name):
    Image.fromarray(rgb).save(tmp_path / name)
    assert_reads_regions_of(tmp_path / name, np.asarray(Image.open(tmp_path / name)))


def test_16_bits_go_through_the_window_by_regions_too(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (70, 90), dtype=np.uint16)
    path = write(tmp_path / "a.tif", deep, photometric="minisblack", tile=(16, 16))
    window = (1000, 60000)
    np.testing.assert_array_equal(
        open_image(path, window).read(5, 6, 40, 50), read_image(path, window)[5:45, 6:56], strict=True
    )
    with pytest.raises(
        DataError, match=rf"holds 16 bit values \({deep[0, 0]} to {deep[0, 0]}\); say with an intensity"
    ):
        open_image(path).read(0, 0, 1, 1)
    with pytest.raises(ConfigError, match=r"window \(5, 5\) is empty"):
        open_image(path, (5, 5))


def test_masks_by_regions(tmp_path):
    values = np.random.default_rng(0).integers(0, 300, (70, 90), dtype=np.uint16)
    path = write(tmp_path / "a.tif", values, photometric="minisblack", tile=(16, 16), compression="zlib")
    np.testing.assert_array_equal(open_mask(path).read(10, 20, 30, 40), values[10:40, 20:60])
    np.testing.assert_array_equal(read_mask(path), values, strict=True)


def test_palettes_and_single_bits(tmp_path):
    indices = np.random.default_rng(0).integers(0, 3, (70, 90), dtype=np.uint8)
    colours = np.zeros((3, 256), np.uint16)
    colours[:, :3] = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 7]]).T * 257
    path = write(tmp_path / "a.tif", indices, photometric="palette", colormap=colours, tile=(16, 16))
    np.testing.assert_array_equal(open_image(path).read(3, 3, 20, 20), (colours.T >> 8)[indices[3:23, 3:23]])
    np.testing.assert_array_equal(open_mask(path).read(3, 3, 20, 20), indices[3:23, 3:23])
    bits = write(tmp_path / "b.tif", indices > 0, photometric="minisblack")
    np.testing.assert_array_equal(open_mask(bits).read(3, 3, 20, 20), indices[3:23, 3:23] > 0)


def test_tiles_that_are_not_stored_are_black(tmp_path, rgb):
    tile = zlib.compress(np.full((32, 32, 3), 9, np.uint8).tobytes())
    options = {"shape": (64, 64, 3), "dtype": np.uint8, "tile": (32, 32), "compression": "zlib"}
    write(tmp_path / "a.tif", iter([b"", tile, tile, tile]), **options)
    whole = open_image(tmp_path / "a.tif").read_whole()
    assert whole[:32, :32].max() == 0
    assert (whole[32:] == 9).all()
    write(tmp_path / "b.tif", iter([b"", tile, tile, tile]), **options, extratags=[(42113, "s", 0, "7", True)])
    assert (open_image(tmp_path / "b.tif").read(0, 0, 32, 32) == 7).all()  # GDAL_NODATA


# Only what is touched is read


@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 16}])
def test_a_broken_segment_is_noticed_by_the_regions_that_touch_it(tmp_path, rgb, layout):
    path = write(tmp_path / "a.tif", rgb, compression="zlib", **layout)
    damage(path, -1)
    regions = open_image(path)
    np.testing.assert_array_equal(regions.read(0, 0, 64, 80), rgb[:64, :80])
    with pytest.raises(DataError, match=r"a\.tif is truncated or broken"):
        regions.read(60, 80, 5, 5)
    found = inspect_entries([Entry("a", "a", "train", path, None, "", "a")], None)
    assert found[0].image is None
    assert "is truncated or broken" in found[0].problems[0]


def test_a_file_that_ends_early_is_refused_on_opening(tmp_path, rgb):
    path = write(tmp_path / "a.tif", rgb, tile=(16, 16))
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(DataError, match=r"a\.tif is truncated: \d+ bytes, its strips need"):
        open_image(path)


def test_many_threads_may_read(tmp_path, rgb):
    regions = open_image(write(tmp_path / "a.tif", rgb, compression="zlib", tile=(16, 16)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: regions.read(at % 60, at % 80, 10, 10), range(200)))
    assert all((region == rgb[i % 60 :, i % 80 :][:10, :10]).all() for i, region in enumerate(found))


@pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, 0, 71, 5), (0, 86, 5, 5), (0, 0, 0, 5)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_regions_outside_are_the_callers_mistake(tmp_path, rgb, suffix, region):
    Image.fromarray(rgb).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match=r"is not inside .*, which has 70 x 90") as caught:
        open_image(tmp_path / f"a.{suffix}").read(*region)
    assert not isinstance(caught.value, DataError)


# Which page is the image


def test_pyramids_are_read_at_full_resolution(tmp_path, rgb):
    for name, flag in (("pages.tif", {}), ("subifds.tif", {"subifds": 1})):
        with tifffile.TiffWriter(tmp_path / name) as tiff:
            tiff.write(rgb, photometric="rgb", tile=(16, 16), **flag)
            tiff.write(rgb[::2, ::2], photometric="rgb", tile=(16, 16), subfiletype=1)
        assert_reads_regions_of(tmp_path / name, rgb)


def test_a_scanned_slide_has_companions(tmp_path, rgb):
    with tifffile.TiffWriter(tmp_path / "a.svs") as tiff:
        about = {"photometric": "rgb", "description": "Aperio Image Library\n90x70|AppMag = 20", "metadata": None}
        tiff.write(rgb, tile=(16, 16), **about)
        tiff.write(rgb[::3, ::3], **about)
        tiff.write(rgb[::2, ::2], tile=(16, 16), **about)
        tiff.write(rgb[:20, :20], subfiletype=1, **about)
        tiff.write(rgb[:30, :20], subfiletype=9, **about)
    assert_reads_regions_of(tmp_path / "a.svs", rgb)


def test_other_pages_make_a_stack(tmp_path, rgb):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(rgb, photometric="rgb", tile=(16, 16))
        tiff.write(rgb[::2, ::2], photometric="rgb")
    with pytest.raises(DataError, match=r"a\.tif is a stack \(70, 90, 3\); export the one plane"):
        open_image(tmp_path / "a.tif")
    reduced = write(tmp_path / "b.tif", rgb, subfiletype=1)
    with pytest.raises(DataError, match=r"b\.tif is a stack"):
        open_image(reduced)


# Large files


def test_a_large_tiff_is_refused_whole_and_read_in_parts(tmp_path, rgb, monkeypatch):
    path = write(tmp_path / "a.tif", rgb, tile=(16, 16))
    monkeypatch.setattr(decoding, "MAX_PIXELS", 6299)
    assert open_image(path).read(0, 0, 69, 90).shape == (69, 90, 3)
    with pytest.raises(DataError, match=r"has 70 x 90 pixels, over the limit of 6299; read it in tiles \(--tile N\)"):
        read_image(path)
    with pytest.raises(
        DataError, match=r"in tiles or strips of 70 x 90 pixels, over the limit of 6299; save it in til"
    ):
        open_image(write(tmp_path / "b.tif", rgb))


def test_inspection_goes_by_segments(tmp_path, monkeypatch):
    values = np.random.default_rng(0).choice(np.array([0, 3, 255], np.uint8), (70, 90))
    path = write(tmp_path / "a.tif", values, photometric="minisblack", tile=(16, 16), compression="zlib")
    monkeypatch.setattr("textdiff.pipeline.image_files.tiff._BOX_PIXELS", 800)
    boxes = list(open_mask(path).boxes())
    assert boxes[0] == (0, 0, 16, 48)
    assert sum(height * width for _, _, height, width in boxes) == 70 * 90
    monkeypatch.setattr(decoding, "MAX_PIXELS", 800)
    (found,) = inspect_entries([Entry("a", "a", "train", path, path, "", "a")], None)
    assert found.problems == ()
    assert found.mask.n_pixels == {value: int((values == value).sum()) for value in (0, 3, 255)}
    assert found.image.size == (70, 90)


SLIDE = """
import resource, sys, zlib
from pathlib import Path
import numpy as np, tifffile
from textdiff.pipeline.image_files.reading import open_image

path = Path(sys.argv[1])
one = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
noise, flat = (zlib.compress(tile.tobytes()) for tile in (one, np.full_like(one, 7)))
tiles = (noise if i == 40 * 79 + 41 else flat for i in range(79 * 79))
tifffile.imwrite(
    path, tiles, shape=(20000, 20000, 3), dtype=np.uint8, tile=(256, 256), compression="zlib", photometric="rgb"
)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
region = open_image(path).read(40 * 256 + 1, 41 * 256 + 1, 256, 256)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert (region[:255, :255] == one[1:, 1:]).all() and (region[255:] == 7).all()
print((after - before) // 1024)
"""


def test_a_region_of_a_slide_of_20000_pixels_costs_little_memory(tmp_path):
    # In a process of its own, whose peak nothing else has raised. The whole slide is 1200 MB.
    script = [sys.executable, "-c", SLIDE, str(tmp_path / "slide.tif")]
    peak_mb = int(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    assert peak_mb < 40


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((1000, 1000, 3), np.uint8)).save(path)
    entries = [Entry(f"{i}", f"{i}", "train", path, None, "", "a") for i in range(100)]
    tracemalloc.start()
    inspect_entries(entries, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000  # of 300 MB; 8 images at once, and what their decoders need
