"""A user's own images: a folder per class, decoded in parallel once and then kept as one array."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import numpy as np

from dlrun.datasets.data import Samples, Task
from dlrun.datasets.download import cache_folder, make_writable
from dlrun.errors import ConfigError

ENDINGS = (".png", ".jpg", ".jpeg")
GRAY = ("1", "L", "LA")  #: Pillow's modes without colours
DEEP = ("I", "F", "I;16", "I;16L", "I;16B")  #: and those with more than 8 bits per pixel
NAMED = 10  #: images of another size that the message names


def image_folder(path: str | None = None, size: int | None = None) -> Samples:
    """The images in `path/train/<class>/`, and in `val` and `test` beside train where there are any.

    inputs (images, channels, height, width) uint8, with one channel where all images are gray and three otherwise;
    transparency is left out. Classes are the folders' names, sorted. A val or test part that has no folder is drawn
    from train. What was decoded is kept in the cache folder under a name made from all files' names, sizes and times of
    change, and `size`; delete it there at will.

    Args:
        path: the folder that holds train/.
        size: each image's middle square is cut out and scaled (bilinearly) to size x size; None takes them as they are,
            which must be of one size.

    Raises ConfigError for files that cannot be read, all of them named, for images of different sizes, and for folders
    without images.
    """
    if not path:
        raise ConfigError("dataset=image_folder needs a folder that holds train/<class>/: dataset.path=pictures")
    root = Path(path).expanduser().absolute()
    if not (root / "train").is_dir():
        raise ConfigError(f"dataset.path: there is no folder {root / 'train'}; a folder per class is wanted in it")
    class_names = [folder.name for folder in _folders(root / "train")]
    if len(class_names) < 2:
        raise ConfigError(
            f"{root / 'train'} holds {len(class_names)} folders; one for each of 2 or more classes is wanted"
        )
    files: list[Path] = []
    targets: list[int] = []
    parts: dict[str, np.ndarray] = {}
    for part in ("train", "val", "test"):
        start = len(files)
        for folder in _folders(root / part):
            if folder.name not in class_names:
                raise ConfigError(f"{folder}: there is no class {folder.name!r} in {root / 'train'}")
            images = _images(folder)
            files += images
            targets += [class_names.index(folder.name)] * len(images)
        if part != "train" and len(files) > start:
            parts[part] = np.arange(start, len(files))
    inputs = _cached(root, files, size)
    task: Task = "binary" if len(class_names) == 2 else "multiclass"
    return Samples(inputs, np.array(targets), task, class_names=class_names, parts=parts)


def _folders(folder: Path) -> list[Path]:
    """The folders in it, if it is there, but hidden ones."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    images = [f for f in folder.iterdir() if f.suffix.lower() in ENDINGS and not f.name.startswith(".")]
    if not images:
        raise ConfigError(f"{folder} holds no images ({', '.join(ENDINGS)})")
    return sorted(images)


def _cached(root: Path, files: list[Path], size: int | None) -> np.ndarray:
    """The images' array from the cache, or decoded and put there, by a file that is whole or not there."""
    odd = [f"  {file}" for file in files if not file.is_file()]
    if odd:
        raise ConfigError(
            "\n".join(["these are no files, but folders, pipes or links that lead nowhere:", *odd[:NAMED]])
        )
    stats = [(file, file.stat()) for file in files]
    content = [[str(file.relative_to(root)), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
    key = hashlib.sha256(json.dumps([size, content]).encode()).hexdigest()[:32]
    cache = cache_folder() / "image_folder"
    kept, part = cache / f"{root.name}-{key}.npy", cache / f"{key}.{uuid4().hex}.part"
    try:
        found = np.lib.format.open_memmap(kept, mode="r")  # plain numbers: a pickle is refused
        if found.dtype == np.uint8 and found.ndim == 4 and len(found) == len(files):
            return found
    except Exception:  # not there, or damaged in whatever way
        pass
    images = _decode_all(files, size)
    make_writable(cache, part)
    try:
        with part.open("wb") as file:
            np.save(file, images)
        os.replace(part, kept)
    finally:
        part.unlink(missing_ok=True)
    return images


def _decode_all(files: list[Path], size: int | None) -> np.ndarray:
    """All images as one array (images, channels, height, width), with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without holding Python's lock
        decoded = list(
            track(
                pool.map(lambda file: _decode(file, size), files),
                f"decoding {len(files)} images",
                total=len(files),
                console=Console(stderr=True),
                disable=not sys.stderr.isatty(),
            )
        )
    unreadable = [f"  {file}: {image}" for file, image in zip(files, decoded, strict=True) if isinstance(image, str)]
    if unreadable:
        raise ConfigError("\n".join([f"{len(unreadable)} of {len(files)} images cannot be read:", *unreadable]))
    images = [image for image in decoded if not isinstance(image, str)]
    odd = [
        f"  {file}: {image.shape[2]} x {image.shape[1]}"
        for file, image in zip(files, images, strict=True)
        if image.shape[1:] != images[0].shape[1:]
    ]
    if odd:
        shown = [*odd[:NAMED], *([f"  and {len(odd) - NAMED} more"] if len(odd) > NAMED else [])]
        head = f"{files[0]} is {images[0].shape[2]} x {images[0].shape[1]}, and {len(odd)} images differ; "
        raise ConfigError("\n".join([head + "set dataset.size to cut and scale all to one:", *shown]))
    channels = max(len(image) for image in images)
    return np.stack([np.broadcast_to(image, (channels, *image.shape[1:])) for image in images])


def _decode(file: Path, size: int | None) -> np.ndarray | str:
    """An image (1 or 3, height, width) uint8, or why there is none."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=("PNG", "JPEG")) as image:  # others may call programs, as Ghostscript for EPS
            if image.mode in DEEP:
                return f"its pixels are of mode {image.mode}; 8 bits per channel are wanted"
            plain = image.convert("L" if image.mode in GRAY else "RGB")
    except Exception as error:  # a damaged file makes Pillow raise anything
        return (str(error) or repr(error)).replace(f" {str(file)!r}", "")
    if size is not None:
        plain = ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
