"""Files of a folder: which are images, which are left out and why, which are called by a name in a table.

A file is an image by its content or by its suffix: a photograph without a suffix is found, and a file of another
content that is called `a.png` is a problem where it is opened. Names are compared in Unicode's composed form, and files
opened by the names that they have on the disk.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import get_args

from ...errors import DataError
from .paths import FileKind, composed, is_image, is_ngff, kind_of, read_head, split_place, undecoded

SYSTEM_FILES = re.compile(
    r"\..*|~\$.*|.*~|Thumbs\.db|ehthumbs\.db|desktop\.ini|Icon\r|__MACOSX|@eaDir|\$RECYCLE\.BIN|lost\+found|DICOMDIR",
    re.IGNORECASE,
)
"""Names of files and folders that systems and programs leave about, hidden ones among them: they are no data."""
_NAMED = 10
"""Files in one message."""


def list_images(path: Path) -> list[Path]:
    """The image or slice at `path`, or the images of the folder there, sorted by name; subfolders are not entered.

    Raises:
        DataError: Nothing is there, or nothing that is an image, or names of images are not UTF-8.
    """
    file, _ = split_place(path)
    if not file.exists():
        raise DataError(f"{file} does not exist; expected an image or a folder of images")
    if path.is_dir() and not is_ngff(path):
        images, left_out = sort_folder(path)
        lack = "holds no images" + (f" (left out: {_listed(left_out)})" if left_out else "")
    else:
        images, lack = [path] if is_image(path) or is_ngff(file) or kind_of(read_head(file)) else [], "is not an image"
    if not images:
        raise DataError(f"{path} {lack}; expected {', '.join(get_args(FileKind))}, whatever the name")
    if strange := [name for image in images if (name := undecoded(image.name))]:
        raise DataError(f"{path}: these names are not UTF-8, so that no record could hold them; rename them:", strange)
    return images


def sort_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """A folder's images, sorted by name, and what else is there: `NAME (reason)`; files of systems are neither."""
    images, left_out = [], []
    for path in sorted(folder.iterdir()):
        if SYSTEM_FILES.fullmatch(path.name):
            continue
        if is_image(path):
            images.append(path)
        elif reason := _reason(path):
            left_out.append(f"{undecoded(path.name) or path.name} ({reason})")
        else:
            images.append(path)
    return images, left_out


def _reason(path: Path) -> str:
    """Why a file is no image; "" where it is one by its content."""
    if path.is_dir():
        return "a folder, which is not entered"
    if not path.is_file():
        return "no file"
    try:
        head = read_head(path)
    except DataError:
        return "cannot be read"
    return "" if kind_of(head) else "no image that is read" if head else "empty"


def left_out(path: Path) -> str:
    """Words for the files that `list_images` leaves out of a folder; "" for none."""
    others = sort_folder(path)[1] if path.is_dir() and not is_ngff(path) else []
    return f"{path}: left out: {_listed(others)}" if others else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


class FileNames:
    """Files under a folder by the names that a table gives them.

    A name matches in another Unicode form too (the é of macOS is two characters), and with the separators of Windows.
    """

    def __init__(self, root: Path) -> None:
        """Of a folder, which is listed where a name does not match as it is."""
        self.root = root
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> Path | None:
        """The file, or part of one (`FILE#INDEX`), of this name; `None` where there is none or more than one."""
        try:
            path = self.root / name
            if _is_whole(split_place(path)[0]):
                return path
            file, place = split_place(Path(name.replace("\\", "/")))
            found = self._find(file)
        except OSError:  # a name that no file system takes
            return None
        return found.with_name(f"{found.name}#{name.rpartition('#')[2]}") if found and place else found

    def _find(self, file: Path) -> Path | None:
        found = self.root
        for part in file.parts:
            child = found / part
            if not child.exists():
                others = self._of(found).get(composed(part), [])
                if len(others) != 1:
                    return None
                child = found / others[0]
            found = child
        return found if _is_whole(found) else None

    def _of(self, folder: Path) -> dict[str, list[str]]:
        """Composed form → the names in a folder."""
        if folder not in self._names:
            names = defaultdict(list)
            for path in folder.iterdir() if folder.is_dir() else ():
                names[composed(path.name)].append(path.name)
            self._names[folder] = names
        return self._names[folder]


def _is_whole(path: Path) -> bool:
    """Whether it is a file, or a folder that counts as one."""
    return path.is_file() or is_ngff(path)
