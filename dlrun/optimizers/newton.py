"""Steps from a matrix of curvature: Newton, saddle-free Newton, Gauss-Newton, Levenberg-Marquardt."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import Objective, Rule, State


class Curved(Rule):
    r"""Steps by a matrix of curvature C, all of whose eigenvalues and eigenvectors are taken.

    $$\theta \leftarrow \theta - \text{lr}\; (C + \text{damping}\, I)^{+} g$$

    $A^{+}$ is the pseudo-inverse: a direction without curvature, in which the local quadratic has no critical point, is
    left alone.
    """

    traceable = False
    curvature = True

    def spectrum(self, theta: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        """C's eigenvalues (runs, params) and eigenvectors (runs, params, params) at theta."""
        raise NotImplementedError

    def update(
        self, theta: Tensor, g: Tensor, state: State, objective: Objective, *, lr: Tensor, damping: Tensor
    ) -> None:
        values, vectors = self.spectrum(theta, objective)
        theta.sub_(lr * solve(values + damping, vectors, g))


class Newton(Curved):
    r"""Straight to the critical point of the local quadratic: a minimum, a maximum or a saddle.

    $$\theta \leftarrow \theta - \text{lr}\; (H + \text{damping}\, I)^{+} g$$

    $A^{+}$ is the pseudo-inverse: a direction without curvature, in which the quadratic has no critical point, is left
    alone.

    Reference: Nocedal & Wright 2006, Numerical Optimization, section 3.3; Dauphin et al. 2014, arXiv:1406.2572 (why a
    saddle attracts it).
    """

    def spectrum(self, theta: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        return eigen(objective.hessian(theta))


class SaddleFreeNewton(Curved):
    r"""Newton's step with every curvature taken as positive, which turns it away from saddles and maxima.

    $$\theta \leftarrow \theta - \text{lr}\; (|H| + \text{damping}\, I)^{+} g, \quad
    |H| = V\, |\Lambda|\, V^\top \text{ where } H = V \Lambda V^\top$$

    Reference: Dauphin et al. 2014, arXiv:1406.2572, with all eigenvectors in place of a Krylov subspace.
    """

    def spectrum(self, theta: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        values, vectors = eigen(objective.hessian(theta))
        return values.abs(), vectors


class GaussNewton(Curved):
    r"""Newton's step with the outputs taken as linear in theta, so that a convex loss gives no negative curvature.

    $$\theta \leftarrow \theta - \text{lr}\; (G + \text{damping}\, I)^{+} g$$

    Reference: Nocedal & Wright 2006, Numerical Optimization, section 10.3; Schraudolph 2002,
    doi:10.1162/08997660260028683 (losses other than squares).
    """

    by_sample = True

    def spectrum(self, theta: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        return eigen(objective.gauss_newton(theta))


class LevenbergMarquardt(Rule):
    r"""Gauss-Newton steps that are taken only if the loss falls, with the damping that this calls for.

    $$p = -\text{lr}\; (G + \mu I)^{+} g, \quad
    \rho = \frac{f(\theta) - f(\theta + p)}{-g^\top p - \tfrac12 p^\top G p}$$
    $$\rho > 0: \quad \theta \leftarrow \theta + p, \quad \mu \leftarrow \mu \max(1/3,\, 1 - (2\rho - 1)^3),
    \quad \nu \leftarrow 2$$
    $$\text{else}: \quad \mu \leftarrow \mu \nu, \quad \nu \leftarrow 2 \nu$$

    $\mu$ starts as damping times the greatest element on G's diagonal. A step refused is a step of the training too:
    theta stays where it is, and the next one is shorter.

    Reference: Marquardt 1963, doi:10.1137/0111030; Nielsen 1999, Damping parameter in Marquardt's method
    (IMM-REP-1999-05, Technical University of Denmark).
    """

    traceable = False
    curvature = True
    by_sample = True
    searches = True

    def init(self, theta: Tensor) -> State:
        column = torch.zeros_like(theta[:, :1])
        return {"mu": column, "nu": column + 2}

    def update(
        self, theta: Tensor, g: Tensor, state: State, objective: Objective, *, lr: Tensor, damping: Tensor
    ) -> None:
        mu, nu = state["mu"], state["nu"]
        G = objective.gauss_newton(theta)
        top = G.diagonal(dim1=1, dim2=2).amax(1, keepdim=True)
        mu.copy_(torch.where(mu == 0, damping * top, mu))

        values, vectors = eigen(G)
        p = -lr * solve(values + mu, vectors, g)
        predicted = -(g * p).sum(1, keepdim=True) - (p * times(G, p)).sum(1, keepdim=True) / 2
        there, _ = objective.gradient(theta + p)
        fall = (objective.value - there)[:, None]
        taken = fall > 0
        # what is not finite must show, and would never be taken
        theta.copy_(torch.where(taken | ~p.isfinite().all(1, keepdim=True), theta + p, theta))

        easier = (1 - (2 * fall / predicted - 1) ** 3).clamp(min=1 / 3)
        # more would make the step smaller than rounding, for good where the loss cannot fall any more
        tiny = torch.finfo(theta.dtype).eps
        most = top / tiny
        wanted = mu * torch.where(taken, easier, nu)
        mu.copy_(torch.minimum(torch.maximum(wanted, top * tiny), most))
        nu.copy_(torch.where(taken | (wanted >= most), 2, 2 * nu))


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Each row's matrix (runs, params, params) times its vector (runs, params)."""
    return (matrix @ vector[..., None]).squeeze(-1)


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (runs, params) and eigenvectors (runs, params, params) of symmetric matrices.

    Where a matrix is not finite, LAPACK would fail for all rows: its eigenvalues are NaN instead.
    """
    finite = matrix.isfinite().all(2).all(1)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], matrix, 0))
    return torch.where(finite[:, None], values, torch.nan), vectors


def solve(values: Tensor, vectors: Tensor, g: Tensor) -> Tensor:
    r"""$V \Lambda^{+} V^\top g$, (runs, params): what an eigenvalue below params times rounding would blow up is 0."""
    size = values.abs()
    cutoff = values.shape[1] * torch.finfo(values.dtype).eps * size.amax(1, keepdim=True)
    inverse = torch.where(size <= cutoff, 0, 1 / values)  # compared so that NaN stays NaN
    return times(vectors, inverse * times(vectors.mT, g))
