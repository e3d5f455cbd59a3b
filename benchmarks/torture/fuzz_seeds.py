"""Seeds of `fuzz.py`: small sound files of every kind that textdiff reads, written by the usual libraries."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import replace
from datetime import date
from io import BytesIO
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import openpyxl
import pydicom
import tifffile
import timm
import torch
from adm_seeds import write_checkpoints
from export_seeds import write_exports
from folder_seeds import write_folders
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from safetensors.torch import save_file
from slide_seeds import write_slides
from small_models import extraction_of, write_small
from transformers import Dinov2Config, Dinov2Model

from textdiff import extract_features, train_head
from textdiff.config import TrainConfig

KINDS = {
    ".png": "png", ".jpg": "jpeg", ".tif": "tiff", ".dcm": "dicom", ".nii": "nifti", ".gz": "nifti",
    ".pt": "checkpoint", ".safetensors": "checkpoint",
}  # fmt: skip
"""A file's suffix → its folder of seeds."""
MORE = "more_"
"""Before the name of a file that the user gave, which need not be sound."""


def write_seeds(folder: Path, more: Path | None) -> None:
    """Write all seeds in a fork, so that this process starts no threads; add those of `more`."""
    process = os.fork()
    if process == 0:
        _write_all(folder)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise SystemExit("the seeds could not be written")
    for path in sorted(more.rglob("*")) if more else []:
        if path.suffix in KINDS and path.stat().st_size < 2**22:
            shutil.copy(path, folder / KINDS[path.suffix] / f"{MORE}{path.name}")


def _write_all(folder: Path) -> None:
    for name in ("png", "jpeg", "tiff", "plain", "dicom", "nifti", "volumes", "checkpoint", "weights"):
        (folder / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    _write_pngs(folder / "png", pixels)
    for quality, progressive in ((90, False), (50, True)):
        Image.fromarray(pixels).save(folder / f"jpeg/{quality}.jpg", quality=quality, progressive=progressive)
    _write_tiffs(folder / "tiff", pixels)
    _write_plain(folder / "plain", pixels)
    _write_dicom(folder / "dicom/a.dcm", pixels[..., 0])
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(pixels[..., :1].astype(np.int16), np.eye(4)), folder / "nifti" / name)
    _write_volumes(folder / "volumes", pixels)
    _write_lvit(folder / "lvit", pixels)
    _write_workbook(folder / "workbook")
    write_exports(folder / "exports")
    write_folders(folder / "folders")
    write_slides(folder)
    write_checkpoints(folder / "checkpoint")
    _write_encoders(folder)
    _write_results(folder)


def _write_pngs(folder: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(folder / "rgb.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(folder / "grey16.png")
    Image.fromarray(pixels).quantize(7).save(folder / "palette.png", bits=4)
    Image.fromarray(pixels[..., 0] > 127).save(folder / "bits.png")
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(folder / "alpha.png")
    Image.fromarray(pixels).quantize(7).save(folder / "transparent.png", transparency=bytes([0, 90, 255]))
    Image.fromarray(pixels).save(folder / "keyed.png", transparency=tuple(pixels[0, 0].tolist()))


def _write_plain(folder: Path, pixels: np.ndarray) -> None:
    few = Image.fromarray(pixels).quantize(7)
    for name, image in {"rgb": Image.fromarray(pixels), "palette": few, "bits": few.convert("1")}.items():
        image.save(folder / f"{name}.bmp")
        image.save(folder / f"{name}.gif")
    few.save(folder / "transparent.gif", transparency=3)
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(folder / "lossless.webp", lossless=True)
    Image.fromarray(pixels).save(folder / "lossy.webp")
    for name, given in {"rgb": pixels, "grey": pixels[..., 0].astype(np.uint16) * 200}.items():
        for kind in ("jp2", "j2k"):
            (folder / f"{name}.{kind}").write_bytes(imagecodecs.jpeg2k_encode(given, level=0, codecformat=kind))


def _write_tiffs(folder: Path, pixels: np.ndarray) -> None:
    large = np.tile(pixels, (4, 4, 1))
    for compression in (None, "deflate", "lzw", "jpeg"):
        tifffile.imwrite(folder / f"{compression}.tif", large, compression=compression, photometric="rgb")
        tifffile.imwrite(folder / f"{compression}_tiles.tif", large, compression=compression, tile=(32, 32))
    for extra in ("assocalpha", "unassalpha"):
        rgba = np.dstack([large, large[..., 0]])
        tifffile.imwrite(folder / f"{extra}.tif", rgba, extrasamples=[extra], photometric="rgb", tile=(32, 32))
    tifffile.imwrite(folder / "float.tif", pixels[..., 0].astype(np.float32))
    tifffile.imwrite(folder / "grey16.tif", pixels[..., 0].astype(np.uint16), bigtiff=True)
    Image.fromarray(pixels).quantize(7).save(folder / "palette.tif")


def _write_volumes(folder: Path, pixels: np.ndarray) -> None:
    """A NIfTI volume, a slice of a DICOM series, and frames that each have a place."""
    nibabel.save(nibabel.Nifti1Image(pixels, np.diag([0.7, 0.8, 2.5, 1.0])), folder / "a.nii")
    axes, identity = [1, 0, 0, 0, 1, 0], {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "Modality": "CT"}
    place = {"ImageOrientationPatient": axes, "ImagePositionPatient": [0, 0, 5], "PixelSpacing": [0.8, 0.7]}
    _write_dicom(folder / "slice.dcm", pixels[..., 0], **identity, **place)
    frames = [_item(PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, z])]) for z in (5, 0)]
    measures = {"PixelMeasuresSequence": [_item(PixelSpacing=[0.8, 0.7], SliceThickness=5)]}
    shared = _item(PlaneOrientationSequence=[_item(ImageOrientationPatient=axes)], **measures)
    groups = {"PerFrameFunctionalGroupsSequence": frames, "SharedFunctionalGroupsSequence": [shared]}
    _write_dicom(folder / "frames.dcm", np.stack([pixels[..., 0]] * 2), NumberOfFrames=2, **identity, **groups)


def _item(**tags: object) -> pydicom.Dataset:
    item = pydicom.Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def _write_dicom(path: Path, pixels: np.ndarray, **tags: object) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, "1.2.3"
    file.Rows, file.Columns = pixels.shape[-2:]
    file.PhotometricInterpretation, file.SamplesPerPixel = "MONOCHROME2", 1
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 0
    file.RescaleSlope, file.RescaleIntercept, file.WindowCenter, file.WindowWidth = 1, -1024, 40, 400
    file.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)


def _write_lvit(folder: Path, pixels: np.ndarray) -> None:
    """Two splits of one image each, with texts as XLSX and as CSV."""
    for split in ("Train", "Val"):
        for kind, values in {"img": pixels, "labelcol": (pixels[..., 0] > 127).astype(np.uint8)}.items():
            (folder / f"{split}_Folder" / kind).mkdir(parents=True)
            Image.fromarray(values).save(folder / f"{split}_Folder" / kind / f"{split}.png")
    book = openpyxl.Workbook()
    for row in (("Image", "Description"), ("Train.png", "round nuclei"), (12, 3.0)):
        book.active.append(row)
    book.save(folder / "Train_Folder/Train_text.xlsx")
    table = 'Image,Description\nVal.png,"round, dark nuclei"\n'
    (folder / "Val_Folder/Val_text.csv").write_text(table, encoding="utf-8")


def _write_workbook(folder: Path) -> None:
    """The unpacked parts of an XLSX with merged, hidden, formatted and wrong cells, and a hidden sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(("id", "image", "mask", "text", "split", "weight"))
    sheet.append((7, date(2021, 2, 3), "m.png", "round", "train", 1.5))
    sheet.append(("c", "#N/A", "", "=1+1", "val", True))
    sheet["A2"].number_format = '"P"#,##000;[Red]-0'
    sheet.merge_cells("D2:D3")
    sheet.row_dimensions[3].hidden = sheet.column_dimensions["B"].hidden = True
    book.create_sheet("old").sheet_state = "hidden"
    packed = BytesIO()
    book.save(packed)
    zipfile.ZipFile(packed).extractall(folder)


def _write_encoders(folder: Path) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder / "image_encoder")
    colours = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "image_encoder/preprocessor_config.json").write_text(json.dumps(colours), encoding="utf-8")
    weights = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    save_file(weights, folder / "weights/a.safetensors")
    torch.save(weights, folder / "weights/a.pth")


def _write_results(folder: Path) -> None:
    """A phantom, a UNet, a text encoder, a cache and a run."""
    write_small(folder, n_train=3, n_val=1, n_test=1, image_size=16)
    (folder / "data/classes.json").write_text('{"classes": {"0": "background", "255": "lesion"}, "ignore": 7}')
    config = extraction_of(folder, folder / "cache", image_size=16, timesteps=(50,))
    extract_features(replace(config, encoder=(f"hf:{folder / 'image_encoder'}",)))
    train_head(training_of(folder))


def training_of(folder: Path) -> TrainConfig:
    """The settings of the run."""
    return TrainConfig(
        folder / "cache", folder / "run", head="pixel", width=8, n_attention_heads=2, epochs=1, device="cpu"
    )
