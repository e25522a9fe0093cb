"""What users write of a run or a sweep, in its folder: notes and tags, which change nothing of what was trained."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files.parsing import json_of
from dlrun.files.replacing import replacing
from dlrun.folder.contents import read, refuse_packed
from dlrun.folder.names import NOTES

LONGEST = 10_000  #: letters of a note
MOST = 1000  #: notes, and tags
SIGNS = ",;[]"  #: which a tag may not hold: in a table tags are joined


@dataclass(frozen=True)
class Notes:
    """Notes, the first first, and tags."""

    texts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def cells(self, typed: str = "", tags: Sequence[str] = ()) -> dict[str, str]:
        """The cells `note` and `tags` of a table; without one where there is nothing.

        typed, tags: what the command said that made the run.
        """
        note = "; ".join(filter(None, [typed, *self.texts]))
        both = ",".join(dict.fromkeys([*tags, *self.tags]))
        return {key: " ".join(cell.split()) for key, cell in (("note", note), ("tags", both)) if cell}


def notes_of(folder: Path) -> Notes:
    """Those of a folder. Raises ConfigError for a file that is damaged."""
    try:
        found = json_of(read(folder, NOTES), folder / NOTES, writable=True)
    except (FileNotFoundError, NotADirectoryError):
        return Notes()
    lists = [found.get(key) for key in ("notes", "tags")] if isinstance(found, dict) else [None, None]
    for each in lists:
        if not isinstance(each, list) or len(each) > MOST or not all(isinstance(text, str) for text in each):
            raise ConfigError(f"{folder / NOTES} does not hold a list of notes, and one of tags")
    if any(len(text) > LONGEST for each in lists for text in each or ()):
        raise ConfigError(f"{folder / NOTES}: a note has {LONGEST:,} letters at most")
    texts, tags = (tuple(each or ()) for each in lists)
    return Notes(texts, tags)


def add(folder: Path, text: str = "", tags: Collection[str] = (), without: Collection[str] = ()) -> Notes:
    """Add a note, and tags, and take tags away; returns all that there is then. Raises ConfigError for what is none."""
    refuse(text, tags)
    refuse_packed(folder, "note ")
    there = notes_of(folder)
    kept = [tag for tag in dict.fromkeys([*there.tags, *tags]) if tag not in without]
    notes = Notes((*there.texts, *filter(None, [text])), tuple(kept))
    if len(notes.texts) > MOST or len(notes.tags) > MOST:
        raise ConfigError(f"{folder} has {MOST:,} notes or tags already")
    with replacing(folder / NOTES) as part:
        content = {"notes": notes.texts, "tags": notes.tags}
        part.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return notes


def refuse(text: str, tags: Collection[str]) -> None:
    """Raise ConfigError for a note or tags that cannot be kept."""
    if len(text) > LONGEST:
        raise ConfigError(f"a note has {LONGEST:,} letters at most, and this one {len(text):,}")
    for tag in tags:
        if not tag.strip() or any(sign in tag for sign in SIGNS) or not tag.isprintable() or len(tag) > 100:
            raise ConfigError(f"tag {tag!r}: a tag has letters, digits and blanks, without , ; [ ]")
