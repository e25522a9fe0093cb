"""Image files as one array: decoded in parallel, and kept so that the next start need not decode them again."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from uuid import uuid4

import numpy as np

from dlrun.datasets.download import cache_folder
from dlrun.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

#: of files that are taken for images: those of torchvision's ImageFolder, and GIF
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  #: Pillow's others may call programs, as for EPS
GRAY = ("1", "L", "LA")  #: Pillow's modes without colours
NAMED = 10  #: images that a message names
ORIENTATION, TURNING = 0x0112, range(2, 9)  #: EXIF's tag, and those of its values that ask for something
DECODED = 2  #: higher whenever the same files come to be decoded otherwise

#: what happened to an image, as bits, and what is told of all those to which it did
TURNED, CLEAR, PRINT, DEEP, FRAMES, PLAIN = (1 << bit for bit in range(6))
REMARKS = {
    TURNED: "turned or mirrored as EXIF data ask for",
    CLEAR: "partly transparent, which is left out: the colours beneath are taken",
    PRINT: "in the colours of print (CMYK), converted to red, green and blue",
    DEEP: "of 16 bits per channel, scaled to 8",
    FRAMES: "animated or of several pages, of which the first is taken",
}
FACTS = np.dtype([("remarks", "u1"), ("digest", "u8")])  #: of an image: the bits, and a hash of the file's bytes


class Images(NamedTuple):
    """Decoded files: pixels (images, channels, height, width) uint8, facts (images,) as in `FACTS`."""

    pixels: np.ndarray
    facts: np.ndarray


def read(root: Path, files: Sequence[Path], size: int | None, notes: list[str]) -> Images:
    """The images in these files below root, from the cache folder, or decoded and put there.

    size: as `image_folder` has it.
    notes: get what was changed in the images, and that the cache folder cannot be written where that is so.

    A file is known again by its path, size, times of change and inode. The time of the inode's change is one that no
    program can set back, as rsync and tar do with the other: what took a file's place is seen, whatever its date.

    Raises ConfigError for files that cannot be read, and for images of different sizes.
    """
    odd = [f"  {file}" for file in files if not file.is_file()]
    if odd:
        head = "these are no files, but folders, pipes or links that lead nowhere:"
        raise ConfigError("\n".join([head, *_some(odd)]))
    stats = [(str(file.relative_to(root)), file.stat()) for file in files]
    state = [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in stats]
    key = hashlib.sha256(json.dumps([DECODED, os.path.realpath(root), size, state]).encode()).hexdigest()[:32]
    kept = cache_folder() / "image_folder" / f"{root.name}-{key}.npy"
    images = _kept(kept, len(files))
    if images is None:
        try:
            images = _keep(kept, files, size)
        except OSError as problem:
            images = decode_all(files, size)
            notes.append(
                f"the decoded images cannot be kept in {kept.parent} ({problem.strerror or problem}), and are decoded "
                "again at the next start: DLRUN_DATA=FOLDER before the command names another place"
            )
    notes += _told(images)
    return images


def _kept(file: Path, count: int) -> Images | None:
    """What `_keep` wrote, its pixels mapped into memory; None where it is not there, or damaged in whatever way."""
    try:
        pixels = np.lib.format.open_memmap(file, mode="r")  # plain numbers: a pickle is refused
        with file.open("rb") as content:
            content.seek(pixels.offset + pixels.nbytes)
            facts = np.load(content, allow_pickle=False)
    except Exception:
        return None
    fits = pixels.dtype == np.uint8 and pixels.ndim == 4 and facts.dtype == FACTS and facts.ndim == 1
    return Images(pixels, facts) if fits and len(pixels) == len(facts) == count else None


def _keep(file: Path, files: Sequence[Path], size: int | None) -> Images:
    """Decode the images into a file that is whole or not there, which may be larger than the memory."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{uuid4().hex}.part")
    try:
        with part.open("w+b") as content:
            _, facts = decode_into(content, files, size)
            np.save(content, facts)
        os.replace(part, file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    images = _kept(file, len(files))
    if images is None:
        raise OSError(f"{file.name} cannot be read back")
    return images


def _told(images: Images) -> list[str]:
    """What users should know of how the images were read."""
    count = len(images.facts)
    seen = {bit: int(np.count_nonzero(images.facts["remarks"] & bit)) for bit in (*REMARKS, PLAIN)}
    told = [f"{_of(seen[bit], count)} {text}" for bit, text in REMARKS.items() if seen[bit]]
    if 0 < seen[PLAIN] < count:
        told.append(f"{_of(seen[PLAIN], count)} gray, in three equal channels since others have colours")
    return told


def _of(some: int, count: int) -> str:
    return f"{some:,} of {count:,} images {'is' if some == 1 else 'are'}"


def decode_all(files: Sequence[Path], size: int | None) -> Images:
    """All images, in memory; what `decode_into` raises."""
    content = BytesIO()
    shape, facts = decode_into(content, files, size)
    pixels = np.frombuffer(content.getbuffer(), np.uint8)
    return Images(pixels[len(pixels) - prod(shape) :].reshape(shape), facts)


def decode_into(content: IO[bytes], files: Sequence[Path], size: int | None) -> tuple[tuple[int, ...], np.ndarray]:
    """Write all images as one array of NumPy's format to a file that can be read back, with a progress bar on a
    terminal: one channel where all are gray, else three. Returns the array's shape, and the images' facts.

    Raises ConfigError for files that cannot be read, all of them named, and for images of different sizes.
    """
    from rich.console import Console
    from rich.progress import track

    facts = np.zeros(len(files), FACTS)
    unreadable, odd = [], []
    first: tuple[int, ...] = ()
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without Python's lock
        warnings.simplefilter("ignore")  # Pillow's name no file
        decoded = track(
            pool.map(lambda file: decode(file, size), files),
            f"decoding {len(files)} images",
            total=len(files),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        for i, (file, image) in enumerate(zip(files, decoded, strict=True)):
            if isinstance(image, str):
                unreadable.append(f"  {file}: {image}")
                continue
            pixels, remarks, digest = image
            facts[i] = remarks, digest
            if not first:
                first = pixels.shape[1:]
                header = _header((len(files), 3, *first))
                content.write(header)
            if pixels.shape[1:] != first:
                odd.append(f"  {file}: {pixels.shape[2]} x {pixels.shape[1]}")
            content.write(pixels.tobytes())
    if unreadable:
        raise ConfigError("\n".join([f"{len(unreadable)} of {len(files)} images cannot be read:", *unreadable]))
    if odd:
        head = f"{files[0]} is {first[1]} x {first[0]}, {len(odd)} of {len(files)} images not; set dataset.size to "
        raise ConfigError("\n".join([head + "cut and scale all to one:", *_some(odd)]))
    gray = facts["remarks"] & PLAIN > 0
    if not gray.all() and gray.any():
        _three_channels(content, len(header), gray, prod(first))
    shape = (len(files), 1 if gray.all() else 3, *first)
    content.seek(0)
    content.write(_header(shape))
    content.seek(0, os.SEEK_END)
    return shape, facts


def _header(shape: tuple[int, ...]) -> bytes:
    """NumPy's, of as many bytes whether it is one channel or three."""
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _three_channels(content: IO[bytes], start: int, gray: np.ndarray, plane: int) -> None:
    """Write the one channel of gray images, of so many bytes, three times, as others have it; last images first, so
    that none is written over before it is read."""
    places = start + plane * np.cumsum([0, *np.where(gray, 1, 3)])
    for i in reversed(range(len(gray))):
        content.seek(int(places[i]))
        pixels = content.read(plane if gray[i] else 3 * plane)
        content.seek(start + 3 * plane * i)
        content.write(pixels * (3 if gray[i] else 1))


def _some(lines: list[str]) -> list[str]:
    return [*lines[:NAMED], *([f"  and {len(lines) - NAMED} more"] if len(lines) > NAMED else [])]


def decode(file: Path, size: int | None) -> tuple[np.ndarray, int, int] | str:
    """An image (1 or 3, height, width) uint8, its remarks, and a hash of the file; or why there is none."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        content = file.read_bytes()
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            deep = ";16" in str(image.tile) or image.mode.startswith("I")  # before it is loaded
            orientation = _orientation(image)
            if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
                return f"its pixels are of mode {image.mode}; 8 or 16 bits per channel are wanted"
            plain = _eight_bits(image) if image.mode.startswith("I") else image
            remarks = DEEP * deep | CLEAR * _is_clear(plain) | PRINT * (image.mode == "CMYK")
            # MPO is how telephones keep a preview in a JPEG
            remarks |= FRAMES * (image.format != "MPO" and getattr(image, "is_animated", False))
            plain = plain.convert("L" if plain.mode in GRAY else "RGB")
            if orientation in TURNING:
                remarks |= TURNED
                if image.format != "TIFF":  # which Pillow turns by itself
                    plain = ImageOps.exif_transpose(_oriented(plain, orientation))
    except UnidentifiedImageError:
        return f"it is damaged, or none of {', '.join(FORMATS)}"
    except Exception as error:  # a damaged file makes Pillow raise anything
        return (str(error) or repr(error)).replace(f" {str(file)!r}", "")
    if size is not None:
        plain = ImageOps.fit(plain, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(plain)
    remarks |= PLAIN * (pixels.ndim == 2)
    digest = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), remarks, digest


def _orientation(image: Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data say nothing against the pixels
        return 1


def _oriented(image: Image, orientation: int) -> Image:
    """The image with this orientation for all that its EXIF data say, of which the rest may be damaged."""
    from PIL import Image as pillow

    exif = pillow.Exif()
    exif[ORIENTATION] = orientation
    image.info = {"exif": exif.tobytes()}
    return image


def _is_clear(image: Image) -> bool:
    """Whether any pixel is transparent to some degree."""
    if not (image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info):
        return False
    return bool((np.asarray(image.convert("RGBA"))[..., 3] < 255).any())


def _eight_bits(image: Image) -> Image:
    """An image of 16 bits per pixel with 65535 as 255."""
    from PIL import Image as pillow

    return pillow.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8))
