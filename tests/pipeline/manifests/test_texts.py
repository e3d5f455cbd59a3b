"""Tables of texts in any dialect, whose rows name images more or less exactly."""

import pytest

from textdiff.errors import DataError

NAMES = [f"0{i}.png" for i in range(1, 8)]


@pytest.fixture
def images(tmp_path, copy_of):
    return copy_of(tmp_path / "data", *(f"images/{name}" for name in NAMES), *(f"=masks/{name}" for name in NAMES))


def rows_of(table, *rows, encoding="utf-8", header="Image,Description"):
    table.write_bytes(("\n".join([header, *rows]) + "\n").encode(encoding))
    return table


@pytest.mark.parametrize(
    ("cell", "looseness"),
    [
        ("0{}.png", None),
        ("images/0{}.png", None),
        ("./images/0{}.png", None),
        ("images\\0{}.png", None),
        ("0{}", "another suffix, or none"),
        ("0{}.tif", "another suffix, or none"),
        ("mask_0{}.png", "the mask's name"),
        ("0{}_mask", "the mask's name"),
        ("D:\\data\\mri\\0{}.png", "the mask's name"),
        ("0{}.PNG", "another suffix, or none"),
        ("{}", "leading zeros differ"),
        ("000{}.png", "leading zeros differ"),
        ("mask_{}", "leading zeros differ"),
    ],
)
def test_rows_name_images_loosely(images, make, tmp_path, cell, looseness):
    table = rows_of(tmp_path / "t.csv", *(f"{cell.format(i)},text {i}" for i in range(1, 8)))
    made = make(images, texts=table)
    assert made.texts == {f"0{i}": f"text {i}" for i in range(1, 8)}
    assert made.summary.loose["texts"] == ({looseness: 7} if looseness else {})
    assert made.summary.unmatched.texts_without_image == []


def test_names_that_differ_in_case(tmp_path, copy_of, make):
    images = copy_of(tmp_path / "data", *(f"Case_{i}.png" for i in "ABC"))
    made = make(images, texts=rows_of(tmp_path / "t.csv", *(f"CASE_{i}.png,text {i}" for i in "abc")))
    assert made.texts == {f"Case_{i}": f"text {i.lower()}" for i in "ABC"}
    assert made.summary.loose["texts"] == {"upper and lower case differ": 3}


def test_names_decomposed_as_macos_has_them(tmp_path, copy_of, make):
    images = copy_of(tmp_path / "data", *(f"Mu\u0308ller_{i}.png" for i in "123"))
    made = make(images, texts=rows_of(tmp_path / "t.csv", *(f"M\u00fcller_{i}.png,text {i}" for i in "123")))
    assert made.texts == {f"M\u00fcller_{i}": f"text {i}" for i in "123"}
    assert made.summary.loose["texts"] == {}


def test_exact_names_go_first_and_the_rest_is_named(tmp_path, copy_of, make):
    images = copy_of(tmp_path / "data", "1.png", "01.png", "2.png", "note.txt.png")
    (images / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    table = rows_of(tmp_path / "t.csv", "1,one", "01.png,zero one", "001,which?", "002,two", "9,nobody")
    made = make(images, texts=table)
    assert made.texts == {"1": "one", "01": "zero one", "2": "two", "note.txt": ""}
    assert made.summary.unmatched.texts_without_image == [f"{table} row 4 ('001')", f"{table} row 6 ('9')"]
    assert made.summary.unmatched.images_without_text == ["note.txt"]
    assert made.summary.unmatched.files_not_used == [f"{images / 'Thumbs.db'} (of the system, or hidden)"]
    lines = made.summary.lines()
    assert f"texts without image: 2: {table} row 4 ('001'), {table} row 6 ('9')" in lines


def test_semicolons_lower_case_header_and_other_column_names(images, make, tmp_path):
    table = rows_of(
        tmp_path / "t.csv", *(f"{i};p{i // 2};round, dark" for i in range(1, 8)), header="file_name;Patient ID;report"
    )
    made = make(images, texts=table)
    assert set(made.texts.values()) == {"round, dark"}
    assert made.groups["02"] == made.groups["03"] == "p1"
    assert made.summary.tables == [f"{table}: name from 'file_name', text from 'report', group from 'patient id'"]


def test_columns_by_flag(images, make, tmp_path):
    table = rows_of(tmp_path / "t.csv", *(f"x,{name},round" for name in NAMES), header="Image,Scan,Notes")
    assert set(make(images, texts=table, text_columns=("Scan", "Notes")).texts.values()) == {"round"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("Scan", "Note"), "has no column 'note' of --text-columns; there are 'where', 'scan', 'notes'"),
        (
            None,
            "which column names the image and which holds the text[?] There are 'where', 'scan', 'notes'; name",
        ),
        (
            ("Where", "Notes"),
            "none of 7 rows names one of 7 images: .*t.csv row 2 has 'x', images are called as 01",
        ),
    ],
)
def test_wrong_columns(images, make, tmp_path, out, columns, message):
    table = rows_of(tmp_path / "t.csv", *(f"x,{name},round" for name in NAMES), header="Where,Scan,Notes")
    with pytest.raises(DataError, match=message):
        make(images, texts=table, text_columns=columns)
    assert not out.parent.exists()


def test_two_texts_for_one_image_and_a_row_for_two_images(tmp_path, copy_of, make):
    images = copy_of(tmp_path / "data", "a/1.png", "b/1.png", "b/2.png")
    table = rows_of(tmp_path / "t.csv", "1.png,which?", "2.png,one", "b/2.png,other", "2.png,one")
    with pytest.raises(DataError) as raised:
        make(images, texts=table)
    assert [line.partition(": ")[2] for line in raised.value.problems] == [
        "'1.png' fits 2 images; write a path that fits one",
        f"'b/2.png' has another text in {table} row 3; keep one",
    ]


def test_a_row_for_a_patient_is_for_all_of_its_images(tmp_path, copy_of, make):
    images = copy_of(
        tmp_path / "data", *(f"{patient}/slice_{i}.png" for patient in ("anna", "ben", "cleo") for i in "12")
    )
    made = make(images, texts=rows_of(tmp_path / "t.csv", "anna,left", "ben,right", "cleo/slice_1.png,one"))
    assert made.texts == {
        "anna_slice_1": "left", "anna_slice_2": "left", "ben_slice_1": "right", "ben_slice_2": "right",
        "cleo_slice_1": "one", "cleo_slice_2": "",
    }  # fmt: skip
    assert made.summary.loose["texts"] == {"the patient's name": 2}


def test_tables_among_the_images_are_found_and_others_left_out(images, make):
    rows_of(images / "texts.csv", *(f"{name},text" for name in NAMES))
    rows_of(images / "scanner.csv", "a,b", header="model,year")
    rows_of(images / "old.csv", *(f"x,images/{name},,old,train" for name in NAMES), header="id,image,mask,text,split")
    made = make(images)
    assert set(made.texts.values()) == {"text"}
    assert [line.rpartition("/")[2] for line in made.summary.unmatched.files_not_used] == [
        "old.csv (a manifest)",
        "scanner.csv (no table of texts (columns 'model', 'year'))",
    ]


def test_a_table_that_cannot_be_read_is_a_problem(images, make):
    (images / "texts.xlsx").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"texts.xlsx cannot be read as XLSX .* or name the right table with --texts"):
        make(images)


def test_latin_letters_of_an_old_spreadsheet(images, make, tmp_path):
    rows = [f"{name};Läsion, größer" for name in NAMES]
    table = rows_of(tmp_path / "t.csv", *rows, encoding="cp1252", header="dateiname;befund")
    made = make(images, texts=table, text_columns=("Dateiname", "Befund"))
    assert set(made.texts.values()) == {"Läsion, größer"}
    assert any("is not UTF-8, and was read as Windows-1252; look at" in line for line in made.summary.tables)


def test_dialects_of_other_programs(images, make, tmp_path):
    for start, header, rows in (
        ("sep=;\r\n", "image;description", "\r\n".join(f"{name};round" for name in NAMES)),
        ("\ufeff", ",Image,Description", "\n".join(f"{i},{name},round" for i, name in enumerate(NAMES))),
        ("", "IMAGE\tDESCRIPTION", "\n".join(f"{name}\tround" for name in NAMES)),
    ):
        table = tmp_path / "t.csv"
        table.write_text(f"{start}{header}\n{rows}\n", encoding="utf-8")
        assert set(make(images, texts=table).texts.values()) == {"round"}
        (tmp_path / "out" / "data.csv").unlink()


def test_cells_of_a_spreadsheet_count_as_they_are_shown(images, make, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title, book.active.sheet_state = "old", "hidden"
    book.active.append(["Image", "Description"])
    book.active.append(["01.png", "old text"])
    sheet = book.create_sheet("reports")
    sheet.append(["Image", "Description", "Patient"])
    for i in range(1, 8):
        sheet.append([i, "round" if i % 2 else "nan", "P1" if i == 1 else None])
        sheet.cell(i + 1, 1).number_format = "00"
    sheet.merge_cells("C2:C8")
    book.active = 1
    book.save(tmp_path / "t.xlsx")
    made = make(images, texts=tmp_path / "t.xlsx", split=(1.0, 0.0, 0.0))
    assert made.texts == {f"0{i}": "round" if i % 2 else "" for i in range(1, 8)}
    assert set(made.groups.values()) == {"P1"}
    assert made.summary.loose["texts"] == {"another suffix, or none": 7}
    assert any("3 cells spell out a missing value" in line for line in made.summary.tables)


def test_an_error_in_a_cell_is_a_problem(images, make, tmp_path):
    table = rows_of(tmp_path / "t.csv", "01.png,#REF!,p", "02.png,round,#N/A", header="Image,Description,Patient")
    with pytest.raises(DataError, match="has 2 problems") as raised:
        make(images, texts=table)
    one, two = raised.value.problems
    assert one.endswith("cell B2 (description) holds the error #REF!; correct it")
    assert two.endswith("cell C3 (patient) holds the error #N/A; correct it")


def test_files_of_systems_are_no_tables_and_no_images(images, make, copy_of):
    copy_of(images, "@eaDir/images/01.png", ".ipynb_checkpoints/02-checkpoint.png", "__MACOSX/images/x.png")
    (images / "images" / "._01.png").write_bytes(b"apple")
    (images / "~$texts.xlsx").write_bytes(b"lock")
    (images / ".~lock.texts.csv#").write_bytes(b"lock")
    made = make(images)
    assert len(made.rows) == 7
    assert [line.rpartition(" (")[2] for line in made.summary.unmatched.files_not_used] == [
        "of the system, or hidden)"
    ] * 6


def test_a_table_among_the_images_that_names_none_of_them(images, make):
    rows_of(images / "staff.csv", "anna,p1", "ben,p2", header="name,patient")
    with pytest.raises(DataError, match=r"none of 2 rows names .* or set the table aside with --leave-out"):
        make(images)
    assert set(make(images, leave_out="staff").texts.values()) == {""}
