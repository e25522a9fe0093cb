"""Many images stay bytes: whatever is made of them is the same to the last bit."""

from __future__ import annotations

import mmap
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import composed, files, typed  # noqa: F401
from PIL import Image
from test_diagnostics import Watch, trained

from dlrun.datasets import image_files, pixels
from dlrun.datasets.data import Samples
from dlrun.datasets.dataset import Dataset
from dlrun.datasets.inputs import joined
from dlrun.datasets.pixels import Pixels
from dlrun.datasets.prepare import prepare


def samples_of(channels: int, count: int = 40) -> Samples:
    rng = np.random.default_rng(channels)
    images = rng.integers(0, 256, (count, channels, 5, 4), np.uint8)
    images[:, -1] //= 7  # each channel has numbers of its own
    return Samples(images, rng.integers(0, 3, count), "multiclass")


def prepared(samples: Samples, scale: str, dtype: torch.dtype, seed: int) -> Dataset:
    return prepare(
        samples,
        scale=scale,
        scale_target=False,
        val_fraction=0.2,
        test_fraction=0.1,
        split_seed=seed,
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", ["none", "minmax", "symmetric", "standard"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_numbers_are_those_of_floats(
    channels: int, scale: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each dataset by itself, and of two splits of one source, or of two sources, one after the other."""
    sources = [samples_of(channels), samples_of(channels)]
    sources[1].inputs //= 3
    asked = [(sources[0], 1), (sources[0], 2), (sources[1], 3)]
    floats = [prepared(source, scale, dtype, seed) for source, seed in asked]
    monkeypatch.setattr(pixels, "LARGE", 0)
    kept = [prepared(source, scale, dtype, seed) for source, seed in asked]
    rows = torch.tensor([3, 0, 39, 3])
    for ours, theirs in zip(kept, floats, strict=True):
        assert isinstance(ours.inputs, Pixels) and isinstance(theirs.inputs, torch.Tensor)
        assert (ours.inputs.shape, ours.inputs.dtype, len(ours.inputs)) == (theirs.inputs.shape, dtype, 40)
        assert torch.equal(ours.inputs[:], theirs.inputs)
        assert torch.equal(ours.inputs.index_select(0, rows), theirs.inputs[rows])
        for part in ("train", "val", "test"):
            assert torch.equal(ours.part(part)[0], theirs.part(part)[0])
    for chosen, images in ((slice(0, 2), 40), (slice(0, 3), 80)):
        whole, views = joined([each.inputs for each in kept[chosen]], torch.device("cpu"))
        expected = torch.cat([each.inputs[:] for each in floats[chosen]])
        assert isinstance(whole, Pixels) and len(whole.stored) == images  # of one source there is one copy
        assert torch.equal(whole[:], expected)
        for view, each in zip(views, floats[chosen], strict=True):
            assert torch.equal(view[:], each.inputs[:])


def test_whitened_images_and_few_ones_are_floats() -> None:
    few = samples_of(1)
    assert isinstance(prepared(few, "standard", torch.float32, 0).inputs, torch.Tensor)
    rows = pixels.LARGE // 4 // 20
    for count, kept in ((rows, False), (rows + 1, True)):
        values = np.broadcast_to(few.inputs[:1], (count, 1, 5, 4))
        scaled = pixels.Scaling()
        assert pixels.stay_pixels(values, scaled, torch.float32) == kept
        assert not pixels.stay_pixels(values, pixels.Scaling(matrix=np.eye(20)), torch.float32)


LOOKS = ["activations", "gradients", "confusion"]
TRAININGS = {
    "mlp": ["architecture=mlp", "initializer=lsuv"],
    "cnn": ["architecture=cnn", "regularizer=augmentation", "normalization=batch"],
    "autoencoder": ["architecture=autoencoder"],
    "rbf": ["architecture=rbf", "architecture.kernels=3"],
}


def outcome(words: list[str], seeds: int, files: Path, looks: list[str]) -> tuple[torch.Tensor, Watch, str]:  # noqa: F811
    configs = [composed([*words, f"seed={seed}", f"dataset.split_seed={seed}"], files) for seed in range(seeds)]
    for each in configs:
        for name in looks:
            each.diagnostics.update(composed([f"diagnostics={name}", *words], files).diagnostics)
    theta, watch, found = trained(configs)
    return theta, watch, str([[[*each.rows] for each in finds] for finds in found])


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_is_the_same_to_the_last_bit(
    name: str,
    runs: int,
    files: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alone, and in a stack whose runs split the samples otherwise; diagnostics see the same."""
    words = [*typed("dataset=mnist"), *TRAININGS[name], "epochs=2", "steps=null", "dataset.scale=standard"]
    looks = LOOKS if name in ("mlp", "cnn") else LOOKS[:1]
    floats = outcome(words, runs, files, looks)
    monkeypatch.setattr(pixels, "LARGE", 0)
    kept = outcome(words, runs, files, looks)
    assert torch.equal(kept[0], floats[0])
    assert kept[1].rows == floats[1].rows and kept[1].tables == floats[1].tables
    assert kept[2] == floats[2]


@pytest.mark.parametrize("colours", [[], [0], [2], [0, 1, 2, 3], [1, 3]])
def test_a_written_array_is_that_of_the_images(colours: list[int], tmp_path: Path) -> None:
    """Gray ones get three channels where any has colours, wherever it stands."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (3, 5, 3) if i in colours else (3, 5), np.uint8) for i in range(4)]
    names = [tmp_path / f"{i}.png" for i in range(4)]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(name)
    wanted = np.stack([np.atleast_3d(image) * np.ones(3 if colours else 1, np.uint8) for image in images])
    made = image_files.decode_all(names, None)
    assert np.array_equal(made.pixels, wanted.transpose(0, 3, 1, 2)) and made.pixels.dtype == np.uint8
    content = BytesIO()
    _, facts = image_files.decode_into(content, names, None)
    content.seek(0)
    assert np.array_equal(np.load(content), made.pixels) and np.array_equal(facts, made.facts)
    assert content.tell() == len(content.getvalue())


def test_images_are_asked_for_before_they_are_taken(tmp_path: Path) -> None:
    """Those of the next batch while one is at work, each with the pages that it lies on and no others."""
    samples = samples_of(3, 200)
    np.save(tmp_path / "images.npy", samples.inputs)
    mapped = np.lib.format.open_memmap(tmp_path / "images.npy", mode="r")
    rows = np.random.default_rng(0).permutation(200)
    inputs = Pixels.of(mapped, rows, pixels.Scaling(), torch.float32)
    file, asked = inputs.file, list[tuple[int, int]]()
    assert file is not None

    class Watched:
        def __len__(self) -> int:
            return len(file)

        def madvise(self, option: int, start: int, length: int) -> None:
            file.madvise(option, start, length)
            asked.append((start, length))

    inputs.file = Watched()  # type: ignore[assignment]
    batches = [torch.tensor([[5, 0]]), torch.tensor([[199, 7]])]
    foreseen = inputs.foreseen(batches)
    assert torch.equal(next(foreseen), batches[0])
    whole = bytes(file)
    for (start, length), row in zip(asked, (199, 7), strict=True):
        image = samples.inputs[rows[row]].tobytes()
        assert whole[start : start + length].endswith(image) and start % mmap.PAGESIZE == 0
        assert length < mmap.PAGESIZE + len(image)
    assert torch.equal(next(foreseen), batches[1]) and next(foreseen, None) is None
    assert torch.equal(inputs.index_select(0, batches[1][0]), torch.from_numpy(samples.inputs[rows[[199, 7]]]).float())
