"""Fits seeded books as every kind of processor that this machine can imitate, and compares the results.

OpenBLAS, numpy and the mathematical library of C select their code by the processor, and the last bits of results
depend on the selection. Environment variables change it, so one machine can imitate several processors.

    python .ci/processors.py            prints one line for each kind, and fails if a kind exceeds the tolerances
    python .ci/processors.py --kinds    prints the kinds of OpenBLAS that run here, one a line
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

COEFFICIENTS = 1e-9  # largest allowed difference, in standard errors
LOG_VARIANCES = 1e-7  # largest allowed difference; their standard errors are at least 0.1, so at most 1e-6 of one
N_ORDERS = 1_000_000
KINDS = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen", "SkylakeX", "Cooperlake")
# A kind that this processor lacks ends the process by an illegal instruction, so a separate process tries it. The sizes
# leave every remainder of the vector widths and run with and without threads, so they reach all kernels of a fit.
PROBE = """
import numpy as np
from scipy.linalg import cholesky, cho_solve, lstsq, solve_triangular
from threadpoolctl import threadpool_info
for n in (1, 2, 3, 5, 8, 13, 31, 64, 129, 400):
    a = np.random.default_rng(n).normal(size=(n + 9, n))
    square = a.T @ a + np.eye(n)
    factor = cholesky(square, lower=True)
    cho_solve((factor, True), a.T), solve_triangular(factor, a.T, lower=True), np.linalg.solve(square, a.T)
    lstsq(a, a[:, 0]), np.linalg.inv(square), a @ a[0], a[0] @ a[0], np.linalg.eigh(square)
print("/".join(sorted({i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"})) or "none")
"""


def child(arguments: list[str], setting: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run Python with some environment variables set."""
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | setting, capture_output=True, text=True, check=False
    )


def runnable(setting: dict[str, str], what: str) -> str:
    """Return the architecture that OpenBLAS selects under a setting; empty, after a printed line, if it cannot run."""
    found = child(["-c", PROBE], setting)
    if found.returncode:
        last = [line for line in found.stderr.splitlines() if line.strip()] or [f"exit {found.returncode}"]
        reason = next((line for line in last if "llegal" in line), last[-1])
        print(f"left out, because this processor cannot run it: {what} ({reason.strip()})", file=sys.stderr)
        return ""
    return found.stdout.strip()


def blas_kinds() -> dict[str, str]:
    """Return the kinds of OpenBLAS that run here, one for each architecture, and the names of the architectures."""
    found: dict[str, str] = {}
    for kind in KINDS:
        name = runnable({"OPENBLAS_CORETYPE": kind}, f"OPENBLAS_CORETYPE={kind}")
        if name and name != "none" and name not in found.values():
            found[kind] = name
    return found


def settings() -> dict[str, dict[str, str]]:
    """Return the environment variables of every kind to try, by name."""
    import numpy as np

    found = {f"OPENBLAS_CORETYPE={kind}": {"OPENBLAS_CORETYPE": kind} for kind in blas_kinds()}
    core = np._core._multiarray_umath
    given = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    wide = [name for name in given if "512" in name or name == "X86_V4"]
    others = {"numpy without AVX-512": wide, "numpy without vectors": given}
    for what, features in others.items():
        variables = {"NPY_DISABLE_CPU_FEATURES": " ".join(features)}
        if features and runnable(variables, what):
            found[what] = variables
    libm = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX512F"}
    found["libm without FMA"] = libm
    found["all of these"] = {"OPENBLAS_CORETYPE": "Prescott", **libm}
    if given:
        found["all of these"]["NPY_DISABLE_CPU_FEATURES"] = " ".join(given)
    return found


def fit(folder: Path, out: Path) -> None:
    """Fit the books; write the results, the tariff built from them, and the list price of each order by each tariff."""
    import numpy as np
    import pandas as pd

    import freightrisk as fr

    orders, claims = pd.read_parquet(folder / "orders.parquet"), pd.read_parquet(folder / "claims.parquet")
    told = json.loads((folder / "told.json").read_text())
    factors = [
        fr.Hierarchy("category", ["industry", "category", "leaf"], unseen="parent", min_claims=5),
        fr.Factor("channel", min_claims=20),
        fr.Factor("zone"),
        fr.Band("weight_kg", [0.5, 1, 2, 3, 5, 10], min_claims=20),
    ]
    few, later = orders.head(60_000), claims[claims["order_id"].isin(orders["order_id"].head(60_000))]
    book = fr.OrderBook.from_frames(few, later, factors=factors, as_of=told["as_of"])
    capped = later.assign(freight=later["freight"].clip(upper=12.0))
    limited = fr.OrderBook.from_frames(few, capped, factors=factors, as_of=told["as_of"])
    far = later.assign(freight=np.where(np.arange(len(later)) == 7, 1e4, later["freight"]))
    wild = fr.OrderBook.from_frames(few, far, factors=factors, as_of=told["as_of"])
    tree, curve = fr.Credibility("category"), fr.Smooth("weight_kg")
    counts, amounts = fr.FrequencyModel, fr.SeverityModel
    plain = ["channel", "zone", "weight_kg"]
    single = book.select(book.claim_count <= 1)
    fits = {
        "plain": counts(plain).fit(book),
        "hierarchy": counts([tree, *plain]).fit(book),
        "smooth": counts(["channel", "zone", curve]).fit(book),
        "hierarchy and smooth": counts([tree, fr.Credibility("channel"), "zone", curve]).fit(book),
        "Bernoulli": counts([tree, "zone", curve], family="bernoulli").fit(single),
        "negative binomial": counts([tree, "channel", curve], family="negative_binomial").fit(book),
        "gamma": amounts(plain).fit(book),
        "gamma, hierarchy": amounts([tree, fr.Credibility("channel"), "zone", curve]).fit(book),
        "lognormal": amounts([tree, "zone", curve], family="lognormal").fit(book),
        "inverse Gaussian": amounts([tree, "zone", curve], family="inverse_gaussian").fit(book),
        "censored": amounts([tree, "zone", curve]).fit(limited, limit=12.0),
        "gamma, outlier": amounts([tree, "zone", curve]).fit(wild),
    }
    values = {}
    for name, fitted in fits.items():
        values[f"{name}|intercept|"] = np.array([fitted.intercept])
        values[f"{name}|dispersion|"] = np.array([fitted.dispersion])
        for table, logs in fitted.tables.items():
            values[f"{name}|table|{table}"], values[f"{name}|error|{table}"] = logs, fitted.std_errors[table]
        for table, variances in fitted.variances.items():
            values[f"{name}|variance|{table}"] = np.array(variances)
    frequency, severity = fits["hierarchy and smooth"], fits["gamma, hierarchy"]
    cover, loadings = fr.Cover(max_claims=1, limit=25.0), fr.Loadings(channel=0.15, profit=0.02)
    tariff = fr.Tariff.build(frequency, severity, cover=cover, loadings=loadings)
    tariff.save(out.with_suffix(".json"))
    for path in sorted(folder.glob("*.json")):
        if path.name != "told.json":
            values[f"fen||{path.stem}"] = fr.load_tariff(path).price(orders)["list_fen"].to_numpy()
    np.savez(out, **values)


def apart(one: "dict[str, Array]", other: "dict[str, Array]") -> tuple[float, float, int, int]:
    """Return the differences of two kinds in coefficients, log variances and fen, and how many tariffs both priced."""
    import numpy as np

    coefficients = variances = 0.0
    tariffs = fen = 0
    for key in one.keys() & other.keys():
        mine, theirs, what = one[key], other[key], key.split("|")[1]
        if what == "table":
            error = one[key.replace("|table|", "|error|")]
            known = (error > 0) & np.isfinite(error)
            coefficients = max(coefficients, float((np.abs(mine - theirs)[known] / error[known]).max(initial=0.0)))
        elif what == "variance":
            some = (mine > 0) | (theirs > 0)  # a variance that is zero for one kind only is infinitely far apart
            with np.errstate(divide="ignore"):
                variances = max(variances, float(np.abs(np.log(mine[some] / theirs[some])).max(initial=0.0)))
        elif key.startswith("fen|"):
            tariffs, fen = tariffs + 1, fen + int(np.abs(mine.astype(np.int64) - theirs).sum())
    return coefficients, variances, tariffs, fen


def main() -> int:
    """Compare every kind with this processor as it is; return 1 if a kind exceeds the tolerances."""
    import numpy as np

    import freightrisk as fr

    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sim = fr.simulate_book(N_ORDERS, seed=4, n_days=400)
        sim.orders.to_parquet(folder / "orders.parquet")
        sim.claims.to_parquet(folder / "claims.parquet")
        (folder / "told.json").write_text(json.dumps({"as_of": str(sim.as_of.date())}))
        kinds: dict[str, dict[str, Any]] = {}
        for k, (what, setting) in enumerate([("as it is", {}), *settings().items()]):
            out = folder / f"kind{k}.npz"
            found = child([__file__, "--fit", str(folder), str(out)], setting)
            if found.returncode:
                sys.exit(f"{what}: the fits failed\n{found.stderr[-2000:]}")
            kinds[what] = dict(np.load(out))
        # Once more as it is, now that the tariffs of all kinds are saved: each is priced here and under its own kind.
        found = child([__file__, "--fit", str(folder), str(folder / "again.npz")], {})
        here = dict(np.load(folder / "again.npz"))
    for what, values in kinds.items():
        coefficients, variances, tariffs, fen = apart(here, values)
        good = coefficients <= COEFFICIENTS and variances <= LOG_VARIANCES and tariffs > 0 and fen == 0
        missed += not good
        print(
            f"{'good  ' if good else 'MISSED'} {what}: coefficients {coefficients:.1e} standard errors and log "
            f"variances {variances:.1e} apart; {fen} fen on {N_ORDERS:,} orders by {tariffs} tariff(s)"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        fit(Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1:] == ["--kinds"]:
        print(*blas_kinds(), sep="\n")
    else:
        sys.exit(main())
