"""CSV dialects, missing values and errors, whatever the table's format."""

import pytest

from textdiff.errors import DataError
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.data.tables import TableColumns, read_table

COLUMNS = TableColumns(("image", "text"), optional=("group", "weight"), names=("image",), numbers=("weight",))


@pytest.fixture
def csv(tmp_path):
    """A function that writes bytes or text as a CSV and reads it."""

    def read(content, columns=COLUMNS, **options):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, columns, **options)

    return read


def column(table, name):
    return [row.cells[name] for row in table.rows]


@pytest.mark.parametrize("mark", ["sep=;\n", "SEP=;\r\n", '"sep=;"\r\n', "\ufeffsep=;\n"])
def test_the_line_that_names_the_separator_is_no_row(csv, mark):
    table = csv(f'{mark}image;text\na;"x, y; z"\n')
    assert (table.rows[0].number, table.rows[0].cells) == (2, {"image": "a", "text": "x, y; z"})


def test_the_separator_may_be_any_sign(csv):
    assert column(csv("sep=^\nimage^text\na^x,y\n"), "text") == ["x,y"]
    assert column(csv("image|text\na|x,y\n"), "text") == ["x,y"]
    assert column(csv("image\ttext\na\tx,y\n"), "text") == ["x,y"]


def test_numbers_of_a_csv_stay_as_they_stand(csv):
    assert column(csv('image;text;weight\n001;"1,50";0,5\n'), "text") == ["1,50"]
    assert column(csv("image,text\n001,x\n1.0,x\n1e3,x\n"), "image") == ["001", "1.0", "1e3"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_encodings_that_are_certain_are_read(csv, encoding):
    assert column(csv("image\ttext\na\tGrößere Kerne\n".encode(encoding)), "text") == ["Größere Kerne"]


def test_other_encodings_are_refused_and_read_when_they_are_named(csv):
    content = "image;text\na;Größere Kerne\n"
    with pytest.raises(DataError, match=r"table\.csv is not UTF-8 \(byte 15\); save it as 'CSV UTF-8'"):
        csv(content.encode("cp1252"))
    assert column(csv(content.encode("cp1252"), encoding="cp1252"), "text") == ["Größere Kerne"]
    assert column(csv(content.encode("utf-8-sig"), encoding="cp1252"), "text") == ["Größere Kerne"]
    with pytest.raises(DataError, match="is a spreadsheet by its content; give it the suffix"):
        csv(b"PK\3\4rest")


def test_columns_are_known_in_any_case_and_spacing(csv):
    assert csv(" IMAGE ,\u200bText\u00a0,Group  Of\tTwo\na,x,y\n").columns == ("image", "text", "group of two")


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "Unnamed: 0.1"])
def test_the_index_of_pandas_is_ignored(csv, header):
    table = csv(f"{header},image,text\n0,a,x\n7,b,y\n")
    assert (table.columns, table.warnings) == (("image", "text"), ())


def test_a_manifest_that_pandas_wrote_is_read(tmp_path, write_image):
    for i, name in enumerate("ab"):
        write_image(tmp_path / f"{name}.png", seed=i)
    rows = "0,a,a.png,nan,round,train\n1,b,b.png,nan,None,val\n"
    (tmp_path / "manifest.csv").write_text(f",id,image,mask,text,split\n{rows}")
    dataset = read_dataset(tmp_path)
    assert [(sample.id, sample.mask, sample.text) for sample in dataset.samples] == [
        ("a", None, "round"),
        ("b", None, ""),
    ]
    (warning,) = dataset.warnings
    assert warning.name == "missing-values"
    assert "3 cells spell out a missing value (such as nan or N/A) and count as empty: D2, D3, E3" in str(warning)


@pytest.mark.parametrize(
    "word",
    ["nan", "NaN", "None", "NULL", "N/A", "n.a.", "NA", "<NA>", "NaT", "-", "--", "–", "?", ".", r"\N", "(null)"],
)
def test_words_for_a_missing_value_are_missing(csv, word):
    table = csv(f"image,text,group,notes\nNA,{word},{word},{word}\n")
    assert table.rows[0].cells == {"image": "NA", "text": "", "group": "", "notes": word}
    assert table.rows[0].missing == {"text", "group"}
    assert "2 cells spell out a missing value" in table.warnings[0].text


@pytest.mark.parametrize("word", ["nano", "none seen", "No", "0", "unknown", "-1", "NAD", "normal"])
def test_other_words_stay(csv, word):
    table = csv(f"image,text\na,{word}\n")
    assert (column(table, "text"), table.warnings) == ([word], ())


@pytest.mark.parametrize(
    "error", ["#N/A", "#REF!", "#NAME?", "#NV", "#BEZUG!", "#VALEUR!", "#¡DIV/0!", "Err:502", "####"]
)
def test_errors_that_a_spreadsheet_exported_are_problems(csv, error):
    (problem,) = csv(f"image,text,notes\na,{error},{error}\n").problems
    assert problem.endswith(f"table.csv cell B2 (text) holds the error {error}; correct it")


@pytest.mark.parametrize("text", ["#1", "# of nuclei: 3", "C#", "#12!", "error"])
def test_signs_alone_make_no_error(csv, text):
    assert csv(f"image,text\na,{text}\n").problems == ()


def test_a_text_that_is_said_to_be_missing_is_no_problem_of_lvits_layout(lvit, write_table):
    rows = [("Image", "Description"), ("a.png", "nan"), ("b.png", "y")]
    write_table(lvit / "Train_Folder" / "Train_text.xlsx", rows)
    dataset = read_dataset(lvit)
    assert [sample.text for sample in dataset.samples[:2]] == ["", "y"]
    assert [warning.name for warning in dataset.warnings] == ["missing-values"]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u200b", "\ufeff", " \u200b ", "\u3000"])
def test_space_around_a_cell_is_no_part_of_it(csv, blank):
    assert csv(f"image,text\na,{blank}x{blank}\nb,{blank}\n").rows[1].cells["text"] == ""
    assert column(csv(f"image,text\na,{blank}x y{blank}\n"), "text") == ["x y"]


def test_without_columns_cells_are_taken_as_they_stand(csv):
    table = csv("file,finding\na,#N/A\nb,nan\n", columns=None)
    assert (column(table, "finding"), table.problems, table.warnings) == (["#N/A", "nan"], (), ())


@pytest.mark.parametrize("above", ["My data\n", "\n", ",,\nExport of May,\n"])
def test_rows_above_the_columns_names_are_refused_by_number(csv, above):
    row = above.count("\n") + 1
    with pytest.raises(DataError, match=rf"names its columns in row {row}; delete the rows above it"):
        csv(f"{above}image,text\na,x\n")
