"""Image files: IDX, CIFAR's binary version, folders of PNG and JPEG, each written in its true format and read back."""

from __future__ import annotations

import errno
import gzip
import io
import os
import re
import shutil
import struct
import sys
import tarfile
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlrun.datasets import cifar, download, idx, image_files, image_folder
from dlrun.datasets.prepare import prepare
from dlrun.errors import ConfigError

DATA = Path(os.environ.get("DLRUN_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
OPTIONS = {"scale": "none", "scale_target": False, "val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 0}


def need(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"no {DATA / name}: set DLRUN_TEST_DATA to the folder that holds {name}")
    return DATA / name


# IDX files and MNIST


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, seed: int = 0, ending: str = "") -> np.ndarray:
    """Five training and three test images; returns all eight."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images = rng.integers(0, 256, (8, 28, 28))
    for part, rows in (("train", images[:5]), ("t10k", images[5:])):
        for kind, array in (("images-idx3", rows), ("labels-idx1", np.arange(len(rows)))):
            content = idx_bytes(array)
            (folder / f"{part}-{kind}-ubyte{ending}").write_bytes(gzip.compress(content) if ending else content)
    return images


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_is_read_plain_and_gzipped(tmp_path, pack):
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "x").write_bytes(pack(idx_bytes(array)))
    assert np.array_equal(idx.read_idx(tmp_path / "x", 3), array)


GOOD = idx_bytes(np.arange(6).reshape(2, 3))
MALFORMED = {
    "no IDX file": [b"", b"\0", b"\0\0\x08", b"PNG" + GOOD[3:]],
    r"type 0x0D; unsigned bytes \(0x08\)": [GOOD[:2] + b"\x0d" + GOOD[3:]],
    "holds 3 dimensions; 2 are wanted": [GOOD[:3] + b"\3" + GOOD[4:]],
    r"bytes; its dimensions \[2, 3\] make 18": [GOOD[:-1], GOOD + b"\0"],
    "cut short: it ends after . bytes, within its header": [GOOD[:4], GOOD[:9]],
    "holds 18 bytes; its dimensions": [GOOD[:4] + b"\xff" * 8 + GOOD[12:]],
    "holds more bytes; its dimensions": [gzip.compress(GOOD + bytes(10**6))],
    "holds no values": [idx_bytes(np.zeros((0, 3)))],
    "cannot be read": [
        gzip.compress(GOOD, mtime=0)[:-9],
        gzip.compress(GOOD, mtime=0)[:12] + b"\xff" + gzip.compress(GOOD, mtime=0)[13:],
    ],
}


@pytest.mark.parametrize(("message", "content"), [(m, c) for m, contents in MALFORMED.items() for c in contents])
def test_malformed_idx_says_what_is_wrong(tmp_path, message, content):
    file = tmp_path / "labels"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{re.escape(str(file))}.*{message}"):
        idx.read_idx(file, 2)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_array_or_a_config_error(tmp_path_factory, data):
    valid = data.draw(st.sampled_from([GOOD, gzip.compress(GOOD, mtime=0)]))
    content = bytearray(data.draw(st.one_of(st.just(valid), st.binary(max_size=40))))
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "fuzz.idx"
    file.write_bytes(bytes(content[: data.draw(st.integers(0, 40))]))
    try:
        assert idx.read_idx(file, 2).ndim == 2
    except ConfigError as error:
        assert str(file) in str(error)


@pytest.mark.parametrize("layout", ["mnist", "MNIST/raw"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_is_found_where_it_lies(monkeypatch, tmp_path, layout, ending):
    named, here, platform = (tmp_path / name for name in ("named", "here", "platform"))
    monkeypatch.setenv("DLRUN_DATA", str(named))
    monkeypatch.setattr(download, "_platform_folder", lambda: platform)
    here.mkdir()
    monkeypatch.chdir(here)
    # Each place found beats the ones written before it.
    for seed, folder in enumerate((platform, here / "data", named)):
        images = write_mnist(folder / layout, seed, ending)
        samples = idx.mnist()
        assert samples.inputs.dtype == np.uint8 and np.array_equal(samples.inputs[:, 0], images)
    assert np.array_equal(samples.targets, [0, 1, 2, 3, 4, 0, 1, 2]) and list(samples.parts["test"]) == [5, 6, 7]
    images = write_mnist(tmp_path / "mine", 9, ending)
    assert np.array_equal(idx.mnist(str(tmp_path / "mine")).inputs[:, 0], images)


@pytest.mark.parametrize(
    ("source", "layout"),
    [(idx.fashion_mnist, "FashionMNIST/raw"), (idx.kmnist, "KMNIST/raw")],
    ids=["fashion", "kmnist"],
)
def test_the_replacements_are_found_in_torchvisions_layout(monkeypatch, tmp_path, source, layout):
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path))
    monkeypatch.setattr(download, "_platform_folder", lambda: tmp_path / "none")
    write_mnist(tmp_path / "MNIST/raw")  # which is not theirs
    images = write_mnist(tmp_path / layout, 1)
    samples = source()
    assert np.array_equal(samples.inputs[:, 0], images) and list(samples.parts["test"]) == [5, 6, 7]
    assert samples.class_names[7] == {"FashionMNIST/raw": "Sneaker", "KMNIST/raw": "ya"}[layout]


def test_mnist_path_without_its_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=f"neither train-images-idx3-ubyte nor .*gz is in {tmp_path}"):
        idx.mnist(str(tmp_path))


@pytest.mark.parametrize(
    ("source", "origin"),
    [(idx.mnist, idx.MNIST), (idx.fashion_mnist, idx.FASHION_MNIST), (idx.kmnist, idx.KMNIST)],
    ids=["mnist", "fashion_mnist", "kmnist"],
)
def test_what_is_missing_is_downloaded_to_the_cache(monkeypatch, tmp_path, source, origin):
    write_mnist(tmp_path / "origin", ending=".gz")
    asked = {}

    def fetch(name, urls, sha256, folder):
        asked[name] = urls, sha256, folder
        return tmp_path / "origin" / name

    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "_platform_folder", lambda: tmp_path / "platform")
    monkeypatch.setattr(idx, "fetch", fetch)
    samples = source()
    assert len(samples.class_names) == 10 and len(samples.inputs) == 8
    assert len({*origin.sha256.values()}) == 4 and all(len(sha256) == 64 for sha256 in origin.sha256.values())
    assert asked == {
        f"{name}.gz": ([f"{url}{name}.gz" for url in origin.mirrors], sha256, tmp_path / "cache" / source.__name__)
        for name, sha256 in origin.sha256.items()
    }


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((5, 28, 27)), "images of 28 x 27"),
        ("train-images-idx3-ubyte", np.zeros((4, 28, 28)), "4 images, but .*train-labels.* holds 5 labels"),
        ("t10k-labels-idx1-ubyte", np.array([0, 1, 10]), "t10k-labels.* the label 10"),
    ],
)
def test_files_that_are_not_mnist_are_refused(tmp_path, name, array, message):
    write_mnist(tmp_path / "mine")
    (tmp_path / "mine" / name).write_bytes(idx_bytes(array))
    with pytest.raises(ConfigError, match=message):
        idx.mnist(str(tmp_path / "mine"))


def test_real_mnist_has_the_published_counts_and_mean():
    samples = idx.mnist(str(need("mnist")))
    assert samples.inputs.shape == (70000, 1, 28, 28) and len(samples.parts["test"]) == 10000
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert list(np.bincount(samples.targets[:60000])) == counts
    dataset = prepare(samples, **OPTIONS | {"scale": "minmax", "val_fraction": 0.1})
    assert dataset.sizes == {"train": 54000, "val": 6000, "test": 10000}
    train = dataset.inputs[:60000]
    assert train.mean() == pytest.approx(0.1307, abs=1e-4) and train.std() == pytest.approx(0.3081, abs=1e-4)
    assert torch.equal(dataset.part("test")[1], torch.from_numpy(samples.targets[60000:]))


# CIFAR, the binary version


def write_cifar(folder: Path, version: cifar.Version, seed: int = 0, each: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """So many records per file; returns images and fine labels in the order of the files."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images, labels = [], []
    for name in (*version.train, version.test):
        planes = rng.integers(0, 256, (each, 3, 32, 32), np.uint8)
        fine = rng.integers(0, version.classes, each)
        coarse = [7] if version is cifar.CIFAR100 else []
        records = [bytes([*coarse, label]) + image.tobytes() for label, image in zip(fine, planes, strict=True)]
        (folder / name).write_bytes(b"".join(records))
        images.append(planes)
        labels.append(fine)
    (folder / version.names).write_text("".join(f"thing_{c}\n" for c in range(version.classes)) + "\n")
    (folder / "readme.html").write_text("<html>")
    return np.concatenate(images), np.concatenate(labels)


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


BOTH = pytest.mark.parametrize(
    ("source", "version"),
    [(cifar.cifar10, cifar.CIFAR10), (cifar.cifar100, cifar.CIFAR100)],
    ids=["cifar10", "cifar100"],
)


@BOTH
def test_cifar_is_read_from_its_folder_and_its_archive_alike(tmp_path, source, version):
    images, labels = write_cifar(tmp_path / version.folder, version)
    archive = packed(tmp_path / version.folder, tmp_path / version.archive)
    for path in (tmp_path, tmp_path / version.folder, archive):
        before = sorted(tmp_path.rglob("*"))
        samples = source(str(path))
        assert np.array_equal(samples.inputs, images) and samples.inputs.dtype == np.uint8
        assert np.array_equal(samples.targets, labels) and samples.targets.dtype == np.int64
        assert list(samples.parts["test"]) == [len(images) - 2, len(images) - 1]
        assert samples.class_names == [f"thing_{c}" for c in range(version.classes)]
        assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked
    dataset = prepare(samples, **OPTIONS | {"val_fraction": 0.5})
    assert dataset.outputs == version.classes and dataset.sizes["test"] == 2


def test_a_records_bytes_are_label_then_red_green_and_blue_rows():
    pixels = bytes(range(256)) * 12
    images, classes = cifar.read_records(bytes([3]) + pixels, "x", cifar.CIFAR10)
    assert classes.tolist() == [3] and images[0, 0, 0, :4].tolist() == [0, 1, 2, 3]
    assert images[0, 0, 1, 0] == 32 and images[0, 2, 31, 31] == 255
    assert cifar.read_records(bytes([19, 99]) + pixels, "x", cifar.CIFAR100)[1].tolist() == [99]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 bytes; records of 3073 bytes"),
        (b"\0" * 3072, "holds 3072 bytes"),
        (b"\0" * 3074, "holds 3074 bytes"),
        (b"\x0a" + b"\0" * 3072, "holds the label 10; labels from 0 to 9"),
    ],
)
def test_malformed_records_are_refused_by_file(tmp_path, content, message):
    write_cifar(tmp_path / "cifar-10-batches-bin", cifar.CIFAR10)
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"data_batch_3\.bin {message}"):
        cifar.cifar10(str(tmp_path))


def test_an_archive_that_is_not_cifar_is_refused_and_writes_nothing_anywhere(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    archive = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("../../escaped.bin", f"{tmp_path}/escaped.bin", "cifar-10-batches-bin/../../escaped.bin"):
            member = tarfile.TarInfo(name)
            member.size = 5
            tar.addfile(member, io.BytesIO(b"outer"))
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(ConfigError, match=r"holds no cifar-10-batches-bin/data_batch_1\.bin: it is not"):
        cifar.cifar10(str(folder))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"PK" + b[2:], lambda b: b[:500] + b[600:]])
def test_a_damaged_archive_is_named(tmp_path, damage):
    write_cifar(tmp_path / "x" / "cifar-100-binary", cifar.CIFAR100)
    archive = packed(tmp_path / "x" / "cifar-100-binary", tmp_path / "cifar-100-binary.tar.gz")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(ConfigError, match=re.escape(str(archive))):
        cifar.cifar100(str(archive))


def test_incomplete_folders_and_wrong_names_are_told(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    write_cifar(folder, cifar.CIFAR100)
    (folder / "fine_label_names.txt").write_text("apple\n")
    with pytest.raises(ConfigError, match=r"fine_label_names\.txt holds 1 names; 100 classes"):
        cifar.cifar100(str(tmp_path))
    (folder / "train.bin").unlink()
    with pytest.raises(ConfigError, match=r"is not whole: .*train\.bin"):
        cifar.cifar100(str(tmp_path))
    with pytest.raises(ConfigError, match=rf"neither cifar-10-binary.tar.gz nor cifar-10-batches-bin is in {tmp_path}"):
        cifar.cifar10(str(tmp_path))


@BOTH
def test_cifar_is_searched_then_downloaded(monkeypatch, tmp_path, source, version):
    name = source.__name__
    write_cifar(tmp_path / "origin" / version.folder, version)
    archive = packed(tmp_path / "origin" / version.folder, tmp_path / "origin" / version.archive)
    asked = []

    def fetch(*args):
        asked.append(args)
        return archive

    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "_platform_folder", lambda: tmp_path / "platform")
    monkeypatch.setattr(cifar, "fetch", fetch)
    assert len(source().inputs) == 2 * len((*version.train, version.test))
    urls = [f"{url}{version.archive}" for url in cifar.MIRRORS]
    assert asked == [(version.archive, urls, version.sha256, tmp_path / "cache" / name)] and len(version.sha256) == 64
    images, _ = write_cifar(tmp_path / "cache" / name / version.folder, version, seed=1)
    assert np.array_equal(source().inputs, images) and len(asked) == 1


# Folders of images


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "image_folder"


def save(file: Path, pixels: np.ndarray, **options) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file, **options)
    return file


def pictures(root: Path, *shape: int, parts: tuple[str, ...] = ("train",), count: int = 4) -> dict[str, np.ndarray]:
    """PNG files of random pixels for the classes cat and dog, by their name under root."""
    rng = np.random.default_rng(0)
    names = [f"{part}/{c}/{i}.png" for part in parts for c in ("cat", "dog") for i in range(count)]
    pixels = {name: rng.integers(0, 256, shape) for name in names}
    for name, array in pixels.items():
        save(root / name, array)
    return pixels


def test_image_folder_is_the_pixels_in_the_order_of_names(cache, tmp_path):
    pixels = pictures(tmp_path / "in", 5, 7, 3, parts=("train", "test"))
    (tmp_path / "in/train/cat/._0.png").write_bytes(b"what a Mac leaves behind")
    (tmp_path / "in/train/cat/notes.txt").write_text("not an image")
    (tmp_path / "in/train/.git").mkdir()
    made = image_folder.image_folder(str(tmp_path / "in"))
    assert made.inputs.shape == (16, 3, 5, 7) and made.inputs.dtype == np.uint8 and made.task == "binary"
    for image, name in zip(made.inputs, pixels, strict=True):
        assert np.array_equal(image.transpose(1, 2, 0), pixels[name])
    assert made.targets.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 2 and made.class_names == ["cat", "dog"]
    assert {name: list(rows) for name, rows in made.parts.items()} == {"test": list(range(8, 16))}
    dataset = prepare(made, **OPTIONS | {"val_fraction": 0.25})
    assert dataset.sizes == {"train": 6, "val": 2, "test": 8}


def test_val_and_test_folders_are_those_parts(cache, tmp_path):
    pictures(tmp_path / "in", 4, 4, parts=("train", "val", "test"), count=2)
    made = image_folder.image_folder(str(tmp_path / "in"))
    assert made.inputs.shape == (12, 1, 4, 4)
    assert prepare(made, **OPTIONS).sizes == {"train": 4, "val": 4, "test": 4}


def test_gray_and_colour_together_are_colour(cache, tmp_path):
    gray, colour = np.arange(12).reshape(3, 4) * 20, np.arange(36).reshape(3, 4, 3) * 7
    root = tmp_path / "in"
    save(root / "train/a/0.png", gray)
    save(root / "train/b/0.png", np.dstack([gray, np.full((3, 4), 9)]))  # gray and alpha
    made = image_folder.image_folder(str(root))
    assert np.array_equal(made.inputs, np.stack([gray, gray])[:, None])
    save(root / "train/b/1.PNG", np.dstack([colour, np.full((3, 4), 9)]))  # colour and alpha
    made = image_folder.image_folder(str(root))
    assert made.inputs.shape == (3, 3, 3, 4)
    assert np.array_equal(made.inputs[0], [gray] * 3) and np.array_equal(made.inputs[2].transpose(1, 2, 0), colour)


def test_size_cuts_the_middle_square_and_scales_it(cache, tmp_path):
    wide = np.zeros((4, 12), int)
    wide[:, 4:8] = [10, 10, 200, 200]  # the middle; what is beside it is black
    tall = np.full((2, 2), 50)
    root = tmp_path / "in"
    save(root / "train/a/0.png", wide)
    save(root / "train/b/0.png", tall)
    with pytest.raises(
        ConfigError, match=r"0\.png is 12 x 4, 1 of 2 images not; set dataset\.size.*\n.*b/0\.png: 2 x 2"
    ):
        image_folder.image_folder(str(root))
    assert not [*cache.glob("*")]
    made = image_folder.image_folder(str(root), size=4)
    assert np.array_equal(made.inputs[0, 0], wide[:, 4:8]) and (made.inputs[1] == 50).all()
    assert image_folder.image_folder(str(root), size=2).inputs.shape == (2, 1, 2, 2)


def test_every_unreadable_file_is_named(cache, tmp_path):
    root = tmp_path / "in"
    pictures(root, 4, 4, 3)
    whole = (root / "train/cat/0.png").read_bytes()
    (root / "train/cat/1.png").write_bytes(b"not an image")
    (root / "train/dog/1.png").write_bytes(whole[:-30])
    (root / "train/dog/2.jpg").write_bytes(b"")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(root / "train/dog/3.tif")
    (root / "train/dog/3.png").unlink()
    with pytest.raises(ConfigError) as refused:
        image_folder.image_folder(str(root))
    told = str(refused.value).splitlines()
    assert told[0] == "4 of 9 images cannot be read:"
    assert "0x" not in str(refused.value)  # what Pillow says of Python's objects
    for line, name in zip(told[1:], ("cat/1.png", "dog/1.png", "dog/2.jpg", "dog/3.tif"), strict=True):
        assert line.startswith(f"  {root}/train/{name}: ")
    assert "mode F; 8 or 16 bits per channel" in told[4] and not [*cache.glob("*")]


def test_the_cache_serves_until_a_file_or_the_size_changes(cache, monkeypatch, tmp_path):
    root = tmp_path / "in"
    pictures(root, 4, 4)
    length = save(root / "train/cat/0.png", np.zeros((4, 4)), compress_level=0).stat().st_size
    first = image_folder.image_folder(str(root)).inputs
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "decode_into", None)  # decoding now would fail
        assert np.array_equal(image_folder.image_folder(str(root)).inputs, first)
    changed = save(root / "train/cat/0.png", np.full((4, 4), 3), compress_level=0)
    os.utime(changed, ns=(0, 1))
    assert changed.stat().st_size == length  # only the time tells
    second = image_folder.image_folder(str(root)).inputs
    assert (second[0] == 3).all() and np.array_equal(second[1:], first[1:])
    os.rename(root / "train/dog/3.png", root / "train/dog/4.png")
    image_folder.image_folder(str(root))
    image_folder.image_folder(str(root), size=2)
    kept = sorted(cache.iterdir())
    assert len(kept) == 4 and all(file.suffix == ".npy" for file in kept)  # no unfinished file is left
    for file in kept:
        file.write_bytes(file.read_bytes()[:-1])
    assert (image_folder.image_folder(str(root)).inputs[0] == 3).all()  # a damaged one is made anew


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "bar"), [(Terminal, True), (io.StringIO, False)])
def test_a_terminal_sees_how_far_decoding_is(cache, monkeypatch, tmp_path, stream, bar):
    pictures(tmp_path / "in", 4, 4)
    monkeypatch.setattr("sys.stderr", stream())
    image_folder.image_folder(str(tmp_path / "in"))
    assert ("decoding 8 images" in sys.stderr.getvalue()) == bar
    assert bar or not sys.stderr.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ([], r"dataset\.path=.*/in: there is no such folder that holds train/<class>/"),
        (["train/a/0.png"], "holds 1 folders; one for each of 2 or more classes"),
        (
            ["train/a/0.png", "train/b/"],
            r"train/b holds no images \(\.png, .*\): put some there, or move it away",
        ),
        (["train/a/0.png", "train/b/0.png", "test/c/0.png"], r"test/c: there is no class 'c' in .*train"),
    ],
)
def test_folders_that_are_no_classes_are_refused(cache, tmp_path, make, message):
    for name in make:
        if name.endswith("/"):
            (tmp_path / "in" / name).mkdir(parents=True)
        else:
            save(tmp_path / "in" / name, np.zeros((2, 2)))
    with pytest.raises(ConfigError, match=message):
        image_folder.image_folder(str(tmp_path / "in"))
    with pytest.raises(ConfigError, match=r"needs a folder .* dataset\.path=pictures"):
        image_folder.image_folder()


def told(root: Path, **options) -> list[str]:
    return image_folder.image_folder(str(root), **options).notes


#: where the corner pixels of an image lie once it is turned as its EXIF data ask, by the standard's own words:
#: "the 0th row is at the visual top and the 0th column at the visual right-hand side", for 2, and so on
VISUAL = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
VISUAL |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_images_are_turned_as_their_exif_data_ask(cache, tmp_path, ending):
    shape = (32, 32, 3)
    for orientation in range(10):  # 0 and 9 are none of the standard's, and change nothing
        stored = np.zeros(shape)
        stored[:16, 16:] = 80  # blocks that JPEG keeps: the 0th row and column meet in the darkest
        stored[16:, :16] = 160
        stored[16:, 16:] = 240
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if ending == "webp" else {"quality": 100} if ending == "jpg" else {}
        save(tmp_path / f"in/train/{orientation}/0.{ending}", stored, exif=exif, **options)
    made = image_folder.image_folder(str(tmp_path / "in"))
    assert made.notes[-1] == "7 of 10 images are turned or mirrored as EXIF data ask for"
    for orientation, image in enumerate(made.inputs[:, 0]):
        corners = {"top left": image[4, 4], "top right": image[4, 28], "bottom left": image[28, 4]}
        corners["bottom right"] = image[28, 28]
        rows, columns = VISUAL.get(orientation, VISUAL[1]).split()
        first = f"{rows} {columns}" if rows in ("top", "bottom") else f"{columns} {rows}"
        assert corners[first] < 10, orientation
        # along the 0th row lies 80, along the 0th column 160
        horizontal = first.split()[0] + {"left": " right", "right": " left"}[first.split()[1]]
        vertical = {"top": "bottom ", "bottom": "top "}[first.split()[0]] + first.split()[1]
        beside = {horizontal, vertical}
        row_end = horizontal if rows in ("top", "bottom") else vertical
        assert abs(corners[row_end] - 80.0) < 10 and abs(corners[(beside - {row_end}).pop()] - 160.0) < 10, orientation


def test_a_turned_image_is_cut_and_scaled_as_it_is_seen_and_damaged_exif_data_turn_nothing(cache, tmp_path):
    stored = np.zeros((8, 16), np.uint8)
    stored[:, 12:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the 0th row is at the right
    save(tmp_path / "in/train/a/0.png", stored, exif=exif)
    save(tmp_path / "in/train/b/0.png", np.zeros((16, 8)), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    made = image_folder.image_folder(str(tmp_path / "in"))
    assert made.inputs.shape == (2, 1, 16, 8)
    assert (made.inputs[0, 0, 12:] == 255).all() and not made.inputs[0, 0, :12].any() and not made.inputs[1].any()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *((name, "val") for name in ("valid", "Val", "validation", "VALIDATION_SET")),
        ("Test", "test"),
        ("testing", "test"),
    ],
)
def test_a_parts_folder_has_several_names(cache, tmp_path, name, part):
    pictures(tmp_path / "in", 4, 4, parts=("Training", name), count=2)
    made = image_folder.image_folder(str(tmp_path / "in"))
    assert {key: rows.tolist() for key, rows in made.parts.items()} == {part: [4, 5, 6, 7]}
    word = {"val": "validation", "test": "test"}[part]
    assert {f"{name}/ is taken as the {word} part", "Training/ is taken as the training part"} == set(made.notes)


def test_what_lies_beside_the_parts_is_told_or_refused(cache, tmp_path):
    pictures(tmp_path / "in", 4, 4, parts=("train", "eval"), count=2)
    save(tmp_path / "in/pages/7/0.png", np.zeros((4, 4)))
    save(tmp_path / "in/0.png", np.zeros((4, 4)))
    (tmp_path / "in/README").write_text("")
    assert told(tmp_path / "in") == [
        "eval/ holds classes of train/, but is not read: rename it to val or test if it is that part",
        "beside train/, pages/ is not read",
        "1 image directly in in/ is not read: without a folder of a class, an image has none",
    ]
    pictures(tmp_path / "in", 4, 4, parts=("val", "valid"), count=2)
    with pytest.raises(ConfigError, match=r"in/val and .*in/valid would both be the validation part: move one of them"):
        told(tmp_path / "in")


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        (["train/a/0.png", "train/b/0.png"], "train", r"no folder .*train/train; .*did you mean dataset\.path=.*/in\?"),
        (["a/0.png", "b/0.png"], "", r"no folder .*in/train; .*: move a/, b/ into .*/in/train if they are the classes"),
        (["trian/a/0.txt"], "", r"no folder .*in/train; .*: rename trian to train if that is it"),
        (["train/Cat/0.png", "train/dog/0.png", "test/cat/0.png"], "", "no class 'cat' in .*; did you mean Cat?"),
        (["0.zip"], "0.zip", r"dataset\.path=.*0\.zip: is a file: unpack it, and give the folder"),
    ],
)
def test_the_wrong_folder_is_refused_with_the_right_one(cache, tmp_path, names, path, message):
    for name in names:
        save(tmp_path / "in" / name, np.zeros((4, 4)), format="PNG")
    with pytest.raises(ConfigError, match=message):
        told(tmp_path / "in" / path)


def test_what_is_skipped_is_counted_and_told(cache, tmp_path):
    root = tmp_path / "in"
    pictures(root, 4, 4)
    for name in (".DS_Store", "cat/Thumbs.db", "cat/.hidden.png", "__MACOSX/cat/._0.png", "cat/@eaDir/0.png"):
        (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / name).write_bytes(b"")
    for name in ("cat/a.TXT", "cat/b.txt", "dog/c.heic", "dog/d", "labels.csv"):
        (root / "train" / name).write_bytes(b"")
    save(root / "train/loose.png", np.zeros((4, 4)))
    save(root / "train/cat/siamese/old/9.PNG", np.full((4, 4), 9))
    (root / "elsewhere").mkdir()
    (root / "train/dog/link").symlink_to(root / "elsewhere")
    (root / "test").mkdir()
    save(root / "test/1.png", np.zeros((4, 4)))
    save(root / "val/dog/1.png", np.full((4, 4), 3))
    made = image_folder.image_folder(str(root))
    assert made.inputs[4, 0, 0, 0] == 9 and made.targets.tolist() == [0] * 5 + [1] * 5
    assert made.notes == [
        "beside train/, elsewhere/ is not read",
        "val/ holds no image of 1 of the 2 classes: cat",
        "test/ holds no image in a class's folder: the test part is drawn from the others, by dataset.test_fraction",
        "1 image directly in train/ is not read: without a folder of a class, an image has none",
        "1 image directly in test/ is not read: without a folder of a class, an image has none",
        "5 files are not read, by their endings: 2 .txt, 1 without an ending, 1 .csv, 1 .heic; read are .png, .jpg, "
        ".jpeg, .bmp, .gif, .webp, .tif, .tiff, .ppm, .pgm",
        "5 hidden or system files are not read: .DS_Store, __MACOSX, @eaDir and 2 more",
        "1 link to folders is not followed: train/dog/link",
        "1 image is read from folders below those of its class: train/cat/siamese/old/9.PNG",
    ]


def png16(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits per channel in colour, which Pillow reads but does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = {b"IHDR": struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)}
    parts |= {b"IDAT": zlib.compress(rows), b"IEND": b""}
    chunks = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_what_is_changed_in_images_is_counted_and_told(cache, tmp_path):
    train = tmp_path / "in/train"
    gray16, colour = np.array([[0, 128, 129], [32896, 65406, 65535]], np.uint16), np.full((2, 3, 3), [10, 20, 30])
    train.joinpath("a").mkdir(parents=True)
    train.joinpath("b").mkdir()
    Image.fromarray(gray16).save(train / "a/0.png")
    Image.fromarray(gray16).save(train / "a/1.tif")
    (train / "a/2.png").write_bytes(png16(colour * 257))
    save(train / "a/3.png", np.dstack([colour, np.full((2, 3), 255)]))  # not transparent anywhere
    clear = Image.fromarray(np.dstack([colour, [[255, 255, 255], [255, 254, 255]]]).astype(np.uint8))
    clear.save(train / "a/4.png")
    indexed = Image.fromarray(colour.astype(np.uint8)).quantize(4)
    indexed.save(train / "b/0.GIF")
    indexed.save(train / "b/1.png", transparency=indexed.getpixel((0, 0)))
    Image.fromarray(colour.astype(np.uint8)).convert("CMYK").save(train / "b/2.jpg", quality=100)
    frames = [Image.fromarray(np.full((2, 3, 3), i, np.uint8)) for i in (7, 8)]
    frames[0].save(train / "b/3.tiff", save_all=True, append_images=frames[1:])
    frames[0].save(train / "b/4.webp", save_all=True, append_images=frames[1:], lossless=True)
    (train / "b/5.pgm").write_bytes(b"P5 3 2 65535\n" + gray16.astype(">u2").tobytes())
    frames[0].save(train / "b/6.bmp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = image_folder.image_folder(str(tmp_path / "in"))
    pixels = dict(zip([*"a0 a1 a2 a3 a4 b0 b1 b2 b3 b4 b5 b6".split()], made.inputs, strict=True))
    for name in ("a0", "a1", "b5"):
        assert pixels[name][0].tolist() == [[0, 0, 1], [128, 254, 255]] and (pixels[name] == pixels[name][0]).all()
    for name in ("a2", "a3", "a4", "b0", "b1"):
        assert (pixels[name].transpose(1, 2, 0) == colour).all(), name
    assert abs(pixels["b2"].transpose(1, 2, 0) - colour.astype(float)).max() <= 3
    assert (pixels["b3"] == 7).all() and (pixels["b4"] == 7).all() and (pixels["b6"] == 7).all()
    assert made.notes == [
        "2 of 12 images are partly transparent, which is left out: the colours beneath are taken",
        "1 of 12 images is in the colours of print (CMYK), converted to red, green and blue",
        "4 of 12 images are of 16 bits per channel, scaled to 8",
        "2 of 12 images are animated or of several pages, of which the first is taken",
        "3 of 12 images are gray, in three equal channels since others have colours",
    ]
    assert told(tmp_path / "in") == made.notes  # from the cache too


def test_copies_are_told_where_they_lie(cache, tmp_path):
    root = tmp_path / "in"
    pictures(root, 4, 4, parts=("train", "valid", "test"))
    for source, copy in [
        ("train/cat/0.png", "test/cat/8.png"),
        ("train/cat/1.png", "test/dog/8.png"),  # under another class, too
        ("train/cat/0.png", "valid/cat/8.png"),  # and so in val and test
        ("train/dog/0.png", "train/dog/8.png"),
    ]:
        shutil.copy(root / source, root / copy)
    assert told(root)[1:] == [
        "1 image of valid/ is also in train/, byte for byte: what is measured there is too good",
        "2 images of test/ are also in train/, byte for byte: what is measured there is too good",
        "1 image of test/ is also in valid/, byte for byte: what is measured there is too good",
        "1 image of train/ is there before, byte for byte",
        "1 image is there under several classes, byte for byte",
    ]
    shutil.rmtree(root / "valid")
    assert "1 image of train/ is there before, byte for byte: drawn from there, val may hold images that train" in told(
        root
    )


def test_the_cache_gives_no_other_images(cache, tmp_path):
    """Same names, sizes and times, as after `rsync -t` or unpacking an archive: only where the files lie tells."""
    for name in ("one/in", "two/in"):
        for i, c in enumerate("ab"):
            value = {"one/in": 10, "two/in": 20}[name] + i
            file = save(tmp_path / name / "train" / c / "0.png", np.full((4, 4), value), compress_level=0)
            os.utime(file, ns=(10**18, 10**18))
    files = [tmp_path / name / "train/a/0.png" for name in ("one/in", "two/in")]
    assert len({(file.stat().st_size, file.stat().st_mtime_ns) for file in files}) == 1
    values = [image_folder.image_folder(str(tmp_path / name)).inputs[0, 0, 0, 0] for name in ("one/in", "two/in")]
    assert values == [10, 20]
    new = save(tmp_path / "new.png", np.full((4, 4), 30), compress_level=0)
    os.utime(new, ns=(10**18, 10**18))
    os.replace(new, files[0])  # as rsync does
    assert image_folder.image_folder(str(tmp_path / "one/in")).inputs[0, 0, 0, 0] == 30
    content = save(tmp_path / "new.png", np.full((4, 4), 40), compress_level=0).read_bytes()
    time.sleep(0.02)  # a kernel's clock ticks every 10 ms or so
    files[0].write_bytes(content)  # as rsync --inplace does
    os.utime(files[0], ns=(10**18, 10**18))
    assert image_folder.image_folder(str(tmp_path / "one/in")).inputs[0, 0, 0, 0] == 40


def test_a_cache_that_cannot_be_written_is_told_and_does_without(monkeypatch, tmp_path):
    pictures(tmp_path / "in", 4, 4)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "file"))
    [note] = told(tmp_path / "in")
    assert note.startswith(f"the decoded images cannot be kept in {tmp_path / 'file/image_folder'} (")
    assert "DLRUN_DATA=FOLDER before the command names another place" in note

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(np, "save", full)
    [note] = told(tmp_path / "in")
    assert "(No space left on device)" in note and not list((tmp_path / "cache/image_folder").iterdir())


def test_names_of_any_bytes_become_text(cache, tmp_path):
    root = os.fsencode(tmp_path / "in")
    for name in (b"train/a\xff/0.png", b"train/b/0.png"):
        os.makedirs(os.path.dirname(os.path.join(root, name)))
        Image.new("L", (2, 2)).save(os.fsdecode(os.path.join(root, name)))
    assert image_folder.image_folder(str(tmp_path / "in")).class_names == ["a\\udcff", "b"]


def test_real_jpegs_are_decoded_as_pillow_does_one_by_one(cache, tmp_path):
    files: list[Path] = []
    with tarfile.open(need("cifar10_jpg.tar.xz"), "r|xz") as tar:
        for member in tar:  # test/airplane, 1000 of them, then test/automobile
            place = Path(member.name)
            if member.isfile() and int(place.stem) < 100:
                file = tmp_path / "in" / "train" / place.parent.name / place.name
                file.parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                assert stream is not None
                file.write_bytes(stream.read())
                files.append(file)
            if len(files) == 200:
                break
    made = image_folder.image_folder(str(tmp_path / "in"))
    assert made.inputs.shape == (200, 3, 32, 32) and made.class_names == ["airplane", "automobile"]
    for image, file in zip(made.inputs, sorted(files), strict=True):
        assert np.array_equal(image.transpose(1, 2, 0), np.asarray(Image.open(file).convert("RGB")))
    assert image_folder.image_folder(str(tmp_path / "in"), size=8).inputs.shape == (200, 3, 8, 8)
