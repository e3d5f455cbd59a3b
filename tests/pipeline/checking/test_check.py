"""What `check-data` says on the terminal, for programs and on its page."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.checking.check import check, check_data
from textdiff.pipeline.checking.pictures import small_image, small_labels
from textdiff.pipeline.config.data import CheckConfig
from textdiff.pipeline.data.classes import Classes
from textdiff.pipeline.data.warnings import SETTINGS_FILE
from textdiff.pipeline.image_files.reading import open_image, open_mask

LESIONS = {"a": 1, "b": 30, "c": 9, "d": 12}
"""Sample → foreground pixels of 64."""


def write(folder: Path, texts=None, **columns) -> Path:
    """Four samples of 8 × 8 pixels with lesions of `LESIONS`, and their manifest."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    rows = ["id,image,mask,text,split,group"]
    for name, n in LESIONS.items():
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{name}.png")
        mask = np.zeros(64, np.uint8)
        mask[:n] = 255
        Image.fromarray(mask.reshape(8, 8)).save(folder / f"{name}_mask.png")
        text, group = (texts or {}).get(name, "round nuclei"), columns.get("group", {}).get(name, "")
        rows.append(f"{name},{name}.png,{name}_mask.png,{text},train,{group}")
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def page_of(data: Path, out: Path, **settings) -> str:
    check(CheckConfig(data, out=out, **settings))
    return out.read_text(encoding="utf-8")


def test_the_terminal_says_how_everything_was_read(tmp_path):
    data = write(tmp_path / "data", {"a": "Knoten links", "b": "左肺结节", "c": ""}, group={"a": "p1", "b": "p1"})
    lines = check_data(data).lines()
    assert lines[:7] == [
        "samples: 4 (4 train), groups: 3",
        "groups: 2 of single samples, without a group, 1 named by the data",
        "classes: background (0) 79.7%, foreground (255) 20.3%",
        "images: 4 PNG",
        "masks: 4 PNG read by their values, samples without: 0",
        "sizes (height x width): 8 x 8 (4)",
        "texts: 3 distinct (1 German, 1 English, 1 Chinese), samples without: 1",
    ]


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"masks": {"threshold": 128}}, "4 PNG read by their grey levels (foreground from 128 on)"),
        ({"masks": "instances"}, "4 PNG read by their objects (foreground: all above 0)"),
        ({"classes": {"#000000": "background", "#ffffff": "lesion"}}, "4 PNG read by their colours"),
    ],
)
def test_the_terminal_says_how_masks_are_declared(tmp_path, declared, expected):
    data = write(tmp_path / "data")
    (data / "classes.json").write_text(json.dumps(declared))
    facts = dict(check_data(data).facts())
    assert facts["masks"] == f"{expected}, samples without: 0"
    assert facts["classes"].endswith(" 20.3%")


def test_formats_go_by_content_and_slices_count(tmp_path):
    data = write(tmp_path / "data")
    Image.open(data / "a.png").save(data / "a.png", format="TIFF")
    report = check_data(data)
    assert report.formats == {"images": {"PNG": 3, "TIFF": 1}, "masks": {"PNG": 4}}


def write_parts(folder: Path, images) -> Path:
    rows = [f"s{i},{image},,,train" for i, image in enumerate(images)]
    (folder / "manifest.csv").write_text("\n".join(["id,image,mask,text,split", *rows]))
    return folder


def test_the_slices_of_a_volume_are_a_group_by_themselves(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).integers(0, 99, (6, 6, 3)).astype(np.int16)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "scan.nii.gz")
    report = check_data(write_parts(tmp_path, [f"scan.nii.gz#{i}" for i in range(3)]), (0, 99))
    assert report.group_origins == {"of the slices of a file": 1}
    assert report.formats["images"] == {"NIfTI": 3}


def test_planes_of_a_folder_are_read_as_its_format(tmp_path, check_page):
    pytest.importorskip("ome_zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses a class of its own that it deprecates
        from ome_zarr.writer import write_image

        planes = np.random.default_rng(0).integers(0, 256, (2, 16, 16), dtype=np.uint8)
        write_image(planes, str(tmp_path / "cells.ome.zarr"), axes="zyx")
    data = write_parts(tmp_path, [f"cells.ome.zarr#z={z}" for z in range(2)])
    report = check_data(data)
    assert report.problems == ()
    assert report.formats["images"] == {"OME-Zarr": 2}
    assert report.group_origins == {"of the slices of a file": 1}
    assert len(check_page(page_of(data, tmp_path / "page.html")).of("img")) == 2


def test_the_page_shows_the_typical_sample_the_extremes_and_what_warnings_name(tmp_path, check_page):
    data = write(tmp_path / "data", {"d": "Knoten links"})
    html = page_of(data, tmp_path / "page.html")
    tree = check_page(html)
    headings = ("Typical: c", "Least foreground: a", "Most foreground: b", "Warning other-language: d")
    places = [html.index(heading) for heading in headings]
    assert places == sorted(places)
    assert [picture["alt"] for picture in tree.of("img")][:2] == [
        "Image c",
        "Mask of c over its image: foreground 14.1%",
    ]
    assert len(tree.of("img")) == 8
    assert "[other-language]" in html
    assert SETTINGS_FILE in html
    assert "texts seem not to be in English" in html


def test_the_page_shows_problems(tmp_path, check_page):
    data = write(tmp_path / "data")
    (data / "b.png").write_bytes(b"no image")
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(data / "c_mask.png")  # of a value that nothing declares
    html = page_of(data, tmp_path / "page.html")
    check_page(html)
    assert "2 problems: no features are extracted before they are solved." in html
    assert "b.png is not a PNG" in html
    assert "c_mask.png holds undeclared values 7" in html


def test_the_page_of_images_alone(tmp_path, check_page, write_image):
    (tmp_path / "manifest.csv").write_text("id,image,mask,text,split\na,a.png,,,test\nb,b.png,,,test")
    for name in "ab":
        write_image(tmp_path / f"{name}.png", seed=ord(name))
    html = page_of(tmp_path, tmp_path / "page.html")
    assert len(check_page(html).of("img")) == 2
    assert "First: a" in html


def test_the_page_of_data_without_a_usable_sample(tmp_path, check_page):
    (tmp_path / "manifest.csv").write_text("id,image,mask,text,split\na,a.png,,,test")
    check_page(page_of(tmp_path, tmp_path / "page.html"))


def test_texts_are_escaped(tmp_path, check_page):
    html = page_of(write(tmp_path / "data", {"a": "<script>alert(1)</script>"}), tmp_path / "page.html")
    check_page(html)
    assert "<script>alert" not in html


def test_several_classes_have_colours_of_their_own(tmp_path, check_page):
    data = write(tmp_path / "data")
    (data / "classes.json").write_text('{"classes": {"0": "background", "255": "lesion", "7": "vessel"}, "ignore": 9}')
    mask = np.zeros((8, 8), np.uint8)
    mask[:2], mask[2:4], mask[4:6] = 255, 7, 9
    Image.fromarray(mask).save(data / "a_mask.png")
    html = page_of(data, tmp_path / "page.html")
    tree = check_page(html)
    assert "Mask of a over its image: vessel 25.0%, lesion 25.0%" in [picture["alt"] for picture in tree.of("img")]


def test_large_images_are_shown_part_by_part_and_small_objects_stay(tmp_path):
    import tifffile

    image, mask = np.zeros((700, 900, 3), np.uint8), np.zeros((700, 900), np.uint8)
    image[:350], mask[600:602, 800:802] = 200, 255
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 64))
    tifffile.imwrite(tmp_path / "m.tif", mask, tile=(64, 64))
    small = small_image(open_image(tmp_path / "a.tif"))
    labels = small_labels(open_mask(tmp_path / "m.tif"), Classes((0, 255), ("background", "lesion"), None))
    assert small.shape == (249, 320, 3)
    assert (small[:120].min(), small[130:].max()) == (200, 0)
    assert np.argwhere(labels == 1).tolist() == [[213, 284]]


# The text encoder


def test_texts_that_encode_alike_are_a_problem(tmp_path, tiny_encoder):
    data = write(tmp_path / "data", {"a": "左肺结节", "b": "右肺结节"})
    report = check(CheckConfig(data, text_encoder=f"hf:{tiny_encoder}"))
    (problem,) = report.problems
    assert "makes the same tokens of '右肺结节', '左肺结节': no head can tell them apart" in problem
    assert "2 of 4 texts have tokens that" in report.warnings[1]
    assert report.warnings[1].endswith(": a, b [unknown-tokens]")


def test_the_share_of_unknown_tokens_is_counted(tmp_path, tiny_encoder, check_page):
    data = write(tmp_path / "data", {"a": "round 左 nuclei 右", "b": "round " * 40, "c": ""})
    config = CheckConfig(data, text_encoder=f"hf:{tiny_encoder}", out=tmp_path / "page.html")
    report = check(config)
    assert report.to_dict()["text_encoder"] == {
        "source": f"hf:{tiny_encoder}",
        "limit": 32,
        "tokens": [4, 42],
        "unknown": 2 / 46,
    }
    assert any(line.startswith("text encoder: hf:") and "4.3% of them unknown" in line for line in report.lines())
    assert [warning.rsplit("[")[-1] for warning in report.warnings] == [
        "other-language]",
        "unknown-tokens]",
        "long-texts]",
    ]
    assert report.problems == ()
    check_page(config.out.read_text(encoding="utf-8"))


def test_a_multilingual_encoder_reads_all_of_them(tmp_path, tiny_multilingual):
    data = write(tmp_path / "data", {"a": "左肺结节", "b": "右肺结节", "c": "ก้อนในปอดซ้าย", "d": "узел в левом лёгком"})
    report = check(CheckConfig(data, text_encoder=f"hf:{tiny_multilingual}"))
    assert report.problems == ()
    assert [warning for warning in report.warnings if "[unknown-tokens]" in warning] == []


def test_the_encoders_warnings_can_be_silenced(tmp_path, tiny_encoder):
    data = write(tmp_path / "data", {"a": "round 左"})
    reasons = {"silence": {"unknown-tokens": "a stain", "other-language": "a stain"}}
    (data / SETTINGS_FILE).write_text(json.dumps(reasons))
    report = check(CheckConfig(data, text_encoder=f"hf:{tiny_encoder}"))
    assert report.warnings == ()
    assert [line.rsplit("[")[-1] for line in report.silenced] == [
        "other-language]: a stain",
        "unknown-tokens]: a stain",
    ]


def test_data_without_texts_can_be_read_with_an_encoder(tmp_path, tiny_encoder):
    data = write(tmp_path / "data", dict.fromkeys(LESIONS, ""))
    report = check(CheckConfig(data, text_encoder=f"hf:{tiny_encoder}"))
    assert "there are no texts" in "\n".join(report.lines())


# Wrong settings


@pytest.mark.parametrize("name", ["page", "manifest.csv", "page.htm.png"])
def test_a_page_must_be_called_a_page(tmp_path, name):
    with pytest.raises(ConfigError, match=r"--out got .*; expected a name that ends in \.html"):
        CheckConfig(tmp_path, out=tmp_path / name)


def test_no_page_is_written_where_there_is_no_data(tmp_path):
    with pytest.raises(DataError):
        check(CheckConfig(tmp_path / "nothing", out=tmp_path / "page.html"))
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_ready_for_json(tmp_path):
    report = check_data(write(tmp_path / "data")).to_dict()
    assert json.loads(json.dumps(report)) == report
    assert report["text_encoder"] is None
