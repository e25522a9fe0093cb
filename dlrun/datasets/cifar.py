"""CIFAR-10 and CIFAR-100 in the binary version, which is read without unpickling anything."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.download import cache_folder, fetch, search_folders
from dlrun.errors import ConfigError

SHAPE = (3, 32, 32)  #: red, green and blue planes
PIXELS = 3 * 32 * 32
LARGEST = 2**28  #: bytes of an archive's whole content, and of a file: CIFAR has 185 million
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
)


@dataclass(frozen=True)
class Version:
    """What one of the two archives holds."""

    archive: str
    sha256: str
    folder: str  #: inside the archive
    train: tuple[str, ...]
    test: str
    names: str  #: the file with a class's name per line
    classes: int
    labels: int  #: bytes before a record's pixels; the last of them is the class


CIFAR10 = Version(
    "cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test_batch.bin",
    "batches.meta.txt",
    classes=10,
    labels=1,
)
CIFAR100 = Version(
    "cifar-100-binary.tar.gz",
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    "cifar-100-binary",
    ("train.bin",),
    "test.bin",
    "fine_label_names.txt",
    classes=100,
    labels=2,  # a coarse one goes before
)


def cifar10(path: str | None = None) -> Samples:
    """60,000 photographs of 10 classes: inputs (60000, 3, 32, 32) uint8, the official 10,000 as test.

    `cifar-10-binary.tar.gz`, or its folder `cifar-10-batches-bin`, is looked for in `path` alone where it is given (or
    `path` is one of them), else in `$DLRUN_DATA`, `./data` and the platform's cache, and in `cifar10/` in each of them;
    where there is none, the archive is downloaded. The archive is read in place: nothing of it is unpacked.

    Reference: Krizhevsky 2009, Learning multiple layers of features from tiny images; lecture 003.
    """
    return _samples(CIFAR10, path, "cifar10")


def cifar100(path: str | None = None) -> Samples:
    """60,000 photographs of 100 classes (the fine labels), found and read as `cifar10` is, in `cifar100/`.

    Reference: Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    return _samples(CIFAR100, path, "cifar100")


def _samples(version: Version, path: str | None, name: str) -> Samples:
    place = _locate(version, path, name)
    files = _folder_files(version, place) if place.is_dir() else _archive_files(version, place)
    class_names = files[version.names].decode("utf-8", "replace").split()
    if len(class_names) != version.classes:
        raise ConfigError(
            f"{place}: {version.names} holds {len(class_names)} names; {version.classes} classes are wanted"
        )
    parts = [read_records(files[file], f"{place}: {file}", version) for file in (*version.train, version.test)]
    inputs, targets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test = np.arange(len(inputs) - len(parts[-1][0]), len(inputs))
    encoding = {"image": {"channels": "red, green, blue", "range": [0, 255]}}
    return Samples(inputs, targets, "multiclass", class_names=class_names, parts={"test": test}, encoding=encoding)


def read_records(content: bytes, name: str, version: Version) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and classes (n,) int64 of a binary file's content.

    The format: record after record of one label byte (CIFAR-100: two, coarse and fine), then 3072 bytes: the red, the
    green and the blue plane, each row by row. Raises ConfigError, with the name, for anything else.
    """
    record = version.labels + PIXELS
    if not content or len(content) % record:
        raise ConfigError(f"{name} holds {len(content)} bytes; records of {record} bytes are wanted")
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    classes = records[:, version.labels - 1].astype(np.int64)
    if classes.max() >= version.classes:
        raise ConfigError(f"{name} holds the label {classes.max()}; labels from 0 to {version.classes - 1} are wanted")
    return records[:, version.labels :].reshape(-1, *SHAPE), classes


def _locate(version: Version, path: str | None, name: str) -> Path:
    roots = [Path(path).expanduser().absolute()] if path else search_folders()
    folders = [*roots, *(root / name for root in roots)]
    if path and (roots[0].is_file() or (roots[0] / version.test).is_file()):
        return roots[0]
    for place in (folder / part for folder in folders for part in (version.folder, version.archive)):
        if place.is_file() or place.is_dir():
            return place
    if path:
        raise ConfigError(f"dataset.path={path}: neither {version.archive} nor {version.folder} is in {roots[0]}")
    urls = [f"{url}{version.archive}" for url in MIRRORS]
    return fetch(version.archive, urls, version.sha256, cache_folder() / name)


def _folder_files(version: Version, folder: Path) -> Mapping[str, bytes]:
    files = {}
    try:
        for name in (*version.train, version.test, version.names):
            if (folder / name).stat().st_size > LARGEST:
                raise OSError(f"{name} holds more than {LARGEST} bytes")
            files[name] = (folder / name).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{folder} is not whole: {error}; delete it to have it downloaded anew, or name another by dataset.path"
        ) from error
    return files


def _archive_files(version: Version, archive: Path) -> Mapping[str, bytes]:
    wanted = {f"{version.folder}/{name}": name for name in (*version.train, version.test, version.names)}
    files = {}
    try:
        with archive.open("rb") as start:
            zipped = start.read(2) == b"\x1f\x8b"
        with (
            cast(BinaryIO, gzip.open(archive)) if zipped else archive.open("rb") as content,
            tarfile.open(fileobj=cast(Any, _Bounded(content)), mode="r|") as tar,
        ):
            for member in tar:
                stream = tar.extractfile(member) if member.name in wanted and member.isreg() else None
                if stream is not None:
                    files[wanted[member.name]] = stream.read()
                if len(files) == len(wanted):
                    break
    except Exception as error:  # tarfile and gzip raise whatever a damaged file leads them to
        raise ConfigError(
            f"{archive} cannot be read: {error}; delete it, or name another one by dataset.path"
        ) from error
    missing = [name for member, name in wanted.items() if name not in files]
    if missing:
        raise ConfigError(f"{archive} holds no {version.folder}/{missing[0]}: it is not {version.archive}")
    return files


class _Bounded:
    """A file of which no more than `LARGEST` bytes are read, however much a small archive unpacks to."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.left = LARGEST

    def read(self, size: int) -> bytes:
        content = self.file.read(min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise OSError(f"it holds more than {LARGEST} bytes")
        return content
