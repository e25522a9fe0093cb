"""Lanczos' method for symmetric matrices of which there are only products, for all runs of a stack at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dlrun.diagnostics.products import Product, Told

AGAIN = 0.7  #: of its length that a vector loses no more of where it need not be made orthogonal once again
CHECKED = 5  #: steps between two looks at whether a row's eigenvalues have converged


class Lanczos:
    r"""An orthonormal basis Q of a Krylov space of each row's matrix H, and the tridiagonal $T = Q^\top H Q$.

    $$\beta_j q_{j+1} = H q_j - \alpha_j q_j - \beta_{j-1} q_{j-1}$$

    Every new vector is made orthogonal to all before it, again and again until nothing changes, in double precision
    whatever the product's. A row's space is complete where $\beta$ is no more than the product's rounding; its vectors
    are 0 from there on, as are those of a row whose matrix is not finite, and the others go on.

    Args:
        product: of vectors (runs, params), in the precision of `start`.
        start: (runs, params), none of them 0.
        steps: products at most; there are never more than parameters.
        converged: told eigenvalues of T from the smallest, (n,), and the residuals that they have, whether that will
            do; asked now and then for every row.

    Reference: Lanczos 1950, doi:10.6028/jres.045.026; Daniel et al. 1976,
    doi:10.1090/S0025-5718-1976-0431641-8 (again and again); Parlett 1998, doi:10.1137/1.9781611971163.
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
        self.product, self.dtype = product, start.dtype
        q = torch.stack([row / torch.linalg.vector_norm(row) for row in start.double()])
        self.basis = q.new_zeros(runs, steps, params)
        self.alpha, self.beta = q.new_zeros(runs, steps), q.new_zeros(runs, steps)
        self.length = [0] * runs  #: of each row's basis
        going = list(range(runs))
        for j in range(steps):
            w, following = self.times(q), torch.zeros_like(q)
            for row in list(going):
                new = self._next(row, j, q[row], w[row])
                asked = converged is not None and (j + 1) % CHECKED == 0
                if new is None or (asked and self._has(row, converged)):
                    going.remove(row)
                else:
                    following[row] = new
            q = following
            told(j + 1, steps)
            if not going:
                break

    def _has(self, row: int, converged: Callable[[Tensor, Tensor], bool] | None) -> bool:
        values, _, residuals = self.of_row(row)
        return converged is not None and converged(values, residuals)

    def _next(self, row: int, j: int, q: Tensor, w: Tensor) -> Tensor | None:
        """Take in a row's vector j and its product w; the vector that comes next, if there is one.

        Row by row, since PyTorch adds up the product of one matrix in another order than those of several.
        """
        if not w.isfinite().all():
            return None
        self.basis[row, j], self.length[row] = q, j + 1
        self.alpha[row, j] = w @ q
        known, size = self.basis[row, : j + 1], torch.linalg.vector_norm(w)
        floor = 10 * torch.finfo(self.dtype).eps * torch.maximum(size, (self.alpha[row].abs() + self.beta[row]).max())
        while True:
            w = w - (known @ w) @ known
            before, size = size, torch.linalg.vector_norm(w)
            if size > AGAIN * before or size <= floor:
                break
        self.beta[row, j] = size
        return w / size if size > floor else None

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
