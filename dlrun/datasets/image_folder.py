"""A user's own images: a folder per class in train/, and in val/ and test/ beside it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from dlrun.datasets.data import Samples, Task
from dlrun.datasets.image_files import ENDINGS, Images, read
from dlrun.errors import ConfigError
from dlrun.terminal.console import counted
from dlrun.terminal.printable import in_line

#: what the folder of a part may be called, in whatever case, also with "set" behind it
NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
WORDS = {"train": "training", "val": "validation", "test": "test"}
SYSTEM = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")  #: what systems leave in folders, beside hidden files
NAMED = 3  #: of what a note counts


def image_folder(path: str | None = None, size: int | None = None) -> Samples:
    """The images in `path/train/<class>/`, and in `val` and `test` beside train where there are any.

    inputs (images, channels, height, width) uint8, with one channel where all images are gray, and red, green and blue
    otherwise. Images are turned as their EXIF data ask for; transparency is left out, 16 bits per channel are scaled
    to 8. Classes are the folders' names, sorted; images in folders below a class's are of that class. The parts'
    folders may also be called training, valid, validation or testing, in whatever case. A val or test part without
    images is drawn from train. What was skipped or changed is told. What was decoded is kept in the cache folder, under
    a name made from the folder, `size`, and the files' names, sizes, times of change and inodes; delete it at will.
    Images that would be more than 268 MB of numbers are trained on as the bytes of that file, which need not fit the
    memory, and become numbers batch by batch; the numbers are the same.

    Args:
        path: the folder that holds train/.
        size: each image's middle square is cut out and scaled (bilinearly) to size x size; None takes them as they are,
            which must be of one size.

    Raises ConfigError for files that cannot be read, all of them named, for images of different sizes, for folders
    without images, and for two folders that would be the same part.
    """
    if not path:
        raise ConfigError("dataset=image_folder needs a folder that holds train/<class>/: dataset.path=pictures")
    root = Path(path).expanduser().absolute()
    skipped = Skipped()
    folders, notes = _parts(root, skipped)
    class_folders = {part: _folders(folders[part], skipped) for part in WORDS if part in folders}
    class_names = [folder.name for folder in class_folders["train"]]
    if len(class_names) < 2:
        raise ConfigError(
            f"{folders['train']} holds {len(class_names)} folders; one for each of 2 or more classes is wanted"
        )
    files: list[Path] = []
    targets: list[int] = []
    parts: dict[str, np.ndarray] = {}
    for part, own_folders in class_folders.items():
        start = len(files)
        for folder in own_folders:
            if folder.name not in class_names:
                near = get_close_matches(folder.name, class_names, 1, 0.5)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ConfigError(f"{folder}: there is no class {folder.name!r} in {folders['train']}{hint}")
            own = sorted(_images(folder, folders[part], skipped))
            if part == "train" and not own:
                raise ConfigError(f"{folder} holds no images ({_ENDINGS}): put some there, or move it away")
            files += own
            targets += [class_names.index(folder.name)] * len(own)
        found = np.arange(start, len(files))
        if part != "train" and len(found):
            parts[part] = found
        notes += _lacking(folders[part].name, part, class_names, np.array(targets, int)[found])
    notes += skipped.told()
    images = read(root, files, size, notes)
    classes = np.array(targets)
    notes += _copies(images, classes, parts, {part: folder.name for part, folder in folders.items()})
    task: Task = "binary" if len(class_names) == 2 else "multiclass"
    channels = "gray" if images.pixels.shape[1] == 1 else "red, green, blue"
    encoding = {"image": {"channels": channels, "range": [0, 255], "middle_square_scaled_to": size}}
    names, told = list(map(in_line, class_names)), list(map(in_line, notes))
    return Samples(images.pixels, classes, task, class_names=names, parts=parts, notes=told, encoding=encoding)


def _parts(root: Path, skipped: Skipped) -> tuple[dict[str, Path], list[str]]:
    """The folder of each part that there is, and what users should know of it. Raises ConfigError without train."""
    if not root.is_dir():
        what = "is a file: unpack it, and give the folder" if root.is_file() else "there is no such folder"
        raise ConfigError(f"dataset.path={root}: {what} that holds train/<class>/")
    found: dict[str, Path] = {}
    others, notes, beside = [], [], Skipped()
    for folder in _folders(root, beside):
        part = NAMES.get(re.sub(r"[\W_]", "", folder.name.casefold()).removesuffix("set"))
        if part is None:
            others.append(folder)
            continue
        if part in found:
            raise ConfigError(
                f"{found[part]} and {folder} would both be the {WORDS[part]} part: move one of them away, or its "
                "images into the other"
            )
        found[part] = folder
        if folder.name != part:
            notes.append(f"{folder.name}/ is taken as the {WORDS[part]} part")
    if "train" not in found:
        raise ConfigError(_no_train(root, others))
    skipped.loose += beside.loose
    train = found["train"].name
    classes = {folder.name for folder in _folders(found["train"], Skipped())}
    alike = [f for f in others if classes & {inner.name for inner in _folders(f, Skipped())}]
    for folder in alike:
        notes.append(
            f"{folder.name}/ holds classes of {train}/, but is not read: rename it to val or test if it is that part"
        )
    rest = [f"{folder.name}/" for folder in others if folder not in alike]
    if rest:
        notes.append(f"beside {train}/, {_some(rest)} {_are(len(rest))} not read")
    return found, notes


def _no_train(root: Path, others: list[Path]) -> str:
    told = f"dataset.path: there is no folder {root / 'train'}; a folder per class is wanted in it"
    if NAMES.get(root.name.casefold()) == "train":
        return f"{told}: did you mean dataset.path={root.parent}?"
    if others and any(next(_images(folder, folder, Skipped()), None) for folder in others):
        names = _some(f"{folder.name}/" for folder in others)
        return f"{told}: move {names} into {root / 'train'} if they are the classes"
    near = get_close_matches("train", [folder.name.casefold() for folder in others], 1)
    return f"{told}: rename {near[0]} to train if that is it" if near else told


class Skipped:
    """Counts what is not read, or not as one would think."""

    def __init__(self) -> None:
        self.system: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.links: list[str] = []  #: to folders, below a class's
        self.loose: Counter[str] = Counter()  #: images outside of a class's folder, by the folder they lie in
        self.below: list[str] = []  #: images in folders below a class's, which are read

    def told(self) -> list[str]:
        """A sentence for each kind of thing."""
        notes = [
            f"{counted(n, 'image')} directly in {folder}/ {_are(n)} not read: without a folder of a class, an "
            f"image has none"
            for folder, n in self.loose.items()
        ]
        if self.endings:
            kinds = ", ".join(
                f"{n:,} {ending or 'without an ending'}"
                for ending, n in sorted(self.endings.items(), key=lambda each: (-each[1], each[0]))
            )
            n = self.endings.total()
            notes.append(f"{counted(n, 'file')} {_are(n)} not read, by their endings: {kinds}; read are {_ENDINGS}")
        if self.system:
            n = self.system.total()
            notes.append(f"{counted(n, 'hidden or system file')} {_are(n)} not read: {_some(self.system)}")
        if self.links:
            n = len(self.links)
            notes.append(f"{counted(n, 'link')} to folders {_are(n)} not followed: {_some(self.links)}")
        if self.below:
            n = len(self.below)
            notes.append(
                f"{counted(n, 'image')} {_are(n)} read from folders below those of {'its' if n == 1 else 'their'} "
                f"class: {_some(self.below)}"
            )
        return notes


_ENDINGS = ", ".join(ENDINGS)


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.casefold() in SYSTEM


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in ENDINGS


def _folders(folder: Path, skipped: Skipped) -> list[Path]:
    """The folders in it but hidden ones, sorted."""
    found = []
    for entry in sorted(folder.iterdir()):
        if _is_system(entry.name):
            skipped.system[entry.name] += 1
        elif entry.is_dir():
            found.append(entry)
        elif _is_image(entry.name):
            skipped.loose[folder.name] += 1
        else:
            skipped.endings[entry.suffix.lower()] += 1
    return found


def _images(folder: Path, part: Path, skipped: Skipped) -> Iterator[Path]:
    """The images in a class's folder and below."""

    def refuse(problem: OSError) -> None:
        raise problem

    for place, inner, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        below = here != folder
        for name in sorted(inner):
            is_link = (here / name).is_symlink()
            if _is_system(name):
                skipped.system[name] += 1
            elif _is_image(name):
                yield here / name  # which is refused, as no file
            elif is_link:
                skipped.links.append(str((here / name).relative_to(part.parent)))
            else:
                continue
            inner.remove(name)
        for name in sorted(files):
            if _is_system(name):
                skipped.system[name] += 1
            elif _is_image(name):
                if below:
                    skipped.below.append(str((here / name).relative_to(part.parent)))
                yield here / name
            else:
                skipped.endings[Path(name).suffix.lower()] += 1


def _lacking(name: str, part: str, class_names: list[str], classes: np.ndarray) -> Iterator[str]:
    """What a part's folder does not hold."""
    absent = [class_names[c] for c in np.setdiff1d(np.arange(len(class_names)), classes)]
    if not len(classes):
        yield (
            f"{name}/ holds no image in a class's folder: the {WORDS[part]} part is drawn from the others, by "
            f"dataset.{part}_fraction"
        )
    elif absent:
        yield f"{name}/ holds no image of {len(absent)} of the {len(class_names)} classes: {_some(absent)}"


def _copies(images: Images, classes: np.ndarray, parts: dict[str, np.ndarray], names: dict[str, str]) -> Iterator[str]:
    """What is told of images that are there more than once, byte for byte."""
    _, number = np.unique(images.facts["digest"], return_inverse=True)
    part = np.full(len(number), "train", dtype=object)
    for name, rows in parts.items():
        part[rows] = name
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        n = int(np.isin(number[part == b], number[part == a]).sum())
        if n:
            yield (
                f"{counted(n, 'image')} of {names[b]}/ {_are(n)} also in {names[a]}/, byte for byte: "
                f"what is measured there is too good"
            )
    own = number[part == "train"]
    n = len(own) - len(np.unique(own))
    if n:
        drawn = [name for name in ("val", "test") if name not in parts]
        lies = f": drawn from there, {' and '.join(drawn)} may hold images that train" if drawn else ""
        yield f"{counted(n, 'image')} of {names['train']}/ {_are(n)} there before, byte for byte{lies}"
    pairs = np.unique(np.stack([number, classes]), axis=1)
    n = pairs.shape[1] - len(np.unique(number))
    if n:
        yield f"{counted(n, 'image')} {_are(n)} there under several classes, byte for byte"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _some(names: Iterable[str]) -> str:
    """The first few of the names."""
    listed = list(names)
    rest = f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + rest
