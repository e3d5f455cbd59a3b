import sys

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.image_files.reading import open_image, read_image, read_mask

pydicom = pytest.importorskip("pydicom")

GREY = np.array([[0, 864, 1064], [1264, 2000, 4095]], np.uint16)
HOUNSFIELD = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}


def write(path, pixels, kind="MONOCHROME2", bits=None, syntax="1.2.840.10008.1.2.1", frames=None, **tags):
    """A DICOM file; `frames` are compressed already."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
    dataset.set_pixel_data(pixels, kind, bits or 8 * pixels.dtype.itemsize)
    if frames:
        dataset.PixelData = pydicom.encaps.encapsulate(frames)
        dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**tags):
    found = pydicom.Dataset()
    for name, value in tags.items():
        setattr(found, name, value)
    return found


# Grey levels


def test_hounsfield_units_go_through_the_window(tmp_path):
    path = write(tmp_path / "a.dcm", GREY, bits=12, **HOUNSFIELD)
    # HU: -1024, -160, 40, 240, 976, 3071; 255 * 200 / 400 = 127.5 -> 128
    assert read_image(path, (-160, 240))[..., 1].tolist() == [[0, 0, 128], [255, 255, 255]]
    assert open_image(path, (-160, 240)).read(0, 2, 2, 1)[..., 0].tolist() == [[128], [255]]


def test_slopes_that_are_no_whole_numbers(tmp_path):
    path = write(tmp_path / "a.dcm", np.array([[0, 100, 200]], np.uint16), RescaleSlope=0.5, RescaleIntercept=-20.5)
    # -20.5, 29.5, 79.5 in -20..80: 0, 49.5% = 126.225, 99.5% = 253.725
    assert read_image(path, (-20, 80))[0, :, 0].tolist() == [0, 126, 254]


def test_signed_values(tmp_path):
    path = write(tmp_path / "a.dcm", np.array([[-1000, 0, 1000]], np.int16))
    assert read_image(path, (-1000, 1000))[0, :, 0].tolist() == [0, 128, 255]


def test_white_is_zero(tmp_path):
    path = write(tmp_path / "a.dcm", np.array([[0, 51, 255]], np.uint8), kind="MONOCHROME1")
    assert read_image(path)[..., 2].tolist() == [[255, 204, 0]]
    deep = write(tmp_path / "b.dcm", np.array([[0, 1000]], np.uint16), kind="MONOCHROME1")
    assert read_image(deep, (0, 1000))[..., 0].tolist() == [[255, 0]]


def test_more_than_8_bits_without_a_window_are_refused_with_the_files_own(tmp_path):
    path = write(tmp_path / "a.dcm", GREY, bits=12, WindowCenter=[40, 300], WindowWidth=[400, 1500], **HOUNSFIELD)
    said = r"holds 12 bit values \(-1024 to 3071\); say with an intensity window .* suggests --window -160,240\)$"
    with pytest.raises(DataError, match=said):
        read_image(path)
    with pytest.raises(DataError, match=r"which of them become black and white$"):
        read_image(write(tmp_path / "b.dcm", GREY, bits=12))


def test_8_bits_need_no_window_unless_they_are_rescaled(tmp_path):
    pixels = np.array([[0, 7, 255]], np.uint8)
    assert read_image(write(tmp_path / "a.dcm", pixels), (50, 60))[..., 0].tolist() == [[0, 7, 255]]
    with pytest.raises(DataError, match=r"holds 8 bit values \(0 to 510\)"):
        read_image(write(tmp_path / "b.dcm", pixels, RescaleSlope=2, RescaleIntercept=0))


def test_a_slope_of_0_is_refused(tmp_path):
    path = write(tmp_path / "a.dcm", GREY, bits=12, RescaleSlope=0, RescaleIntercept=-1024)
    with pytest.raises(DataError, match=r"a\.dcm scales all its values to one \(RescaleSlope 0\); correct"):
        read_mask(path)


def test_a_window_without_width_is_not_suggested(tmp_path):
    path = write(tmp_path / "a.dcm", GREY, bits=12, WindowCenter=40, WindowWidth=0.5)
    with pytest.raises(DataError, match=r"become black and white$"):
        read_image(path)


def test_a_table_of_the_modality_is_applied(tmp_path):
    data = np.array([0, 10, 500, 1000], "<u2").tobytes()
    table = item(LUTDescriptor=[4, 0, 16], LUTData=data, ModalityLUTType="US")
    path = write(tmp_path / "a.dcm", np.array([[3, 2, 1, 0]], np.uint8), ModalityLUTSequence=[table])
    assert read_mask(path).tolist() == [[1000, 500, 10, 0]]


# Frames


def test_frames_are_named(tmp_path):
    frames = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    path = write(tmp_path / "a.dcm", frames)
    assert read_image(tmp_path / "a.dcm#2")[..., 0].tolist() == frames[2].tolist()
    assert read_mask(tmp_path / "a.dcm#0").tolist() == frames[0].tolist()
    for name in (path, tmp_path / "a.dcm#4"):
        with pytest.raises(DataError, match=r"holds 4 frames; name one of them: a\.dcm#0 to a\.dcm#3$"):
            read_image(name)


def test_a_single_frame_is_frame_0(tmp_path):
    write(tmp_path / "a.dcm", GREY.astype(np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm#0"), read_image(tmp_path / "a.dcm"))
    with pytest.raises(DataError, match=r"a\.dcm#1 holds 1 frame; name one of them: a\.dcm#0$"):
        read_image(tmp_path / "a.dcm#1")


def test_frames_of_enhanced_files_have_settings_of_their_own(tmp_path):
    def group(**settings):
        return item(PixelValueTransformationSequence=[item(**settings)])

    path = tmp_path / "a.dcm"
    write(
        path,
        np.full((2, 1, 2), 100, np.uint16),
        PerFrameFunctionalGroupsSequence=[
            group(RescaleSlope=1, RescaleIntercept=-1000),
            group(RescaleSlope=3, RescaleIntercept=1),
        ],
        SharedFunctionalGroupsSequence=[
            item(
                FrameVOILUTSequence=[item(WindowCenter=50, WindowWidth=100)],
                PixelValueTransformationSequence=[item(RescaleSlope=7, RescaleIntercept=7)],
            )
        ],
    )
    assert read_mask(tmp_path / "a.dcm#0").tolist() == [[-900, -900]]
    assert read_mask(tmp_path / "a.dcm#1").tolist() == [[301, 301]]
    with pytest.raises(DataError, match="suggests --window 0,100"):
        read_image(tmp_path / "a.dcm#1")


# Colour and compression


def test_colours(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.dcm", rgb, kind="RGB")), rgb)
    # Y 76, Cb 85, Cr 255 is pure red in full-range BT.601.
    ybr = np.full((2, 2, 3), (76, 85, 255), np.uint8)
    red = read_image(write(tmp_path / "b.dcm", ybr, kind="YBR_FULL"))
    assert np.abs(red.astype(int) - (255, 0, 0)).max() <= 1
    with pytest.raises(DataError, match=r"b\.dcm is in colour"):
        read_mask(tmp_path / "b.dcm")


def test_what_is_neither_grey_nor_colours_is_refused(tmp_path):
    path = write(tmp_path / "a.dcm", GREY.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(DataError, match="holds PALETTE COLOR values; save it as MONOCHROME2 or RGB"):
        read_image(path)
    deep = np.zeros((2, 2, 3), np.uint16)
    with pytest.raises(DataError, match="holds colours of 16 bits; save it with 8 bits a channel"):
        read_image(write(tmp_path / "b.dcm", deep, kind="RGB"))


NOISE = np.random.default_rng(0).integers(0, 4096, (20, 30), dtype=np.uint16)
LOSSLESS = {
    "1.2.840.10008.1.2.4.57": lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=12),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True),
}


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_compression(tmp_path, syntax):
    frames = [LOSSLESS[syntax](frame) for frame in (NOISE, NOISE[::-1].copy())]
    write(tmp_path / "a.dcm", np.stack([NOISE] * 2), bits=12, syntax=syntax, frames=frames, **HOUNSFIELD)
    for index, expected in enumerate((NOISE, NOISE[::-1])):
        np.testing.assert_array_equal(read_mask(tmp_path / f"a.dcm#{index}"), expected.astype(int) - 1024)


def test_signed_values_survive_lossless_jpeg(tmp_path):
    signed = NOISE.astype(np.int16) - 2048
    frame = imagecodecs.ljpeg_encode(signed.view(np.uint16) & 0xFFF, bitspersample=12)
    path = write(tmp_path / "a.dcm", signed, bits=12, syntax="1.2.840.10008.1.2.4.70", frames=[frame])
    np.testing.assert_array_equal(read_mask(path), signed)


def test_8_bits_compressed_in_a_file_that_says_16(tmp_path):
    grey = NOISE & 255
    frame = imagecodecs.jpegls_encode(grey.astype(np.uint8))
    path = write(tmp_path / "a.dcm", grey, bits=8, syntax="1.2.840.10008.1.2.4.80", frames=[frame])
    np.testing.assert_array_equal(read_mask(path), grey)


def test_jpeg_of_8_and_12_bits(tmp_path):
    ramp = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (64, 1))
    frame = imagecodecs.jpeg8_encode(ramp, level=98, bitspersample=12)
    path = write(tmp_path / "a.dcm", ramp, bits=12, syntax="1.2.840.10008.1.2.4.51", frames=[frame])
    assert np.abs(read_mask(path).astype(int) - ramp).max() < 16
    Image.fromarray((ramp >> 4).astype(np.uint8)).save(tmp_path / "b.jpg", quality=95)
    frame = (tmp_path / "b.jpg").read_bytes()
    write(tmp_path / "b.dcm", (ramp >> 4).astype(np.uint8), syntax="1.2.840.10008.1.2.4.50", frames=[frame])
    np.testing.assert_array_equal(read_image(tmp_path / "b.dcm"), read_image(tmp_path / "b.jpg"))


def test_unknown_compressions_are_named(tmp_path):
    path = write(tmp_path / "a.dcm", NOISE, bits=12, syntax="1.2.840.10008.1.2.4.201", frames=[b"\xff\x4f"])
    with pytest.raises(
        DataError, match=r"is compressed as High-Throughput JPEG 2000 .*, for which pydicom has no plugin"
    ):
        read_image(path, (0, 1))
    video = write(tmp_path / "b.dcm", NOISE, bits=12, syntax="1.2.840.10008.1.2.4.102", frames=[b"\0\0"])
    with pytest.raises(DataError, match=r"is compressed as MPEG-4 .*save it uncompressed"):
        read_image(video, (0, 1))


# What cannot be used


def test_no_word_about_the_patient(tmp_path):
    path = write(tmp_path / "a.dcm", GREY, bits=12)
    content = path.read_bytes()
    for n in (140, 300, len(content) - 4):
        path.write_bytes(content[:n])
        with pytest.raises(DataError) as refused:  # a warning would be another error
            read_image(path, (0, 1))
        said = f"{refused.value} {refused.value.__cause__}"
        assert "a.dcm is" in said
        assert "secret" not in said.lower()


def test_files_without_an_image_say_so(tmp_path):
    path = write(tmp_path / "a.dcm", GREY, bits=12)
    dataset = pydicom.dcmread(path)
    del dataset.Rows, dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(DataError, match=r"a\.dcm is a DICOM file without an image"):
        read_image(path)


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm", GREY, bits=12)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=r"a\.dcm is a DICOM file; install textdiff\[medical\] to read it"):
        read_image(path)


def test_other_files_have_no_slices(tmp_path):
    for name in ("a.png", "a.tif"):
        Image.fromarray(GREY.astype(np.uint8)).save(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}#3 names a slice, and {name} is a (PNG|TIFF) file without slices"):
            read_image(tmp_path / f"{name}#3")
