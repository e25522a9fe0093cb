"""Lanczos' method for symmetric matrices of which there are only products, for all runs of a stack at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlrun.diagnostics.products import Product, Told

CHECKED = 5  #: steps between two looks at whether a row's eigenvalues have converged


class Lanczos:
    r"""An orthonormal basis Q of a Krylov space of each row's matrix H, in which that is the tridiagonal $T = Q^\top H Q$.

    $$\beta_j q_{j+1} = H q_j - \alpha_j q_j - \beta_{j-1} q_{j-1}$$

    Every new vector is made orthogonal to all before it, twice, in double precision whatever the product's. A row's
    space is complete where $\beta$ is no more than the product's rounding; its vectors are 0 from there on, as are
    those of a row whose matrix is not finite, and the others go on.

    Args:
        product: of vectors (runs, params), in the precision of `start`.
        start: (runs, params), none of them 0.
        steps: products at most; there are never more than parameters.
        converged: told eigenvalues of T from the smallest, (n,), and the residuals that they have, whether that will
            do; asked now and then for every row.

    Reference: Lanczos 1950, doi:10.6028/jres.045.026; Parlett 1998, doi:10.1137/1.9781611971163 (chapter 13).
    """

    def __init__(
        self,
        product: Product,
        start: Tensor,
        steps: int,
        converged: Callable[[Tensor, Tensor], bool] | None = None,
        told: Told = lambda done, total: None,
    ) -> None:
        runs, params = start.shape
        steps = min(steps, params)
        q = start.double() / torch.linalg.vector_norm(start.double(), dim=1, keepdim=True)
        self.product, self.dtype = product, start.dtype
        self.basis = q.new_zeros(runs, steps, params)
        self.alpha, self.beta = q.new_zeros(runs, steps), q.new_zeros(runs, steps)
        self.length = [0] * runs  #: of each row's basis
        going = torch.ones(runs, dtype=torch.bool, device=q.device)
        rounding = 10 * torch.finfo(start.dtype).eps
        for j in range(steps):
            w = self.times(q)
            going &= w.isfinite().all(1)
            self.basis[:, j] = torch.where(going[:, None], q, 0)
            w = torch.where(going[:, None], w, 0)
            known = self.basis[:, : j + 1]
            self.alpha[:, j] = (w * q).sum(1)
            for _ in range(2):
                w = w - torch.einsum("rjp,rj->rp", known, torch.einsum("rjp,rp->rj", known, w))
            beta = self.beta[:, j] = torch.linalg.vector_norm(w, dim=1)
            for row in going.nonzero()[:, 0].tolist():
                self.length[row] = j + 1
            going &= beta > rounding * (self.alpha.abs() + self.beta).amax(1)
            if converged is not None and (j + 1) % CHECKED == 0:
                for row in going.nonzero()[:, 0].tolist():
                    values, _, residuals = self.of_row(row)
                    going[row] = not converged(values, residuals)
            told(j + 1, steps)
            if not going.any():
                break
            q = torch.where(going[:, None], w / beta[:, None], 0)

    def times(self, vectors: Tensor) -> Tensor:
        """The product in double precision, as near as its own precision comes."""
        return self.product(vectors.to(self.dtype)).double()

    def of_row(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        r"""The eigenvalues of a row's T from the smallest, (n,), its eigenvectors s, (n, n), and residuals, (n,).

        A residual is $\beta_n |s_n|$, what $\|Hv - \lambda v\|$ is for $v = Q s$ but for rounding.
        """
        n = self.length[row]
        beta = self.beta[row, : max(n - 1, 0)]
        values, vectors = torch.linalg.eigh(self.alpha[row, :n].diag() + beta.diag(1)[:n, :n] + beta.diag(-1)[:n, :n])
        return values, vectors, (self.beta[row, n - 1] * vectors[-1]).abs() if n else values
