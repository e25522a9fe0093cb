"""What only some claims measure, on tables whose numbers are known beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.claims.own import batches, fits

FIT = """quantity,x,target,output,width,weight
grid,0.0,nan,9.0,nan,nan
train,0.0,1.0,0.5,nan,nan
train,1.0,2.0,2.25,nan,nan
test,0.0,1.0,0.75,nan,nan
test,1.0,2.0,2.5,nan,nan
kernel,0.0,nan,nan,0.1,-2.0
kernel,0.5,nan,nan,0.1,0.019
kernel,1.0,nan,nan,0.1,0.021
kernel,1.5,nan,nan,0.1,0.0
"""


def test_of_a_fitted_function(tmp_path: Path) -> None:
    (tmp_path / "fit.csv").write_text(FIT)
    assert fits.largest_error(tmp_path, part="test") == pytest.approx(0.5)
    assert fits.largest_error(tmp_path, part="train") == pytest.approx(0.5)
    assert fits.mean_error(tmp_path, part="train") == pytest.approx((0.5 - 0.25) / 2)
    assert fits.mean_error(tmp_path, part="test") == pytest.approx((0.25 - 0.5) / 2)
    assert fits.zero_kernels(tmp_path, limit=0.01) == pytest.approx(2 / 4)  # of 2 the hundredth part is 0.02


def test_noise_of_minibatches_is_their_mean_square_less_the_square_of_their_mean(tmp_path: Path) -> None:
    (tmp_path / "gradient_norm.csv").write_text("epoch,step,grad_norm\n0.1,1,3.0\n0.2,2,5.0\n")
    noise = ["epoch,step,layer,quantity,value"]
    for step, signal in ((0, 4.0), (2, 9.0)):
        noise += [f"0,{step},1.weight,signal,7.0", f"0,{step},all,noise,1.0", f"0,{step},all,signal,{signal}"]
    (tmp_path / "gradient_noise.csv").write_text("\n".join(noise) + "\n")
    assert batches.noise(tmp_path) == pytest.approx((9 + 25) / 2 - 4)
