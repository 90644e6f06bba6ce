"""Settings of the search for the maximum likelihood, shared by every fit."""

from dataclasses import dataclass

from freightrisk import _check

ENGINES = ("newton", "statsmodels")


@dataclass(frozen=True, kw_only=True)
class Solver:
    """Settings of the search for the maximum likelihood. The coefficients do not depend on `threads`.

    Parameters
    ----------
    engine : {"newton", "statsmodels"}
        The library's own Newton solver, or the same model through statsmodels. statsmodels builds a dense design
        matrix, so it is for small books. It fits free levels without `monotone`, and given tables.
    tolerance : float in (0, 0.01]
        The fit ends when no log relativity moves by more than this.
    max_iterations : int from 1 to 10,000
        Largest number of iterations: of Newton's method, or of the reweighted least squares of statsmodels. A fit that
        has not converged by then raises `FitError`.
    threads : int from 1 to 1024, optional
        Threads of the passes over the rows; by default one for each core. statsmodels does not use them.

    Raises
    ------
    InputError
        If an argument is outside its range.

    Examples
    --------
    >>> from freightrisk import Solver
    >>> Solver(tolerance=1e-6).max_iterations
    60
    """

    engine: str = "newton"
    tolerance: float = 1e-8
    max_iterations: int = 60
    threads: int | None = None

    def __post_init__(self) -> None:
        _check.one_of(self.engine, ENGINES, argument="engine")
        checked = {
            "tolerance": _check.number(self.tolerance, argument="tolerance", low=0.0, high=1e-2, open_low=True),
            "max_iterations": _check.whole(self.max_iterations, argument="max_iterations", low=1, high=10_000),
        }
        if self.threads is not None:
            checked["threads"] = _check.threads(self.threads)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def n_threads(self) -> int:
        """Return the number of threads that a fit starts."""
        return _check.threads(self.threads)


DEFAULT = Solver()
