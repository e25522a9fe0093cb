"""IDX files, and the three datasets that come in them: MNIST and its two drop-in replacements."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.download import cache_folder, fetch, search_folders
from dlrun.errors import ConfigError

RATIO = 1032  #: of bytes unpacked to bytes packed, the largest of gzip
DIGITS = [str(digit) for digit in range(10)]
CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
HIRAGANA = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


@dataclass(frozen=True)
class Origin:
    """Where one of the datasets lies and what is downloaded."""

    folder: str  #: in the folders that are searched, and in the cache
    torchvision: str  #: the same in torchvision's layout
    mirrors: tuple[str, ...]
    sha256: dict[str, str]  #: of the .gz files as first published


MNIST = Origin(
    "mnist",
    "MNIST/raw",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    {
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST = Origin(
    "fashion_mnist",
    "FashionMNIST/raw",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)
KMNIST = Origin(
    "kmnist",
    "KMNIST/raw",
    ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
    {
        "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
)


def mnist(path: str | None = None) -> Samples:
    """70,000 handwritten digits: inputs (70000, 1, 28, 28) uint8, 10 classes, the official 10,000 as test.

    The four IDX files, plain or gzipped, are looked for in `path` alone where it is given, else in `$DLRUN_DATA`,
    `./data` and the platform's cache, each in `mnist/` and in torchvision's `MNIST/raw/`; what is missing is
    downloaded. Files found are accepted as they are if they are valid.

    Reference: LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791; lecture 002.
    """
    return _samples(MNIST, path, DIGITS)


def fashion_mnist(path: str | None = None) -> Samples:
    """70,000 pictures of clothes in MNIST's format, found as `mnist` is, in `fashion_mnist/` or `FashionMNIST/raw/`.

    Reference: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.
    """
    return _samples(FASHION_MNIST, path, CLOTHES)


def kmnist(path: str | None = None) -> Samples:
    """70,000 cursive hiragana in MNIST's format, found as `mnist` is, in `kmnist/` or `KMNIST/raw/`.

    Reference: Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto & Ha 2018, arXiv:1812.01718.
    """
    return _samples(KMNIST, path, HIRAGANA)


def _samples(origin: Origin, path: str | None, class_names: list[str]) -> Samples:
    train, train_classes = _labelled(origin, path, "train")
    test, test_classes = _labelled(origin, path, "t10k")
    inputs = np.concatenate([train, test])[:, None]
    targets = np.concatenate([train_classes, test_classes]).astype(np.int64)
    parts = {"test": np.arange(len(train), len(inputs))}
    encoding = {"image": {"channels": "gray", "range": [0, 255]}}
    return Samples(inputs, targets, "multiclass", class_names=class_names, parts=parts, encoding=encoding)


def _labelled(origin: Origin, path: str | None, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) and classes (n,) of the files "train-..." or "t10k-..."."""
    image_file, label_file = (_locate(origin, path, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    try:
        images, labels = read_idx(image_file, dimensions=3), read_idx(label_file, dimensions=1)
    except ConfigError as error:
        raise ConfigError(
            f"{error}: delete it to have it downloaded anew, or name other files by dataset.path"
        ) from error
    if images.shape[1:] != (28, 28):
        raise ConfigError(f"{image_file} holds images of {images.shape[1]} x {images.shape[2]}; 28 x 28 are wanted")
    if len(images) != len(labels):
        raise ConfigError(f"{image_file} holds {len(images)} images, but {label_file} holds {len(labels)} labels")
    if labels.max() > 9:
        raise ConfigError(f"{label_file} holds the label {labels.max()}; labels from 0 to 9 are wanted")
    return images, labels


def _locate(origin: Origin, path: str | None, name: str) -> Path:
    roots = [Path(path).expanduser().absolute()] if path else search_folders()
    layouts = (".", origin.torchvision) if path else (origin.folder, origin.torchvision)
    folders = [root / layout for root in roots for layout in layouts]
    for file in (folder / (name + ending) for folder in folders for ending in ("", ".gz")):
        if file.is_file():
            return file
    if path:
        raise ConfigError(f"dataset.path={path}: neither {name} nor {name}.gz is in {roots[0]}")
    urls = [f"{url}{name}.gz" for url in origin.mirrors]
    return fetch(f"{name}.gz", urls, origin.sha256[name], cache_folder() / origin.folder)


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, plain or gzipped, with that many dimensions; read-only.

    The format: two zero bytes, the type (0x08: unsigned byte), the number of dimensions, each dimension as a
    big-endian uint32, then the values, last dimension fastest. Raises ConfigError for anything else.

    Reference: LeCun, Cortes & Burges, The MNIST database, section "The IDX file format".
    """
    header = 4 + 4 * dimensions
    try:
        with file.open("rb") as start:
            zipped = start.read(2) == b"\x1f\x8b"
        with gzip.open(file) if zipped else file.open("rb") as stream:
            content = stream.read(header)
            declared = prod(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
            content += stream.read(min(declared, RATIO * file.stat().st_size) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if content[:2] != b"\0\0" or len(content) < 4:
        raise ConfigError(
            f"{file} is no IDX file: it starts with {content[:4]!r}, not with two zeros, type and number of dimensions"
        )
    if content[2] != 0x08:
        raise ConfigError(f"{file} holds values of type 0x{content[2]:02X}; unsigned bytes (0x08) are wanted")
    if content[3] != dimensions:
        raise ConfigError(f"{file} holds {content[3]} dimensions; {dimensions} are wanted")
    if len(content) < header:
        raise ConfigError(f"{file} is cut short: it ends after {len(content)} bytes, within its header")
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    if len(content) != header + declared:
        held = len(content) if len(content) < header + declared else "more"
        raise ConfigError(f"{file} holds {held} bytes; its dimensions {shape} make {header + declared}")
    if declared == 0:
        raise ConfigError(f"{file} holds no values: its dimensions are {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
