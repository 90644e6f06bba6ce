"""What a fit is told about its way, refused before any data is seen."""

import numpy as np
import pytest

from freightrisk import InputError, Solver


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"engine": "irls"}, "engine is 'irls'; it must be one of 'newton', 'statsmodels'"),
        ({"tolerance": 0}, r"tolerance is 0; it must be a finite number in \(0, 0.01\]"),
        ({"max_iterations": 10_001}, r"max_iterations is 10001; it must be a whole number in \[1, 10000\]"),
        ({"threads": 0}, r"threads is 0; it must be a whole number in \[1, 1024\]"),
    ],
)
def test_a_solver_refuses_values_outside_their_range(given, match):
    with pytest.raises(InputError, match=match):
        Solver(**given)


def test_numbers_of_numpy_become_pythons_own():
    solver = Solver(tolerance=np.float32(0.0009765625), max_iterations=np.int8(7), threads=np.uint16(2))
    assert [type(value) for value in (solver.tolerance, solver.max_iterations, solver.threads)] == [float, int, int]
    assert solver == Solver(tolerance=2.0**-10, max_iterations=7, threads=2)
    assert hash(solver) == hash(Solver(tolerance=2.0**-10, max_iterations=7, threads=2))
