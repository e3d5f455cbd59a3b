"""Volumes in one call: the masks of their slices, in the formats that are asked for."""

import json
import resource
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.config.prediction import ExplainConfig, ModelOverrides, PredictConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.explanation.explain import explain
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.interface.segmenter import Segmenter
from textdiff.pipeline.prediction.predict import predict
from textdiff.pipeline.prediction.segmenter import BandSegmenter
from textdiff.pipeline.training.train import train_head

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

TEXT = "the nuclei are round"


def volume_of(n_slices, seed=0):
    """Bright squares on dark, uint8 [x, y, z] of 24 x 20 pixels."""
    rng = np.random.default_rng(seed)
    values = rng.integers(20, 60, (24, 20, n_slices)).astype(np.uint8)
    for z in range(n_slices):
        left, top = rng.integers(2, 14), rng.integers(2, 10)
        values[left : left + 8, top : top + 8, z] += 150
    return values


def write_series(folder, values, step=2.5):
    """A CT file for each slice of values [z, y, x], the lowest under the last name."""
    folder.mkdir()
    for z, pixels in enumerate(values):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"1.2.3.{z + 1}"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
        one.Modality, one.PixelSpacing, one.SliceThickness = "CT", [0.8, 0.7], step
        one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0.0, 0.0, z * step]
        one.set_pixel_data(np.ascontiguousarray(pixels), "MONOCHROME2", 8 * pixels.dtype.itemsize)
        one.save_as(folder / f"{9 - z}.dcm", enforce_file_format=True)
    return folder


AFFINE = np.array([[-0.7, 0, 0.1, 90], [0, 0.8, 0, -100], [0.1, 0, 2.5, 40], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def run(_extracted, tmp_path_factory):
    """A run of the tiny data, trained once."""
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64, "learning_rate": 1e-2, "weight_decay": 0.01}
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


@pytest.fixture
def prediction(run, tmp_path):
    nibabel.save(nibabel.Nifti1Image(volume_of(5), AFFINE), tmp_path / "scan.nii.gz")
    return PredictConfig(run, tmp_path / "scan.nii.gz", tmp_path / "masks", text=TEXT, device="cpu")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def record_of(config):
    return json.loads((config.out / "predictions.json").read_bytes())["masks"]


@pytest.mark.slow
def test_a_volume_is_segmented_in_one_call_as_slice_by_slice(prediction, tmp_path):
    summary = predict(prediction)
    assert summary.masks == (str(prediction.out / "scan.nii.gz"),)
    assert names(prediction.out) == ["command.json", "predictions.json", "scan.nii.gz"]
    mask = nibabel.load(prediction.out / "scan.nii.gz")
    np.testing.assert_array_equal(mask.affine, nibabel.load(prediction.images).affine)
    assert mask.shape == (24, 20, 5)
    segmenter = Segmenter.load(prediction.run, device="cpu")
    for z in range(5):
        one = segmenter.predict(tmp_path / f"scan.nii.gz#{z}", TEXT, sample_id=f"scan_{z}").mask
        assert (read_mask(prediction.out / f"scan.nii.gz#{z}") != one).mean() < 0.01  # last bits differ by batch
        assert 0 < one.mean() < 255
    (about,) = record_of(prediction).values()
    assert (about["text"], about["files"], about["n_slices"]) == (TEXT, ["scan.nii.gz"], 5)


def test_a_slice_is_still_an_image(prediction, tmp_path):
    predict(replace(prediction, images=tmp_path / "scan.nii.gz#3"))
    assert names(prediction.out) == ["command.json", "predictions.json", "scan_3.png"]
    predict(replace(prediction, images=tmp_path / "scan.nii.gz#3", formats=("nifti",)))
    assert names(prediction.out) == ["command.json", "predictions.json", "scan_3.nii.gz"]
    assert nibabel.load(prediction.out / "scan_3.nii.gz").shape == (24, 20, 1)


def test_png_uncertainty_and_probabilities_are_a_file_for_each_slice(prediction):
    every = replace(prediction, formats=("png", "nifti"), uncertainty=True, probabilities=True)
    assert len(predict(every).masks) == 5
    ends = (".png", ".npy", "_uncertainty.png")
    expected = {f"scan_{z}{end}" for z in range(5) for end in ends} | {
        "scan.nii.gz",
        "predictions.json",
        "command.json",
    }
    assert {*names(prediction.out)} == expected
    assert {*record_of(prediction)["scan"]["files"]} == expected - {"predictions.json", "command.json"}
    for z in range(5):
        shown = np.array(Image.open(prediction.out / f"scan_{z}.png"))
        np.testing.assert_array_equal(read_mask(prediction.out / f"scan.nii.gz#{z}"), shown)
        np.testing.assert_array_equal(np.load(prediction.out / f"scan_{z}.npy").argmax(0) > 0, shown > 0)
    predict(prediction)
    assert names(prediction.out) == ["command.json", "predictions.json", "scan.nii.gz"]


def test_a_table_gives_a_volume_one_text_for_all_its_slices(prediction, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(prediction.images, folder)
    Image.new("RGB", (24, 20)).save(folder / "plain.png")
    (tmp_path / "texts.csv").write_text(f"Image,Description\nscan.nii.gz,{TEXT}\nplain.png,not malignant\n")
    predict(replace(prediction, images=folder, text=None, texts=tmp_path / "texts.csv"))
    assert names(prediction.out) == ["command.json", "plain.png", "predictions.json", "scan.nii.gz"]
    assert {name: about["text"] for name, about in record_of(prediction).items()} == {
        "plain": "not malignant",
        "scan": TEXT,
    }
    alone = replace(prediction, out=tmp_path / "alone")
    predict(alone)
    np.testing.assert_array_equal(
        nibabel.load(prediction.out / "scan.nii.gz").dataobj, nibabel.load(alone.out / "scan.nii.gz").dataobj
    )


def test_formats_that_cannot_hold_the_masks_are_refused_before_any_model_runs(prediction, tmp_path, monkeypatch):
    monkeypatch.setattr("textdiff.pipeline.extraction.loading.load_unet", lambda *_, **__: pytest.fail("loaded"))
    Image.new("RGB", (24, 20)).save(tmp_path / "plain.png")
    with pytest.raises(DataError, match=r"plain\.png: it does not say where its pixels lie in a patient"):
        predict(replace(prediction, images=tmp_path / "plain.png", formats=("nifti", "png")))
    assert not prediction.out.exists()
    for formats, said in (
        (("nii",), "--formats got 'nii'; expected one of png, nifti"),
        ((), "at least one"),
    ):
        with pytest.raises(ConfigError, match=said):
            replace(prediction, formats=formats)


def test_a_series_of_dicom_files_is_one_mask(prediction, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    folder = write_series(tmp_path / "ct", volume_of(4).transpose(2, 1, 0))
    predict(replace(prediction, images=folder))
    assert names(prediction.out) == ["command.json", "ct.nii.gz", "predictions.json"]
    assert nibabel.load(prediction.out / "ct.nii.gz").shape == (24, 20, 4)
    predict(replace(prediction, images=folder, formats=("dicom-seg", "nifti")))
    assert names(prediction.out) == ["command.json", "ct.nii.gz", "ct_seg.dcm", "predictions.json"]
    shown = np.asarray(nibabel.load(prediction.out / "ct.nii.gz").dataobj).transpose(2, 1, 0)
    read = highdicom.seg.segread(prediction.out / "ct_seg.dcm").get_volume(combine_segments=True)
    assert read.array.sum() == (shown > 0).sum() > 0
    (folder / "8.dcm").unlink()
    with pytest.raises(DataError, match=r"slices are missing or unevenly spaced \(.* mm from 9\.dcm to 7\.dcm"):
        predict(replace(prediction, images=folder))
    assert len(predict(replace(prediction, images=folder, formats=("png",))).masks) == 3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under NumPy 2
def test_objects_of_each_slice_are_counted_outlined_and_listed(prediction, tmp_path):
    shapely = pytest.importorskip("shapely")
    mask_utils = pytest.importorskip("pycocotools.mask")
    every = replace(prediction, formats=("coco", "geojson", "png"), objects=True)
    predict(every)
    assert record_of(prediction)["scan"]["n_slices"] == 5
    for z in range(5):
        content = json.loads((prediction.out / f"scan_{z}_coco.json").read_bytes())
        assert [image["file_name"] for image in content["images"]] == [f"scan.nii.gz#{z}"]
        mask = np.array(Image.open(prediction.out / f"scan_{z}.png")) > 0
        labels = tifffile.imread(prediction.out / f"scan_{z}_objects.tif")
        np.testing.assert_array_equal(labels > 0, mask)
        lines = (prediction.out / f"scan_{z}_objects.csv").read_text().splitlines()
        assert len(lines) == labels.max() + 1
        assert "mean_probability" in lines[0]
        assert "area_mm2" in lines[0]
        drawn = np.zeros(mask.shape, bool)
        for one in content["annotations"]:
            drawn |= mask_utils.decode(one["segmentation"]).astype(bool)
        np.testing.assert_array_equal(drawn, mask)
        features = json.loads((prediction.out / f"scan_{z}.geojson").read_bytes())["features"]
        assert len(features) == labels.max()
        assert sum(shapely.geometry.shape(one["geometry"]).area for one in features) == mask.sum()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.nii", "a.dcm"])
def test_an_image_of_16_bits_is_told_what_the_run_was_trained_on(prediction, tmp_path, name):
    values = np.full((20, 24), 900, np.uint16)
    if name == "a.nii":
        nibabel.save(nibabel.Nifti1Image(values[..., None].astype(np.int16), AFFINE), tmp_path / name)
    elif name == "a.dcm":
        one = next(write_series(tmp_path / "ct", values[None]).iterdir())
        shutil.copy(one, tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, values) if name == "a.tif" else Image.fromarray(values).save(tmp_path / name)
    said = r"holds 16 bit values \(900 to 900\), and the run was trained on plain values of 8 bits.*export this image"
    with pytest.raises(DataError, match=said):
        predict(replace(prediction, images=tmp_path / name))
    with pytest.raises(DataError, match=said) as caught:
        explain(ExplainConfig(prediction.run, tmp_path / name, TEXT, device="cpu"))
    assert "say with an intensity window" not in str(caught.value)


def test_an_image_of_8_bits_is_remarked_where_the_run_has_a_window(prediction, tmp_path):
    segmenter = BandSegmenter.load(prediction.run, ModelOverrides(device="cpu"))
    Image.new("L", (24, 20)).save(tmp_path / "a.png")
    assert segmenter.beside_window(tmp_path / "a.png") is None
    features = replace(segmenter.config.features, window=(-160, 240))
    segmenter.config = replace(segmenter.config, features=features)
    said = segmenter.beside_window(tmp_path / "a.png")
    assert "trained on values of more bits, through the window -160,240" in said
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((20, 24), np.int16))
    assert segmenter.beside_window(tmp_path / "b.tif") is None


class StopError(Exception):
    """An interruption."""


def test_an_interrupted_volume_leaves_no_half_written_file_and_is_repeated(prediction, monkeypatch):
    predict(replace(prediction, formats=("nifti",)))
    before = (prediction.out / "scan.nii.gz").read_bytes()
    bands = []

    def stop(*_):
        bands.append(1)
        if len(bands) == 3:
            raise StopError

    monkeypatch.setattr("textdiff.pipeline.runtime.progress.Task.advance", stop)
    with pytest.raises(StopError):
        predict(replace(prediction, formats=("nifti", "png"), probabilities=True))
    assert (prediction.out / "scan.nii.gz").read_bytes() == before
    assert [name for name in names(prediction.out) if name.endswith(".tmp")] == []
    monkeypatch.undo()
    predict(replace(prediction, formats=("nifti", "png"), probabilities=True))
    assert len(record_of(prediction)["scan"]["files"]) == 11


def test_a_full_disk_leaves_no_half_written_file(prediction, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("textdiff.pipeline.exchange.nifti.reserve", full)
    with pytest.raises(OSError, match="No space left"):
        predict(prediction)
    assert names(prediction.out) == ["predictions.json"]


@pytest.mark.slow
def test_a_hundred_slices_take_the_memory_of_a_few(prediction, tmp_path):
    peaks = []
    for n_slices in (10, 100):
        nibabel.save(nibabel.Nifti1Image(volume_of(n_slices), AFFINE), tmp_path / "scan.nii")
        predict(replace(prediction, images=tmp_path / "scan.nii", out=tmp_path / f"masks{n_slices}"))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        assert nibabel.load(tmp_path / f"masks{n_slices}" / "scan.nii.gz").shape == (24, 20, n_slices)
    assert peaks[1] < peaks[0] + 50_000  # KB


def test_a_problem_of_all_slices_is_one_line(prediction, tmp_path):
    nibabel.save(nibabel.Nifti1Image(volume_of(5).astype(np.int16) * 9, AFFINE), tmp_path / "ct.nii")
    with pytest.raises(DataError, match="1 of 1 images cannot be used") as caught:
        predict(replace(prediction, images=tmp_path / "ct.nii"))
    (problem,) = caught.value.problems
    assert "ct.nii#0 holds 16 bit values" in problem
    assert problem.endswith("(and 4 more of its 5 slices)")
