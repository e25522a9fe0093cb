"""Tasks related to a dataset's own: some of its classes, or its images with their pixels in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.errors import ConfigError


def with_classes(samples: Samples, classes: Sequence[int]) -> Samples:
    """The samples of these classes alone, which are numbered anew in this order; two of them are a binary task.

    Raises ConfigError for samples without classes, for numbers that are no class or that occur twice, fewer than two
    classes, and a part of the source's own that is then empty.
    """
    told = f"dataset.keep_classes=[{','.join(map(str, classes))}]"
    if samples.task not in ("binary", "multiclass"):
        raise ConfigError(f"{told}: this dataset has no classes")
    count = len(samples.class_names) or int(samples.targets.max()) + 1
    if len(classes) < 2 or len(set(classes)) < len(classes) or not set(classes) <= set(range(count)):
        raise ConfigError(f"{told}: give two or more different numbers of classes, from 0 to {count - 1}")
    place = np.full(count, -1)
    place[list(classes)] = np.arange(len(classes))
    targets = place[samples.targets.astype(np.int64)]
    kept = targets >= 0
    row = np.cumsum(kept) - 1  # where a row that is kept stands among them
    parts = {name: row[rows[kept[rows]]] for name, rows in ((n, np.asarray(r)) for n, r in samples.parts.items())}
    if empty := [name for name, rows in parts.items() if not len(rows)]:
        raise ConfigError(f"{told}: none of their samples is for {', '.join(empty)}")
    names = [samples.class_names[number] for number in classes] if samples.class_names else [str(c) for c in classes]
    note = f"{kept.sum():,} of {len(kept):,} rows are of the classes {', '.join(names)} ({told})"
    return replace(
        samples,
        inputs=samples.inputs[kept],
        targets=targets[kept],
        task="binary" if len(classes) == 2 else "multiclass",
        class_names=names,
        parts=parts,
        notes=[*samples.notes, note],
    )


def permuted(samples: Samples, seed: int) -> Samples:
    """Images, (samples, channels, height, width), whose pixels all stand in another order, drawn by the seed.

    Pixel i of the new images, counted row by row, is pixel `pixels[i]` of the old ones, in all channels; `encoding`
    keeps the order. What a fully connected network can learn of them is the same, but no weight that was learned on
    the old ones fits: another domain.

    Raises ConfigError for other than images.

    Reference: Goodfellow et al. 2013, arXiv:1312.6211 (permuted MNIST); lecture 002 (domain shift).
    """
    if not isinstance(samples.inputs, np.ndarray) or samples.inputs.ndim != 4:
        raise ConfigError(f"dataset.permute={seed}: only images have pixels whose order can change")
    flat = samples.inputs.reshape(*samples.inputs.shape[:2], -1)
    order = np.random.default_rng(seed).permutation(flat.shape[2])
    image = {**samples.encoding.get("image", {}), "pixels": order.tolist()}
    return replace(
        samples,
        inputs=flat[:, :, order].reshape(samples.inputs.shape),
        encoding={**samples.encoding, "image": image},
        notes=[*samples.notes, f"pixels are in another order (dataset.permute={seed})"],
    )
