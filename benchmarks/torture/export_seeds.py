"""Seeds of `fuzz.py`: small sound exports of annotation tools, each of an image `a.png` of `SIZE` pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_masks

SIZE = (8, 10)
_SQUARE = [[1, 1], [5, 1], [5, 5], [1, 5], [1, 1]]
_HOLE = [[2, 2], [2, 3], [3, 3], [3, 2], [2, 2]]


def write_exports(folder: Path) -> None:
    """Write an export of each kind into a folder of its own."""
    for name in ("geojson", "coco", "label_studio", "cvat"):
        (folder / name).mkdir(parents=True)
    _dump(folder / "geojson/a.geojson", {"type": "FeatureCollection", "features": _features()})
    _dump(folder / "coco/a.json", _coco())
    _dump(folder / "label_studio/a.json", _label_studio())
    (folder / "cvat/a.xml").write_text(_CVAT)
    _write_masks(folder)


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def _features() -> list[object]:
    geometries = [
        {"type": "Polygon", "coordinates": [_SQUARE, _HOLE]},
        {"type": "MultiPolygon", "coordinates": [[_SQUARE], [_HOLE]]},
        {"type": "Point", "coordinates": [1, 2]},
    ]
    named = {"objectType": "annotation", "classification": {"name": "Tumor", "colorRGB": -6895466}}
    return [{"type": "Feature", "id": "7", "geometry": one, "properties": named} for one in geometries]


def _coco() -> object:
    pixels = np.asfortranarray(np.eye(*SIZE, dtype=np.uint8))
    packed = coco_masks.encode(pixels)["counts"].decode()
    areas = [[[1, 1, 5, 1, 5.5, 5]], {"size": SIZE, "counts": packed}, {"size": SIZE, "counts": [9, 4, 67]}]
    return {
        "images": [{"id": 1, "file_name": "x/a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 1, "name": "tumour"}, {"id": 2, "name": "stroma"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1 + i % 2, "segmentation": area, "iscrowd": 0}
            for i, area in enumerate(areas)
        ],
    }


def _label_studio() -> object:
    header = f"{SIZE[0] * SIZE[1] * 4:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits = header + "110" + f"{199:08b}{255:08b}" + "111" + f"{111:016b}{0:08b}" + "001" + f"{7:04b}" + "00000001" * 8
    bits += "0" * (-len(bits) % 8)
    brush = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    values = {
        "brush": {"format": "rle", "rle": brush},
        "polygon": {"points": [[10, 12.5], [50, 12.5], [50, 62.5]]},
        "rectangle": {"x": 10, "y": 12.5, "width": 40, "height": 50, "rotation": 30},
        "ellipse": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 25, "rotation": 30},
    }
    results = [
        {
            "id": kind, "type": f"{kind}labels", "value": value | {f"{kind}labels": ["Lesion"]}, "image_rotation": 0,
            "original_height": SIZE[0], "original_width": SIZE[1],
        }
        for kind, value in values.items()
    ]  # fmt: skip
    task = {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-a.png"}}
    return [task | {"annotations": [{"id": 5, "completed_by": 1, "was_cancelled": False, "result": results}]}]


_CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>tumour</name><color>#ff0010</color></label><label><name>stroma</name></label>
</labels></task></meta><image id="0" name="a.png" width="10" height="8">
<polygon label="tumour" points="1.00,1.00;5.00,1.00;5.00,5.00" z_order="1"/>
<box label="stroma" xtl="1" ytl="1" xbr="5" ybr="5" rotation="30"/>
<ellipse label="tumour" cx="5" cy="4" rx="4" ry="2"/>
<mask label="stroma" rle="1, 4, 1, 4, 1, 4, 1, 4" left="0" top="1" width="5" height="4"/>
</image></annotations>
"""


def _write_masks(folder: Path) -> None:
    """Folders of masks: of Label Studio, and of CVAT with its table of colours."""
    masks, coloured = folder / "label_studio_masks", folder / "cvat_masks"
    for path in (masks, coloured / "SegmentationClass", coloured / "SegmentationObject"):
        path.mkdir(parents=True)
    pixels = np.eye(*SIZE, dtype=np.uint8) * 255
    Image.fromarray(pixels).save(masks / "task-1-annotation-7-by-1-tag-Lesion-0.png")
    np.save(masks / "task-1-annotation-7-by-1-tag-Lesion-1.npy", pixels)
    (coloured / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ntumour:255,0,0::\n")
    red = np.stack([pixels, *np.zeros((2, *SIZE), np.uint8)], -1)
    for name in ("SegmentationClass", "SegmentationObject"):
        Image.fromarray(red).save(coloured / name / "a.png")
