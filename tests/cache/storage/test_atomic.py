import pytest

from textdiff.cache.storage.atomic import append_line, canonical_json, read_lines, write_durably, write_json


def test_canonical_json_is_the_same_for_equal_values():
    assert canonical_json({"b": [1, 2.5], "a": "µ"}) == '{"a":"µ","b":[1,2.5]}'.encode()


def test_write_json_ends_with_a_newline_and_leaves_no_temporary_file(tmp_path):
    write_json(tmp_path / "deep" / "x.json", {"a": 1})
    assert (tmp_path / "deep" / "x.json").read_text() == '{\n "a": 1\n}\n'
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.json"]


def test_a_write_that_fails_half_way_leaves_the_old_content(tmp_path):
    def pieces():
        yield b"new"
        raise OSError("disk full")

    write_durably(tmp_path / "file", [b"old"])
    with pytest.raises(OSError, match="disk full"):
        write_durably(tmp_path / "file", pieces())
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_not_a_number_is_refused_rather_than_written_as_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"")
    append_line(path, {"n": 1})
    append_line(path, {"n": 2})
    with path.open("ab") as file:
        file.write(b'{"n": 3')
    assert read_lines(path) == [{"n": 1}, {"n": 2}]
    assert read_lines(tmp_path / "absent") == []
