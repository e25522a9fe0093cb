"""What the first layer of a finished network looks for in an image."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from dlrun.architectures.rbf import RBF
from dlrun.diagnostics.diagnostic import Found, OfFinished, View
from dlrun.errors import ConfigError
from dlrun.training.stack import Stack


class Filters(OfFinished):
    """The weights of each unit of the first layer, as an image.

    Of a convolution they are its kernels; of a fully connected layer on images, each unit's weights where the pixels
    are; of an RBF network, the centres. They act on inputs as dataset.scale leaves them. A row per pixel: the number
    of the `filter`, `channel`, `row` and `column` from 0, and the weight, `value`.

    Args:
        filters: how many, from the first on; None: all.

    Raises ConfigError for inputs that are no images, and a first layer that sees no two-dimensional part of them.

    Reference: LeCun et al. 1998, doi:10.1109/5.726791; Krizhevsky et al. 2012 (figure 3); lecture 003.
    """

    def __init__(self, filters: int | None) -> None:
        self.filters = filters

    def fits(self, stack: Stack) -> None:
        _weights(stack)

    def look(self, view: View) -> list[Found]:
        found = []
        for images in _weights(view.stack)[:, : self.filters].double().cpu():
            found.append(Found([
                {"filter": i, "channel": c, "row": row, "column": column, "value": value}
                for i, image in enumerate(images.tolist())
                for c, plane in enumerate(image)
                for row, line in enumerate(plane)
                for column, value in enumerate(line)
            ]))  # fmt: skip
        return found


def _weights(stack: Stack) -> Tensor:
    """(runs, filters, channels, height, width)."""
    shape = tuple(stack.dataset.inputs.shape[1:])
    if len(shape) != 3:
        raise ConfigError(
            "it is for images, and this dataset's inputs are none: leave it out, or choose a dataset of images"
        )
    views = stack.layout.views(stack.theta)
    if isinstance(stack.model, RBF):
        return views["centres"].unflatten(2, shape)
    for name, module in stack.model.named_modules():
        if isinstance(module, nn.Conv2d) and min(module.kernel_size) > 1:
            return views[f"{name}.weight"]
        if isinstance(module, nn.Linear) and module.in_features == prod(shape):
            return views[f"{name}.weight"].unflatten(2, shape)
        if isinstance(module, nn.Linear | nn.Conv2d):
            break
    raise ConfigError("the first layer of this network sees no two-dimensional part of an image: leave it out")
