import re
from unicodedata import normalize

import pytest

from textdiff.pipeline.checking.check import check_data
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.data.inspection import split_groups
from textdiff.pipeline.data.layouts import list_entries

HEADER = "id,image,mask,text,split,group"


@pytest.fixture
def manifest(tmp_path, write_image, write_mask):
    """A manifest of two samples; returns a function that writes other rows instead."""
    root = tmp_path / "data"
    for i, name in enumerate("abc"):
        write_image(root / "images" / f"{name}.png", seed=i)
        write_mask(root / "masks" / f"{name}.png")

    def write(*rows, header=HEADER):
        path = root / "manifest.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    write("a,images/a.png,masks/a.png,round nuclei,train,p1", "b,images/b.png,,,val,p2")
    return write


def test_manifest_samples(manifest, tmp_path):
    path = manifest(
        "a,images/a.png,masks/a.png,round nuclei,train,p1",
        "b,images/b.png,,,Dev,",
        'c 1.x,images/c.png,,"x, y",test,p1x',
    )
    for data in (path, path.parent):
        dataset = read_dataset(data)
        assert dataset.root == tmp_path / "data"
        assert [(s.id, s.group, s.split, s.text, s.mask is None) for s in dataset.samples] == [
            ("a", "p1", "train", "round nuclei", False),
            ("b", "b", "val", "", True),
            ("c 1.x", "p1x", "test", "x, y", True),
        ]


def test_manifest_as_xlsx_without_group(manifest, write_table):
    path = manifest().parent / "my.xlsx"
    write_table(path, [("ID", "Image", "Mask", "Text", "Split"), (12, "images/a.png", None, "x", "validation")])
    (sample,) = read_dataset(path).samples
    assert (sample.id, sample.group, sample.split) == ("12", "12", "val")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x,images/z.png,,,train,", r"row 3: image 'images/z\.png' does not exist; paths start at "),
        ("x,images/c.png,masks/z.png,,train,", r"row 3: mask 'masks/z\.png' does not exist"),
        ("x,,,,train,", "row 3: no image is named"),
        ("x,images/c.png,,,holdout,", "row 3: split 'holdout' is unknown; expected train, val or test"),
        ("x,images/c.png,,,,", "row 3: split '' is unknown"),
        (",images/c.png,,,train,", "row 3: the id '' cannot be used"),
        ("../x,images/c.png,,,train,", r"row 3: the id '\.\./x' cannot be used; ids become file names"),
        ("a/b,images/c.png,,,train,", "row 3: the id 'a/b' cannot be used"),
        ("x..y,images/c.png,,,train,", r"row 3: the id 'x\.\.y' cannot be used"),
        ("x.,images/c.png,,,train,", r"row 3: the id 'x\.' cannot be used"),
        ("x,images/c.png,,small, round,train,", "row 3: 7 cells under 6 columns; put quotes around text with commas"),
        ("a,images/c.png,,,train,", r"duplicate id 'a': .*row 2 \(train\), .*row 3 \(train\); give each sample"),
        ("a,images/c.png,,,val,p1", r"duplicate id 'a': .*row 2 \(train\), .*row 3 \(val\)"),
        ("x,images/c.png,,,val,p1", r"group 'p1' is in more than one split: a \(train\), x \(val\); keep a group"),
        ("x,images/a.png,,,val,", r"the same image is in more than one split: .*a\.png \(train\), .*a\.png \(val\)"),
    ],
)
def test_one_wrong_row(manifest, row, said, assert_one_problem):
    assert_one_problem(manifest("a,images/a.png,masks/a.png,,train,p1", row), said)


def test_one_image_may_stand_twice_in_a_split_with_other_texts(manifest):
    path = manifest("a,images/a.png,masks/a.png,spindle,train,p", "b,images/a.png,masks/b.png,round,train,p")
    assert [s.text for s in read_dataset(path).samples] == ["spindle", "round"]


def test_a_copy_under_another_name_in_another_split(manifest, assert_one_problem):
    path = manifest("a,images/a.png,,,train,", "b,images/b.png,,,test,")
    (path.parent / "images/b.png").write_bytes((path.parent / "images/a.png").read_bytes())
    assert_one_problem(path, r"the same image is in more than one split: .*a\.png \(train\), .*b\.png \(test\)")


def test_unknown_and_missing_columns(manifest, problems_of):
    path = manifest("a,images/a.png,masks/a.png,train,p1", header="id,image,mask,split,patient")
    unknown, missing = problems_of(path)
    assert (
        "unknown columns 'patient'; expected id, image, mask, text, split and optionally group, stratum, weight"
        in unknown
    )
    assert "missing columns 'text'; got 'id', 'image', 'mask', 'split', 'patient'; add them" in missing


def test_strata_and_weights_are_read_and_told(manifest):
    header = "id,image,mask,text,split,stratum,weight"
    rows = ("a,images/a.png,masks/a.png,,train,liver,2.5", "b,images/b.png,,,train,,", "c,images/c.png,,,val,liver,1")
    path = manifest(*rows, header=header)
    assert [(s.stratum, s.weight) for s in read_dataset(path).samples] == [("liver", 2.5), ("", 1.0), ("liver", 1.0)]
    report = check_data(path)
    assert {"strata: (none) 1, liver 2", "weights in the loss: 1 to 2.5"} <= set(report.lines())
    told = report.to_dict()
    assert (told["strata"], told["weights"]) == ({"": 1, "liver": 2}, [1.0, 2.5])
    plain = check_data(manifest("a,images/a.png,masks/a.png,,train,"))
    assert not [line for line in plain.lines() if line.startswith(("strata", "weights"))]


def test_all_wrong_weights_are_named_at_once(manifest, problems_of):
    header = "id,image,mask,text,split,weight"
    rows = [
        f"{name},images/{name}.png,,,train,{weight}" for name, weight in zip("abc", ("0", "nan", '"0,5"'), strict=True)
    ]
    problems = problems_of(manifest(*rows, header=header))
    assert [problem.partition("manifest.csv ")[2] for problem in problems] == [
        f"row {row}: weight {weight!r} is no number above 0 (decimals with a point); leave it empty for 1"
        for row, weight in ((2, "0"), (3, "nan"), (4, "0,5"))
    ]


def test_tables_that_cannot_be_read(manifest, assert_one_problem):
    path = manifest()
    assert_one_problem(path, "manifest.csv lists no images; write one row for each sample")
    assert_one_problem(manifest(header="id,id,image"), "more than one column named 'id'; keep one")
    path.write_bytes(b"")
    assert_one_problem(path, "has no header; expected the columns' names in its first row")
    path.write_bytes("id,image\nä,b\n".encode("latin-1"))
    assert_one_problem(path, r"is not UTF-8 \(byte 9\); save it as 'CSV UTF-8'")
    path.write_text(f'{HEADER}\na,"images/a.png\n')
    assert_one_problem(path, r"is not a valid CSV \(unexpected end of data\); look for a quote")


def test_report_counts_groups_and_what_is_absent(manifest):
    report = check_data(
        manifest("a,images/a.png,masks/a.png,x,train,p", "b,images/b.png,,x,train,p", "c,images/c.png,,,val,q")
    )
    assert (report.n_groups, report.n_texts, report.n_without_text, report.n_without_mask) == (2, 1, 1, 2)
    assert report.lines()[-2:] == ["no warnings", "no problems"]


@pytest.mark.parametrize(
    "sample_id", ["benign (4)", "a,b", "=1", "+1", "@home", "[1]", "#7", "~a", "it's", "a\u00a0b", "x" * 200]
)
def test_ids_that_any_system_takes(manifest, sample_id):
    (sample,) = read_dataset(manifest(f'"{sample_id}",images/a.png,,,train,')).samples
    assert sample.id == sample_id


@pytest.mark.parametrize(
    "sample_id",
    [
        ".a",
        "a.",
        "a..b",
        "a/b",
        "a\\b",
        "a:b",
        "a*",
        "<a>",
        "a|b",
        "CON",
        "nul.txt",
        "COM¹",
        "a\u202eb",
        "a\x07",
        "é" * 101,
    ],
)
def test_ids_that_some_system_does_not_take(manifest, sample_id, assert_one_problem):
    assert_one_problem(
        manifest(f'"{sample_id}",images/a.png,,,train,'), r"row 2: the id '.*' cannot be used; ids become"
    )


def test_a_file_is_found_in_another_unicode_form_and_with_windows_separators(manifest, tmp_path):
    folder = tmp_path / "data" / normalize("NFD", "Größe")
    (tmp_path / "data" / "images").rename(folder)
    (folder / "a.png").rename(folder / normalize("NFD", "é.png"))
    path = manifest("é,Größe/é.png,,,train,", "b,Größe\\b.png,,,train,", "c,./Größe/../Größe/c.png,,,train,")
    assert [sample.image.name for sample in read_dataset(path).samples] == [normalize("NFD", "é.png"), "b.png", "c.png"]


def warnings_of(path):
    return {warning.name: warning for warning in read_dataset(path).warnings}


def test_rows_without_a_group_among_others_are_warned_of(manifest):
    rows = ["a,images/a.png,,,train,p1", "b,images/b.png,,,train,", "c,images/c.png,,,test,nan"]
    warning = warnings_of(manifest(*rows))["blank-groups"]
    assert str(warning) == "2 of 3 rows have no group, and count as patients of their own: b, c [blank-groups]"
    assert warnings_of(manifest(*(row.rpartition(",")[0] + "," for row in rows))) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("Pat 1", "pat 1"), ("Pat 1", "Pat  1"), ("1", "1.0"), ("1", "001"), ("1.0", "001"), ("P-07", "p_7")),
        *(("Ａ1", "A1"), ("Müller", "MÜLLER"), ("case 12a", "case12a"), ("P001-02", "p1-2")),
    ],
)
def test_groups_that_are_written_alike_are_warned_of(manifest, one, other):
    path = manifest(f"a,images/a.png,,,train,{one}", f"b,images/b.png,,,test,{other}", "c,images/c.png,,,test,zz")
    text = str(warnings_of(path)["alike-groups"])
    assert all(repr(group) in text for group in (one, other))
    assert "zz" not in text


@pytest.mark.parametrize(("one", "other"), [("P1-12", "P11-2"), ("1", "10"), ("1.5", "15"), ("a", "b"), ("P1", "P-11")])
def test_groups_that_differ_are_not(manifest, one, other):
    assert warnings_of(manifest(f"a,images/a.png,,,train,{one}", f"b,images/b.png,,,test,{other}")) == {}


def test_groups_in_two_unicode_forms_are_one(manifest, assert_one_problem):
    rows = (
        f"{name},images/{name}.png,,,{split},{normalize(form, 'Müller')}"
        for name, split, form in (("a", "train", "NFC"), ("b", "test", "NFD"))
    )
    assert_one_problem(manifest(*rows), "group 'Müller' is in more than one split")


@pytest.fixture
def scans(tmp_path, manifest):
    """A function that writes DICOM files of (study, series) without pixels, and a manifest of them without groups."""
    pydicom = pytest.importorskip("pydicom")

    def write(*uids):
        rows = []
        for i, (study, series) in enumerate(uids):
            file = pydicom.Dataset()
            file.file_meta = pydicom.dataset.FileMetaDataset()
            file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            file.StudyInstanceUID, file.SeriesInstanceUID, file.SOPInstanceUID = study, series, f"1.{i}"
            file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            file.save_as(tmp_path / "data" / f"IM{i}", enforce_file_format=True)
            rows.append(f"s{i},IM{i},,,{('train', 'test')[i % 2]}")
        return list_entries(manifest(*rows, header="id,image,mask,text,split"))

    return write


def test_dicom_files_of_one_examination_are_one_group(scans):
    groups = [
        entry.group for entry in scans(("1.2", "1.2.1"), ("1.2", "1.2.1"), ("1.2", "1.2.2"), ("1.3", "1.3.1")).entries
    ]
    assert groups[0] == groups[1] == groups[2] != groups[3]
    assert re.fullmatch("study-[0-9a-f]{16}", groups[0])


def test_an_examination_across_splits_is_a_problem_without_its_number(scans):
    (problem,) = split_groups(scans(("1.2.840.7", "1.1"), ("1.2.840.7", "1.2")).entries)
    assert re.match(r"group 'study-\w+' is in more than one split: s0 \(train\), s1 \(test\); keep a group", problem)
    assert "1.2.840.7" not in problem


def test_files_that_name_no_examination_are_groups_of_their_own(scans):
    assert [entry.group for entry in scans(("", ""), ("", "")).entries] == ["s0", "s1"]
    one, other = (entry.group for entry in scans(("", "1.5"), ("", "1.5")).entries)
    assert one == other != "s0"


def test_slices_of_one_file_are_one_group_however_its_path_is_written(manifest, tmp_path):
    (tmp_path / "data" / "images" / "scan.nii").touch()
    paths = ("images/scan.nii#0", "./images/scan.nii#1", "images/../images/scan.nii#2", "images\\scan.nii#3")
    rows = [f"s{i},{path},,,train," for i, path in enumerate(paths)]
    assert [entry.group for entry in list_entries(manifest(*rows)).entries] == ["images/scan.nii"] * 4


def test_ids_that_differ_in_case_alone_are_warned_of(manifest):
    path = manifest("A,images/a.png,,t,train,", "a,images/b.png,,t,val,", "c,images/c.png,,t,test,")
    assert str(warnings_of(path)["alike-ids"]).endswith(": A / a [alike-ids]")
