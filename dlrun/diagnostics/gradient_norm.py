"""The length of the gradient at every step."""

from __future__ import annotations

import torch

from dlrun.diagnostics.diagnostic import DuringTraining, Found, View


class GradientNorm(DuringTraining):
    r"""$\|g\|$ of every step, in rows `epoch,step,grad_norm`: of the minibatch's objective, penalties included, before
    clipping. `grad_norm` in metrics.csv is the mean of these since the row before.

    Reference: Pascanu et al. 2013, arXiv:1211.5063; lectures 002, 004 (cliffs and clipping).
    """

    of_a_moment = False

    def __init__(self) -> None:
        super().__init__(every=None)  # what the steps returned is there until the evaluation

    def look(self, view: View) -> list[Found]:
        if not view.taken:
            return [Found() for _ in range(view.stack.runs)]
        first, per_epoch = view.step - len(view.taken) + 1, view.stack.steps_per_epoch
        return [
            Found([
                {"epoch": step / per_epoch, "step": step, "grad_norm": norm}
                for step, norm in enumerate(norms, first)
            ])
            for norms in torch.stack(view.norms, 1).tolist()
        ]  # fmt: skip
