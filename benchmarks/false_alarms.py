"""How often drift is reported where there is none, and how often it is found where there is.

    python benchmarks/false_alarms.py [--runs 1000]

Simulates whole runs from the counts on: the edges of a reference of random rows, the shares of the true distribution
between them, and the counts of each file drawn from these shares. Runs with 10,000 files are drawn from the null
distribution of a comparison, whose tail is compared with that of simulated comparisons first. The results are in
docs/explanation/drift.md. The rule itself is that of `pipeline/monitoring`.
"""

# ruff: noqa: T201 - this prints tables

import argparse
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scoreline.pipeline.monitoring.chi_squared import chi_squared_quantile
from scoreline.pipeline.monitoring.comparison import RED_PSI, YELLOW_PSI
from scoreline.pipeline.monitoring.distances import jensen_shannon, kolmogorov_smirnov, stability, wasserstein
from scoreline.pipeline.monitoring.drift import FALSE_ALARM
from scoreline.pipeline.monitoring.reference import COMPARED, COMPARED_OF_SMALL, SMALL_ROWS

FEATURES, POOL = 30, 300
FILES = (1, 100, 10_000)
#: Rows of the reference: golden rows, a small and a usual training sample.
REFERENCES = (256, 2000, 20_000)
#: Counted rows of a file.
ROWS = (100, 300, 1000, 10_000)
TAILS = (1e-3, 1e-5, 1e-6)

Shares = NDArray[np.float64]


def reference_of(rows: int, random: np.random.Generator) -> tuple[Shares, Shares]:
    """The quantile edges of a reference of standard normal rows, and its counts."""
    bins = COMPARED if rows >= SMALL_ROWS else COMPARED_OF_SMALL
    values = np.sort(random.normal(size=rows))
    edges = values[np.arange(1, bins) * rows // bins]
    return edges, np.diff(values.searchsorted(edges, side="right"), prepend=0, append=rows).astype(float)


def shares_of(edges: Shares, *, shift: float = 0.0, scale: float = 1.0) -> Shares:
    """The shares of a normal distribution between edges."""
    return np.diff(norm.cdf(edges, shift, scale), prepend=0.0, append=1.0)


def alarms(rows: int, files: int, reference_rows: int, runs: int, random: np.random.Generator) -> tuple[int, int]:
    """How many of the simulated runs have any red, and any yellow or red finding. The features of a run are drawn from
    `POOL` references."""
    tail = FALSE_ALARM / (FEATURES * (files + 1))
    pool = [reference_of(reference_rows, random) for _ in range(POOL)]
    shares = [shares_of(edges) for edges, _ in pool]
    red = yellow = 0
    for _ in range(runs):
        counts, baseline = [], []
        for feature in random.choice(POOL, FEATURES, replace=False):
            reference = pool[feature][1]
            drawn = random.multinomial(rows, shares[feature], size=files).astype(float)
            whole = drawn.sum(axis=0, keepdims=True)
            counts.append(np.concatenate([drawn, whole]).ravel())
            baseline.append(np.tile(reference, files + 1))
        bins = len(baseline[0]) // (files + 1)
        found = stability(np.concatenate(counts), np.concatenate(baseline), np.arange(FEATURES * (files + 1)) * bins)
        psi = found.psi[found.significant(tail)]
        red += bool((psi >= RED_PSI).any())
        yellow += bool((psi >= YELLOW_PSI).any())
    return red, yellow


def tails(rows: int, reference_rows: int, number: int, random: np.random.Generator) -> tuple[list[float], list[float]]:
    """The share of comparisons without drift above the bound, as a multiple of what it should be: for PSI alone, and
    with the likelihood ratio."""
    alone, both = np.zeros((2, len(TAILS)))
    chunk = 50_000
    for _ in range(number // chunk):
        edges, reference = reference_of(reference_rows, random)
        drawn = random.multinomial(rows, shares_of(edges), size=chunk).astype(float)
        found = stability(drawn.ravel(), np.tile(reference, chunk), np.arange(chunk) * len(reference))
        for at, tail in enumerate(TAILS):
            alone[at] += (found.psi > found.bounds(tail)).sum()
            both[at] += found.significant(tail).sum()
    expected = np.array(TAILS) * (number // chunk * chunk)
    return list(alone / expected), list(both / expected)


def alarms_by_theory(rows: int, files: int, reference_rows: int, runs: int, random: np.random.Generator) -> int:
    """How many runs have any red finding, where the largest of all comparisons is drawn from the distribution of the
    largest of as many χ²."""
    bins = COMPARED if reference_rows >= SMALL_ROWS else COMPARED_OF_SMALL
    comparisons, scale = FEATURES * (files + 1), 1 / rows + 1 / reference_rows
    bound = max(scale * chi_squared_quantile(FALSE_ALARM / comparisons, bins - 1), RED_PSI)
    tails_of_largest = -np.expm1(np.log(random.random(runs)) / comparisons)
    return sum(scale * chi_squared_quantile(float(tail), bins - 1) > bound for tail in tails_of_largest)


def found_at(rows: int, reference_rows: int, random: np.random.Generator, **change: float) -> tuple[float, float]:
    """The mean PSI of a planted change, and how often it is yellow or red in one file of a run with a hundred."""
    tail = FALSE_ALARM / (FEATURES * 101)
    edges, reference = reference_of(reference_rows, random)
    drawn = random.multinomial(rows, shares_of(edges, **change), size=1000).astype(float)
    found = stability(drawn.ravel(), np.tile(reference, 1000), np.arange(1000) * len(reference))
    return float(found.psi.mean()), float((found.significant(tail) & (found.psi >= YELLOW_PSI)).mean())


def others(rows: int, reference_rows: int, random: np.random.Generator) -> tuple[float, float, float]:
    """The 99.9% quantiles of the other distances without drift: Jensen-Shannon, KS, Wasserstein in deviations."""
    edges, reference = reference_of(reference_rows, random)
    centers = np.concatenate([edges[:1] - 0.3, (edges[1:] + edges[:-1]) / 2, edges[-1:] + 0.3])
    drawn = random.multinomial(rows, shares_of(edges), size=4000).astype(float)
    baseline, places = (np.broadcast_to(each, drawn.shape) for each in (reference, centers))
    measured = (
        jensen_shannon(drawn, baseline),
        kolmogorov_smirnov(drawn, baseline),
        wasserstein(drawn, baseline, places),
    )
    js, ks, distance = np.quantile(measured, 0.999, axis=1)
    return float(js), float(ks), float(distance)


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs, random, start = parser.parse_args().runs, np.random.default_rng(17), perf_counter()
    print("comparisons without drift above the bound, as a multiple of 1e-3, 1e-5, 1e-6: PSI alone | both")
    for reference_rows in REFERENCES:
        for rows in ROWS:
            one, both = (" ".join(f"{v:.2f}" for v in each) for each in tails(rows, reference_rows, 2_000_000, random))
            print(f"  reference {reference_rows:>6}, rows {rows:>6}: {one} | {both}", flush=True)
    print(f"of {runs} clean runs with {FEATURES} features, those with any red | any yellow or red finding")
    for files in FILES[:-1]:
        for reference_rows in REFERENCES:
            for rows in ROWS:
                red, yellow = alarms(rows, files, reference_rows, runs, random)
                print(f"  {files:>4} files of {rows:>6}, reference {reference_rows:>6}: {red} | {yellow}", flush=True)
    print(f"of {runs} clean runs with {FILES[-1]:,} files, by the null distribution, those with any red finding")
    for reference_rows in REFERENCES:
        found = [alarms_by_theory(rows, FILES[-1], reference_rows, runs, random) for rows in ROWS]
        print(f"  files of {ROWS} rows, reference {reference_rows:>6}: {found}", flush=True)
    print("planted: mean PSI, share found in one file of a hundred")
    for name, change in (("0.3 sd", {"shift": 0.3}), ("0.5 sd", {"shift": 0.5}), ("scale 2", {"scale": 2.0})):
        for reference_rows in REFERENCES:
            psi, share = found_at(1000, reference_rows, random, **change)
            print(f"  {name}, 1,000 rows, reference {reference_rows:>6}: {psi:.2f}, {share:.1%}", flush=True)
    print("99.9% quantiles without drift: Jensen-Shannon, KS, Wasserstein in deviations")
    for rows in ROWS:
        print(f"  rows {rows:>6}, reference 20000: " + ", ".join(f"{v:.3f}" for v in others(rows, 20_000, random)))
    print(f"{perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
