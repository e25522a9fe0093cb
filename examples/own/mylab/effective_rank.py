"""The effective rank of each layer's weights."""

from __future__ import annotations

import torch

from dlrun.diagnostics.diagnostic import DuringTraining, Found, View, long_form


class EffectiveRank(DuringTraining):
    r"""In how many directions a layer's matrix of weights acts: the exponential of its singular values' entropy.

    $$\exp\Bigl(-\sum_i p_i \log p_i\Bigr), \quad p_i = \sigma_i / \sum_j \sigma_j$$

    Reference: Roy & Vetterli 2007, The effective rank.
    """

    @torch.no_grad()
    def look(self, view: View) -> list[Found]:
        layers = view.stack.layout.views(view.stack.theta)  # (runs, out, in) of a linear map
        found = {}
        for name, weights in layers.items():
            if weights.ndim > 2:
                values = torch.linalg.svdvals(weights.flatten(2).double())  # (runs, min(out, in))
                shares = values / values.sum(1, keepdim=True)
                found[name, "effective_rank"] = torch.special.entr(shares).sum(1).exp()
        return long_form(view, found)
