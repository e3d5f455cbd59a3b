"""Levels of slides, as our reader of TIFF, OpenSlide and tiffslide see them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.image_files import slides
from textdiff.pipeline.image_files.intensities import as_rgb
from textdiff.pipeline.image_files.listing import list_images
from textdiff.pipeline.image_files.paths import stem_of
from textdiff.pipeline.image_files.reading import open_image, read_image
from textdiff.pipeline.image_files.slides import SlideImage

LIBRARIES = {"openslide": slides._load_openslide, "tiffslide": slides._load_tiffslide}
APERIO = "Aperio Image Library v11.2.1\r\n{} [0,0 {}] (256x256) JPEG/RGB Q=70|AppMag = 40|MPP = 0.25"


@pytest.fixture(params=LIBRARIES)
def library(request, monkeypatch):
    """One of the two, as if the other were not installed."""
    pytest.importorskip(request.param)

    def absent(path):
        raise ImportError

    other = next(name for name in LIBRARIES if name != request.param)
    monkeypatch.setattr(slides, f"_load_{other}", absent)
    return request.param


def tissue(height, width):
    """Smooth colours, which JPEG keeps, and a border that no tile shares."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) % 256], -1).astype(np.uint8)


def write_svs(path, height=1300, width=1540, *, compression="jpeg", factors=(1, 4), **options):
    """A pyramid of tiles with a thumbnail, described as Aperio's scanners do."""
    whole = tissue(height, width)
    levels = [whole[::factor, ::factor] for factor in factors]
    about = {"tile": (256, 256), "compression": compression, "photometric": "rgb", "metadata": None, **options}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        described = APERIO.format(f"{width}x{height}", f"{width}x{height}")
        tiff.write(levels[0], description=described, **about)
        thumbnail = np.ascontiguousarray(whole[::8, ::8])
        tiff.write(thumbnail, description=APERIO.format("thumbnail", ""), photometric="rgb", metadata=None)
        for level in levels[1:]:
            tiff.write(np.ascontiguousarray(level), description=described, **about)
    return path


def at(path, level):
    return path.with_name(f"{path.name}#level={level}")


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "zlib"])
def test_the_libraries_and_our_reader_agree_on_every_pixel_of_every_level(tmp_path, library, compression):
    path = write_svs(tmp_path / "a.svs", compression=compression)
    for level, size in enumerate([(1300, 1540), (325, 385)]):
        ours, theirs = open_image(at(path, level)), SlideImage(path, level)
        assert ours.size == theirs.size == size
        assert ours.grid == theirs.grid
        assert ours.grid.downsampling == ((1, 1), (4, 4))[level]
        assert ours.grid.pixel_mm == pytest.approx(((0.00025,) * 2, (0.001,) * 2)[level])
        difference = np.abs(ours.read_whole().astype(int) - as_rgb(theirs.read(0, 0, *size), None))
        assert difference.max() == 0


def test_a_slide_without_a_level_is_its_full_resolution(tmp_path):
    path = write_svs(tmp_path / "a.svs", compression="lzw")
    assert (read_image(path) == tissue(1300, 1540)).all()
    assert (read_image(at(path, 0)) == tissue(1300, 1540)).all()
    assert (read_image(at(path, 1)) == tissue(1300, 1540)[::4, ::4]).all()
    with pytest.raises(DataError, match=r"has no level 2; it has level=0 to 1"):
        open_image(at(path, 2))
    with pytest.raises(DataError, match=r"is a TIFF file without slices; leave out #c=1,level=1"):
        open_image(path.with_name("a.svs#level=1,c=1"))
    assert stem_of(at(path, 1)) == "a_level1"


@pytest.mark.parametrize("by_subifds", [True, False])
def test_levels_of_any_pyramid_are_read_without_a_library(tmp_path, by_subifds):
    path, whole = tmp_path / "a.tif", tissue(600, 800)
    with tifffile.TiffWriter(path) as tiff:
        options = {"tile": (256, 256), "photometric": "rgb", "metadata": None}
        tiff.write(whole, subifds=1 if by_subifds else 0, **options)
        tiff.write(np.ascontiguousarray(whole[::2, ::2]), subfiletype=1, **options)
        if not by_subifds:
            tiff.write(np.zeros((50, 50, 3), np.uint8), subfiletype=1, photometric="rgb", metadata=None)  # a label
    assert (read_image(at(path, 1)) == whole[::2, ::2]).all()
    assert open_image(at(path, 1)).grid.downsampling == (2, 2)
    assert (read_image(path) == whole).all()
    with pytest.raises(DataError, match="has no level 2"):
        open_image(at(path, 2))


def test_a_tiff_of_one_level_has_no_other(tmp_path):
    Image.fromarray(tissue(20, 30)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"has no level 1; it has level=0$"):
        open_image(at(tmp_path / "a.tif", 1))


def test_a_kind_that_needs_a_library_goes_by_its_name(tmp_path, library):
    path = write_svs(tmp_path / "a.ndpi", compression="lzw").rename(tmp_path / "a.bif")
    assert (read_image(path) == tissue(1300, 1540)).all()
    assert (read_image(at(path, 1)) == tissue(1300, 1540)[::4, ::4]).all()
    assert list_images(tmp_path) == [path]


def test_what_one_library_does_not_know_the_other_may_read(tmp_path):
    pytest.importorskip("tiffslide")
    path = write_svs(tmp_path / "a.bif", compression="jpeg2000")
    assert np.abs(read_image(path).astype(int) - tissue(1300, 1540)).max() <= 1


def test_without_a_library_the_extra_is_named(tmp_path, monkeypatch):
    def absent(path):
        raise ImportError

    for name in LIBRARIES:
        monkeypatch.setattr(slides, f"_load_{name}", absent)
    (tmp_path / "a.mrxs").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"a\.mrxs is a scanned slide of a kind .*; install textdiff\[slides\]"):
        open_image(tmp_path / "a.mrxs")


def to_ycbcr(path):
    """Say of the pages that they hold YCbCr under LZW, which our reader refuses."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page in tiff.pages:
            page.tags["PhotometricInterpretation"].overwrite(6)
    return path


def test_a_scanners_own_kind_is_read_by_a_library_where_ours_refuses(tmp_path, library, monkeypatch):
    path = to_ycbcr(write_svs(tmp_path / "a.svs", compression="lzw"))
    assert isinstance(open_image(path)._source, SlideImage)
    any_tiff = tmp_path / "b.tif"
    tifffile.imwrite(any_tiff, tissue(300, 300), tile=(128, 128), compression="lzw", photometric="rgb", metadata=None)
    with pytest.raises(DataError, match="holds YCBCR values; save it as RGB or grey"):
        open_image(to_ycbcr(any_tiff))


def test_regions_are_the_parts_of_the_whole_in_any_thread(tmp_path, library):
    path = write_svs(tmp_path / "a.bif", compression="lzw")
    image, whole = open_image(path), tissue(1300, 1540)

    def agrees(box):
        top, left, height, width = box
        return (image.read(*box) == whole[top : top + height, left : left + width]).all()

    boxes = [*image.boxes(), (1000, 1000, 100, 100), (1299, 1539, 1, 1), (5, 0, 20, 1540)]
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(agrees, boxes))
    assert sum(height * width for _, _, height, width in image.boxes()) == 1300 * 1540


def test_what_was_not_scanned_is_white(tmp_path):
    pytest.importorskip("openslide")
    path = write_svs(tmp_path / "a.bif", 600, 600, compression="lzw", factors=(1,))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = list(tiff.pages[0].databytecounts)
        counts[4] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    image = read_image(path)
    assert (image[256:512, 256:512] == 255).all()
    assert (image[:256] == tissue(600, 600)[:256]).all()


@pytest.mark.parametrize("cut", [8, 200, 5000])
def test_broken_slides_are_refused(tmp_path, library, cut):
    path = write_svs(tmp_path / "a.bif", compression="lzw")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="is truncated"):
        read_image(path)  # tiffslide looks no further than the tags at first


def test_a_folder_or_text_named_as_a_slide_is_refused(tmp_path, library):
    (tmp_path / "a.vms").write_text("[Virtual Microscope Specimen]\nImageFile=../../etc/passwd\n")
    with pytest.raises(DataError, match="is truncated, broken or no slide"):
        open_image(tmp_path / "a.vms")
    with pytest.raises(DataError, match=r"gone\.mrxs cannot be read"):
        open_image(tmp_path / "gone.mrxs")
