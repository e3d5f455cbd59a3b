"""Workbooks are read as they are shown."""

import io
import re
import zipfile
from datetime import date

import openpyxl
import pytest
from openpyxl.comments import Comment

from textdiff.errors import DataError
from textdiff.pipeline.data.dataset import read_dataset, scan_dataset
from textdiff.pipeline.data.sheets import workbook
from textdiff.pipeline.data.tables import TableColumns, read_table

COLUMNS = TableColumns(("image", "text"), optional=("group", "weight"), names=("image",), numbers=("weight",))


@pytest.fixture
def book(tmp_path):
    """A function that writes a workbook, whose sheet `arrange` changes, and reads it."""

    def read(rows, arrange=lambda book, sheet: None, columns=COLUMNS):
        book = openpyxl.Workbook()
        sheet = book.active
        for row in rows:
            sheet.append(row)
        arrange(book, sheet)
        book.save(tmp_path / "table.xlsx")
        return read_table(tmp_path / "table.xlsx", columns)

    return read


def column(table, name):
    return [row.cells[name] for row in table.rows]


def named(table):
    return {warning.name: warning.text for warning in table.warnings}


SLICES = [
    ("image", "text", "group"),
    ("a.png", "of p", "P1"),
    ("b.png", None, None),
    ("c.png", "of q", "P2"),
    ("d.png",),
]


def merge(*ranges):
    def arrange(book, sheet):
        for cells in ranges:
            sheet.merged_cells.add(cells)  # merge_cells would make every cell

    return arrange


def test_merged_cells_are_filled(book):
    table = book(SLICES, merge("B2:B3", "C2:C3", "B4:C5"))
    assert column(table, "group") == ["P1", "P1", "of q", "of q"]
    assert column(table, "text") == ["of p", "of p", "of q", "of q"]
    assert table.problems == ()


def test_merged_slices_of_a_patient_are_one_group_that_cannot_cross_splits(tmp_path, write_image, problems_of):
    for i, name in enumerate("abcdef"):
        write_image(tmp_path / f"{name}.png", seed=i)
    book = openpyxl.Workbook()
    book.active.append(("id", "image", "mask", "text", "split", "group"))
    for name in "abcdef":
        first = name in "ad"
        book.active.append(
            (name, f"{name}.png", None, (first and "round") or None, "train", (first and f"P{name}") or None)
        )
    for top in (2, 5):
        book.active.merged_cells.add(f"D{top}:D{top + 2}")
        book.active.merged_cells.add(f"F{top}:F{top + 2}")
    book.save(tmp_path / "manifest.xlsx")
    samples = read_dataset(tmp_path).samples
    assert [sample.group for sample in samples] == ["Pa"] * 3 + ["Pd"] * 3
    assert [sample.text for sample in samples] == ["round"] * 6
    book.active["E4"] = "test"
    book.save(tmp_path / "manifest.xlsx")
    assert "group 'Pa' is in more than one split: a (train), b (train), c (test)" in problems_of(tmp_path)[0]


def test_rows_that_hold_nothing_but_a_merged_cell_stay_blank(book):
    table = book(SLICES, merge("C4:C9", "B1:B3"))
    assert column(table, "group") == ["P1", "", "P2", "P2"]
    assert column(table, "text") == ["of p", "", "of q", ""]


def test_a_merged_range_of_the_whole_sheet_costs_what_its_rows_cost(book, monkeypatch):
    assert column(book(SLICES, merge("C2:C1048576")), "group") == ["P1"] * 4
    assert column(book(SLICES, merge("C2:XFD1048576")), "group") == ["P1"] * 4
    monkeypatch.setattr(workbook, "MAX_CELLS", 30)
    with pytest.raises(DataError, match="has over 30 cells"):
        book(SLICES, merge(*(f"A2:C{last}" for last in range(3, 30))))


@pytest.mark.parametrize(
    ("value", "number_format", "shown"),
    [
        (1, "000", "001"),
        (12, "General", "12"),
        (12.0, "General", "12"),
        (0.1 + 0.2, "General", "0.3"),
        (7, '"P"000', "P007"),
        (123456, "00-00-00", "12-34-56"),
        (123456, r"000\-00", "1234-56"),
        (1.25, "0.0", "1.3"),
        (3, "0.0", "3.0"),
        (0.125, "0.0%", "12.5%"),
        (1234567, "#,##0", "1,234,567"),
        (-4, "0;(0)", "(4)"),
        (0, '0;-0;"none"', "none"),
        (40, "[Red]00", "40"),
        (date(2021, 12, 31), "yyyy-mm-dd", "2021-12-31"),
        (date(2021, 12, 31), "dd.mm.yy", "31.12.21"),
        (date(2021, 2, 3), "yyyymmdd", "20210203"),
        (date(2021, 2, 3), "[$-409]d mmm yyyy", "3 Feb 2021"),
        (True, "General", "TRUE"),
        ("001", "General", "001"),
        ("a_x000D_\nb", "General", "a\r\nb"),
    ],
)
def test_numbers_are_read_as_they_are_shown(book, value, number_format, shown):
    def arrange(_, sheet):
        sheet["A2"].number_format = number_format

    table = book([("image", "text"), (value, "round")], arrange)
    assert (column(table, "image"), table.problems) == ([shown], ())


@pytest.mark.parametrize(
    "number_format", ["# ?/?", "mm-dd-yy", "[<10]0;00", "0,", "[h]:mm", ";;;", "[$-407]d. mmm yyyy"]
)
def test_a_number_whose_text_is_not_certain_is_named(book, number_format):
    def arrange(_, sheet):
        sheet["A2"].number_format = number_format

    (problem,) = book([("image", "text"), (44561, "round")], arrange).problems
    said = f"cell A2 (image) holds 44561 in the number format {number_format!r}; enter what it shows as text"
    assert problem.endswith(f"table.xlsx sheet 'Sheet' {said}")


def test_digits_that_a_spreadsheet_has_lost_are_named(book):
    (problem,) = book([("image", "text"), (12345678901234567890, "round")]).problems
    assert problem.endswith("a number of more digits than the 15 that spreadsheets keep; enter it as text")


def test_a_weight_counts_as_it_is_stored(book):
    def arrange(_, sheet):
        sheet["C2"].number_format = "0.0"

    assert column(book([("image", "text", "weight"), ("a", "b", 1.25)], arrange), "weight") == ["1.25"]


def test_ids_with_leading_zeros_find_their_images(tmp_path, lvit):
    folder = lvit / "Train_Folder"
    book = openpyxl.Workbook()
    for row in (("Image", "Description"), (1, "one"), (20, "twenty")):
        book.active.append(row)
    for cell in ("A2", "A3"):
        book.active[cell].number_format = "000"
    book.save(folder / "Train_text.xlsx")
    for kind in ("img", "labelcol"):
        (folder / kind / "a.png").rename(folder / kind / "001.png")
        (folder / kind / "b.png").rename(folder / kind / "020.png")
    assert [(sample.id, sample.text) for sample in read_dataset(lvit).samples[:2]] == [
        ("001", "one"),
        ("020", "twenty"),
    ]


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!"])
def test_error_cells_are_problems_where_they_are_read(book, error):
    table = book([("image", "text", "group", "notes"), ("a", error, error, error)])
    assert [problem.partition("table.xlsx ")[2] for problem in table.problems] == [
        f"sheet 'Sheet' cell B2 (text) holds the error {error}; correct it",
        f"sheet 'Sheet' cell C2 (group) holds the error {error}; correct it",
    ]
    assert table.rows[0].cells == {"image": "a", "text": "", "group": "", "notes": error}


def test_a_formula_without_a_result_is_a_problem_and_one_with_an_empty_result_is_empty(book, tmp_path):
    (problem,) = book([("image", "text"), ("a", '="round"&" nuclei"')]).problems
    assert "cell B2 (text) holds a formula whose result is not stored; open the file in a spreadsheet" in problem
    with zipfile.ZipFile(tmp_path / "table.xlsx") as old, zipfile.ZipFile(tmp_path / "new.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'<c r="B2">', b'<c r="B2" t="str">'))
    table = read_table(tmp_path / "new.xlsx", COLUMNS)
    assert (column(table, "text"), table.problems) == ([""], ())


def hidden_first(book, sheet):
    sheet.sheet_state = "hidden"
    new = book.create_sheet("new")
    for row in (("Image ", " TEXT"), ("a", "new")):
        new.append(row)


def test_the_first_visible_sheet_is_read(book):
    table = book([("image", "text"), ("a", "old")], hidden_first)
    assert (column(table, "text"), table.warnings) == (["new"], ())


def test_a_cover_before_the_table_is_passed_over_and_a_second_table_is_warned_of(book):
    def arrange(book, sheet):
        for title, text in (("one", "first"), ("two", "second")):
            for row in (("image", "text"), ("a", text)):
                (book[title] if title in book.sheetnames else book.create_sheet(title)).append(row)

    table = book([("Data of 2021",)], arrange)
    assert column(table, "text") == ["first"]
    assert named(table).keys() == {"several-sheets"}
    assert "sheets 'two' have the columns too; 'one' is read" in named(table)["several-sheets"]


def test_without_columns_a_cover_is_passed_over_too(book):
    assert column(book([("Data of 2021",)], hidden_last, None), "text") == ["new"]


def hidden_last(book, sheet):
    for title in ("new", "old"):
        new = book.create_sheet(title)
        for row in (("image", "text"), ("a", title)):
            new.append(row)
    book["old"].sheet_state = "hidden"


def test_a_workbook_that_shows_no_sheet_is_refused(book, tmp_path):
    book([("image", "text"), ("a", "old")], hidden_first)
    with zipfile.ZipFile(tmp_path / "table.xlsx") as old, zipfile.ZipFile(tmp_path / "new.xlsx", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'state="visible"', b'state="veryHidden"'))
    with pytest.raises(DataError, match=r"new\.xlsx shows no sheet with cells"):
        read_table(tmp_path / "new.xlsx", COLUMNS)


def test_hidden_rows_and_columns_are_read_and_named(book):
    def arrange(_, sheet):
        sheet.row_dimensions[3].hidden = True
        sheet.column_dimensions["B"].hidden = True

    table = book([("image", "text"), ("a", "x"), ("b", "y")], arrange)
    assert column(table, "text") == ["x", "y"]
    assert "column 'text', row 3 of sheet 'Sheet' are hidden" in named(table)["hidden-cells"]


def test_comments_and_styles_change_nothing(book):
    def arrange(_, sheet):
        sheet["A2"].comment = Comment("see b", "me")
        sheet["A2"].font = openpyxl.styles.Font(bold=True)

    assert column(book([("image", "text"), ("a", "x")], arrange), "image") == ["a"]


def test_unnamed_columns_are_left_out_and_named_unless_they_number_the_rows(book):
    assert named(book([(None, "image", "text"), (3, "a", "x"), (1, "b", "y")])) == {}
    assert named(book([("Unnamed: 0", "image", "text"), (3, "a", "x"), (1, "b", "y")])) == {}
    table = book([("image", None, "text"), ("a", "P1", "x", "late"), ("b", "P1", "y")])
    assert "column B, column D has cells, but no name" in named(table)["unused-columns"]
    assert table.columns == ("image", "text")


# What is no XLSX


def strict(content):
    """The workbook as Strict Open XML, as far as its relationships go."""
    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            text = old.read(name)
            for kind in (rb"officeDocument/2006/relationships", rb"spreadsheetml/2006/main"):
                iso = kind.replace(b"/2006", b"")
                text = re.sub(
                    rb"http://schemas\.openxmlformats\.org/" + kind, b"http://purl.oclc.org/ooxml/" + iso, text
                )
            archive.writestr(name, text)
    return new.getvalue()


def zipped(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return content.getvalue()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (strict, "is saved as 'Strict Open XML Spreadsheet', which is not read; save it as 'Excel Workbook (.xlsx)'"),
        (
            lambda _: zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet"),
            "is saved as OpenDocument (.ods)",
        ),
        (lambda _: zipped(xl__workbook_dot_bin=""), "is saved as XLSB"),
        (lambda _: zipped(Index__Document_dot_iwa=""), "is saved as Apple Numbers"),
        (
            lambda _: b"\xd0\xcf\x11\xe0" + bytes(99),
            "is protected by a password, or of Excel 97-2003 (.xls); without a password, save it",
        ),
        (lambda _: b"<html><table>", "cannot be read as XLSX (BadZipFile"),
    ],
)
def test_other_formats_are_refused_with_what_to_do(book, tmp_path, make, said):
    book([("image", "text"), ("a", "x")])
    path = tmp_path / "table.xlsx"
    path.write_bytes(make(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        read_table(path, COLUMNS)
    assert said in str(caught.value)


@pytest.mark.parametrize("suffix", [".xls", ".ods", ".numbers"])
def test_tables_of_other_programs_are_never_overlooked(lvit, suffix):
    folder = lvit / "Train_Folder"
    (folder / "Train_text.xlsx").rename(folder / f"Train_text{suffix}")
    problems = scan_dataset(lvit)[1]
    assert len(problems) == 1
    assert (
        f"Train_text{suffix} is no table that is read; save it as 'Excel Workbook (.xlsx)' or 'CSV UTF-8'"
        in problems[0]
    )
