"""IDX files, and MNIST which comes in them."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.download import cache_folder, fetch, search_folders
from dlrun.errors import ConfigError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SHA256 = {  # of the .gz files as first published
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def mnist(path: str | None = None) -> Samples:
    """70,000 handwritten digits: inputs (70000, 1, 28, 28) uint8, 10 classes, the official 10,000 as test.

    The four IDX files, plain or gzipped, are looked for in `path` alone where it is given, else in $DLRUN_DATA,
    ./data and the platform's cache, each in `mnist/` and in torchvision's `MNIST/raw/`; what is missing is
    downloaded. Files found are accepted as they are if they are valid.

    Reference: LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791; lecture 002.
    """
    train, train_classes = _labelled(path, "train")
    test, test_classes = _labelled(path, "t10k")
    inputs = np.concatenate([train, test])[:, None]
    targets = np.concatenate([train_classes, test_classes]).astype(np.int64)
    names = [str(digit) for digit in range(10)]
    parts = {"test": np.arange(len(train), len(inputs))}
    return Samples(inputs, targets, "multiclass", class_names=names, parts=parts)


def _labelled(path: str | None, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and classes (n,) of the files "train-..." or "t10k-..."."""
    image_file, label_file = (_locate(path, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    images, labels = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
    if images.shape[1:] != (28, 28):
        raise ConfigError(f"{image_file} holds images of {images.shape[1]} x {images.shape[2]}; MNIST's are 28 x 28")
    if len(images) != len(labels):
        raise ConfigError(f"{image_file} holds {len(images)} images, but {label_file} holds {len(labels)} labels")
    if labels.max() > 9:
        raise ConfigError(f"{label_file} holds the label {labels.max()}; MNIST's go from 0 to 9")
    return images, labels


def _locate(path: str | None, name: str) -> Path:
    roots = [Path(path).expanduser().absolute()] if path else search_folders()
    layouts = (".", "MNIST/raw") if path else ("mnist", "MNIST/raw")
    folders = [root / layout for root in roots for layout in layouts]
    for file in (folder / (name + ending) for folder in folders for ending in ("", ".gz")):
        if file.is_file():
            return file
    if path:
        raise ConfigError(f"dataset.path={path}: neither {name} nor {name}.gz is in {roots[0]}")
    return fetch(f"{name}.gz", [f"{url}{name}.gz" for url in MIRRORS], SHA256[name], cache_folder() / "mnist")


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, plain or gzipped, with that many dimensions; read-only.

    The format: two zero bytes, the type (0x08: unsigned byte), the number of dimensions, each dimension as a
    big-endian uint32, then the values, last dimension fastest. Raises ConfigError for anything else.

    Reference: LeCun, Cortes & Burges, The MNIST database, section "The IDX file format".
    """
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    if content[:2] != b"\0\0" or len(content) < 4:
        raise ConfigError(
            f"{file} is no IDX file: it starts with {content[:4]!r}, not with two zeros, type and number of dimensions"
        )
    if content[2] != 0x08:
        raise ConfigError(f"{file} holds values of type 0x{content[2]:02X}; unsigned bytes (0x08) are wanted")
    if content[3] != dimensions:
        raise ConfigError(f"{file} holds {content[3]} dimensions; {dimensions} are wanted")
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    if len(content) != header + prod(shape):
        raise ConfigError(f"{file} holds {len(content)} bytes; its dimensions {shape} make {header + prod(shape)}")
    if prod(shape) == 0:
        raise ConfigError(f"{file} holds no values: its dimensions are {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
