"""Augmentation against torch.roll, flip and rot90, SciPy's own warp, and the laws of its draws."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torch.nn.functional as F
from conftest import replayed

from dlrun.errors import ConfigError
from dlrun.regularizers.augmentation import Augmentation, warp

IMAGES = torch.randn(5, 3, 6, 8, generator=torch.Generator().manual_seed(0))


def warped(x, dx=0.0, dy=0.0, angle=0.0, mirror=1.0):
    return warp(x, *(torch.as_tensor(amount, dtype=x.dtype).expand(len(x)) for amount in (dx, dy, angle, mirror)))


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (1, 0), (0, 1), (-2, 3), (7, -5), (8, 0), (100, 100)])
def test_whole_pixels_are_exact(dx, dy):
    pad = 100
    height, width = IMAGES.shape[2:]
    rolled = F.pad(IMAGES, [pad] * 4).roll((dy, dx), (2, 3))[..., pad : pad + height, pad : pad + width]
    assert torch.equal(warped(IMAGES, dx, dy), rolled)
    # the same as a crop out of the padded image
    crop = F.pad(IMAGES, [pad] * 4)[..., pad - dy : pad - dy + height, pad - dx : pad - dx + width]
    assert torch.equal(warped(IMAGES, dx, dy), crop)
    assert torch.equal(warped(IMAGES, dx, dy, mirror=-1.0), warped(IMAGES.flip(3), dx, dy))


def test_mirror_images_are_exact():
    assert torch.equal(warped(IMAGES, mirror=-1.0), IMAGES.flip(3))
    mixed = warp(IMAGES, *torch.zeros(3, 5), torch.tensor([1.0, -1, -1, 1, -1]))
    assert torch.equal(
        mixed, torch.where(torch.tensor([0, 1, 1, 0, 1])[:, None, None, None] > 0, IMAGES.flip(3), IMAGES)
    )


@pytest.mark.parametrize("size", [5, 6])
def test_quarter_turns(size):
    square = IMAGES[..., :size, :size]
    for k in (-2, -1, 1, 2):
        expected = square.rot90(k, (2, 3))
        torch.testing.assert_close(warped(square, angle=k * math.pi / 2), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            warped(square, 1, -2, k * math.pi / 2, -1.0),
            warped(square.flip(3).rot90(k, (2, 3)), 1, -2),
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize("angle", [0.1, -0.7, 2.0])
def test_any_turn_is_scipys(angle):
    x = IMAGES.double()
    # Padded, since SciPy's constant border cuts where ours fades towards zero between the last pixel and the next.
    padded = F.pad(x, [8] * 4).numpy()
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = np.array([[cos, sin], [-sin, cos]])  # of (row, column)
    centre = (np.array(padded.shape[2:]) - 1) / 2
    offset = centre - matrix @ centre
    for image, ours in zip(padded, warped(x, angle=angle), strict=True):
        for channel, got in zip(image, ours, strict=True):
            expected = scipy.ndimage.affine_transform(channel, matrix, offset, order=1)[8:-8, 8:-8]
            torch.testing.assert_close(got, torch.from_numpy(expected), rtol=0, atol=1e-12)


def rows(**numbers):
    amounts = {"shift": 0.0, "flip": 0.0, "rotate": 0.0, "noise": 0.0, **numbers}
    return {name: torch.as_tensor(number).reshape(-1, 1).float() for name, number in amounts.items()}


def transformed(x, replay=False, **numbers):
    torch.manual_seed(0)
    augment = lambda x: Augmentation().transform(x, x, 1, **rows(**numbers))[:1]  # noqa: E731
    if replay:
        return replayed(augment, x)[0]
    return augment(x)[0]


def peak(size, row, column):
    image = torch.zeros(size, size)
    image[row, column] = 1
    return image


@pytest.mark.parametrize("replay", [False, True])
def test_shifts_are_uniform_and_independent_and_each_runs_own(replay):
    runs, batch, shift = 3, 6000, [0, 1, 2]
    x = peak(7, 3, 3).expand(runs, batch, 1, 7, 7).clone()
    places = transformed(x, replay, shift=shift).view(runs, batch, 49).argmax(2)
    drawn = torch.stack([places // 7 - 3, places % 7 - 3], 2)
    for run, s in enumerate(shift):
        counts = Counter(map(tuple, drawn[run].tolist()))
        assert set(counts) == {(dy, dx) for dy in range(-s, s + 1) for dx in range(-s, s + 1)}
        if s:
            assert scipy.stats.chisquare(list(counts.values())).pvalue > 0.001
    assert scipy.stats.pearsonr(drawn[2, :-1, 0], drawn[2, 1:, 0]).pvalue > 0.001  # from sample to sample
    assert scipy.stats.pearsonr(drawn[1, :, 0], drawn[2, :, 0]).pvalue > 0.001  # from run to run


@pytest.mark.parametrize("replay", [False, True])
def test_mirror_images_come_with_their_probability(replay):
    flip, batch = [0.0, 0.3, 1.0], 4000
    x = IMAGES[:1].expand(3, batch, *IMAGES.shape[1:]).clone()
    y = transformed(x, replay, flip=flip)
    mirrored, same = (y == x.flip(4)).flatten(2).all(2), (y == x).flatten(2).all(2)
    assert (mirrored ^ same).all()
    for run, probability in enumerate(flip):
        assert scipy.stats.binomtest(int(mirrored[run].sum()), batch, probability).pvalue > 0.001


def test_angles_are_uniform_up_to_the_largest():
    # A slope along each axis tells the angle: turned, the slope to the right is cos, the one downwards sin.
    ramp = torch.arange(9.0).expand(9, 9) - 4
    x = ramp.expand(2, 4000, 1, 9, 9).clone()
    y = transformed(x, rotate=[20.0, 90.0])[:, :, 0]
    angles = torch.atan2(y[:, :, 4, 4] - y[:, :, 5, 4], y[:, :, 4, 5] - y[:, :, 4, 4]).rad2deg()
    for run, largest in enumerate((20, 90)):
        law = scipy.stats.uniform(-largest, 2 * largest)
        assert scipy.stats.ks_1samp(angles[run], law.cdf).pvalue > 0.001


@pytest.mark.parametrize("shape", [(), (1, 4, 4), (2,), (3, 5)], ids=["number", "image", "vector", "sequence"])
def test_noise_is_normal_and_its_mean_zero(shape):
    x = torch.randn(3, 3000, *(shape or (1,)))
    y = transformed(x, noise=[0.0, 0.5, 2.0])
    assert torch.equal(y[0], x[0])
    for run, std in ((1, 0.5), (2, 2.0)):
        assert scipy.stats.kstest((y - x)[run].flatten(), "norm", args=(0, std)).pvalue > 0.001


def test_the_expectation_of_shifted_images_is_the_blurred_image():
    x = F.pad(torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(3)), [2] * 4)
    mean = transformed(x.expand(1, 20_000, 1, 8, 8), shift=1, flip=0.5).mean(1)
    blurred = F.avg_pool2d(x, 3, 1, 1)
    torch.testing.assert_close(mean, (blurred + blurred.flip(3)) / 2, rtol=0, atol=0.015)


def test_only_training_minibatches_are_augmented(stack_of, train):
    options = ["architecture.hidden=[8]", "steps=1", "precision=float64", "regularizer=augmentation"]
    wild = [f"regularizer.augmentation.{n}" for n in ("shift=3", "rotate=90", "noise=2")]
    (_, [plain]), (_, [augmented]) = (train(stack_of(*options, *more)) for more in ([], wild))
    for key in ("train_loss", "train_accuracy", "val_loss"):
        assert augmented[0][key] == plain[0][key]
    assert augmented[0]["grad_norm"] != plain[0]["grad_norm"]


@pytest.mark.parametrize("name", ["shift=2", "flip=0.5", "rotate=10"])
def test_vectors_have_noise_alone(name, stack_of, train):
    options = ["dataset=iris", "steps=2", "regularizer=augmentation", "regularizer.augmentation.shift=0"]
    train(stack_of(*options, "regularizer.augmentation.noise=0.1"))
    with pytest.raises(ConfigError, match=f"regularizer.augmentation.{name} is for images.*set it to 0"):
        stack_of(*options, rows=[[], [f"regularizer.augmentation.{name}"]])
