"""Files of a folder: which are images, which are called by a name in a table.

Names are compared in Unicode's composed form, and files opened by the names that they have on the disk.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from .paths import composed, is_ngff, split_place


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
