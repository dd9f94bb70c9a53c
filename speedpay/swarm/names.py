"""File names that strangers chose for our disk."""

from __future__ import annotations

import unicodedata

from speedpay.errors import Malformed

#: What Linux file systems take for one element of a path.
MAX_ELEMENT_BYTES = 255
#: Half of what Linux takes for a whole path; the save directory needs its part.
MAX_PATH_BYTES = 2048

# They change the order in which the rest is shown: "exe.gpj" may look like "jpg.exe".
_DIRECTION_CONTROLS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
# Control characters, line and paragraph separators, private use and unassigned code points.
_UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))


def path_element(value: object, field: str) -> str:
    """One element of a path, or Malformed saying what is wrong with it."""
    if not isinstance(value, bytes):
        raise Malformed("must be a string", field=field)
    if not value:
        raise Malformed("a name must not be empty", field=field)
    if len(value) > MAX_ELEMENT_BYTES:
        raise Malformed(f"a name has more than {MAX_ELEMENT_BYTES} bytes", field=field)
    try:
        name = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a name is not UTF-8", field=field) from error
    if name in (".", ".."):
        raise Malformed(f'a name must not be "{name}"', field=field)
    if "/" in name or "\\" in name:
        raise Malformed("a name must not contain a slash or backslash", field=field)
    for character in name:
        if character in _DIRECTION_CONTROLS:
            raise Malformed("a name must not change the direction of text", field=field)
        if unicodedata.category(character) in _UNPRINTABLE:
            raise Malformed("a name must not contain control characters", field=field)
    return name


class NameSpace:
    """The paths of one torrent: none twice, also for file systems that ignore case.

    A path is a file or a directory, never both.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: set[str] = set()

    def add(self, path: list[str], field: str) -> None:
        if sum(len(element.encode()) + 1 for element in path) > MAX_PATH_BYTES:
            raise Malformed(f"is longer than {MAX_PATH_BYTES} bytes", field=field)
        folded = [unicodedata.normalize("NFC", element).casefold() for element in path]
        full = "/".join(folded)
        if full in self._files or full in self._directories:
            raise Malformed("is there twice", field=field)
        for depth in range(1, len(folded)):
            directory = "/".join(folded[:depth])
            if directory in self._files:
                raise Malformed("lies below a file", field=field)
            self._directories.add(directory)
        self._files.add(full)
