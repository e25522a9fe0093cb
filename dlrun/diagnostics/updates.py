"""How far a step moves each layer, measured by the layer itself."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.diagnostics.diagnostic import DuringTraining, Found, View, long_form


class Updates(DuringTraining):
    r"""Of one step, per parameter such as `1.weight`: $\|\Delta\theta\|$ (`update_norm`), $\|\theta\|$ before it
    (`norm`) and their ratio (`ratio`), which for healthy training is often near 0.001.

    The layer `all` has them for all parameters together, and the effective rate $\|\Delta\theta\| / \|g\|$
    (`effective_lr`), which is lr for plain gradient descent; g is the step's gradient before clipping. A parameter of
    length 0 has no ratio (`nan`). Nothing is told before the first step.

    Args:
        every: see `DuringTraining`.

    Reference: lecture 002; You et al. 2017, arXiv:1708.03888 (the ratio per layer).
    """

    wants_before = True
    of_a_moment = False

    @torch.no_grad()
    def look(self, view: View) -> list[Found]:
        if view.before is None:
            return [Found() for _ in range(view.stack.runs)]
        layout, values = view.stack.layout, dict[tuple[str, str], Tensor]()
        moved, before = (layout.views(theta) for theta in (view.stack.theta - view.before, view.before))
        for name in moved:
            values |= {(name, quantity): value for quantity, value in _lengths(moved[name], before[name]).items()}
        told = _lengths(view.stack.theta - view.before, view.before)
        told["effective_lr"] = told["update_norm"] / view.taken[-1][1]
        return long_form(view, values | {("all", quantity): value for quantity, value in told.items()})


def _lengths(moved: Tensor, before: Tensor) -> dict[str, Tensor]:
    lengths = [torch.linalg.vector_norm(each.flatten(1).double(), dim=1) for each in (moved, before)]
    ratio = torch.where(lengths[1] > 0, lengths[0] / lengths[1], torch.nan)
    return {"update_norm": lengths[0], "norm": lengths[1], "ratio": ratio}
