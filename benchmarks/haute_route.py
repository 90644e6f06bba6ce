"""The full quote in haute, run by an interpreter that has haute: `python haute_route.py FOLDER REPEATS`.

Rating steps join the tables, and polars expressions do the rest, as in a node of a pipeline. The folder holds
orders.parquet and plan.json. The script writes quotes.parquet beside them and prints the median seconds. It imports
nothing from freightrisk, so that haute's dependencies need not agree with ours.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import polars as pl
from haute._rating import apply_rating_step_from_config


def quotes(orders: pl.LazyFrame, plan: dict) -> pl.LazyFrame:
    """Return the steps of the premium, the list price and the amount of each payer."""
    for step in plan["steps"]:
        orders = apply_rating_step_from_config(orders, step)
    nodes, loads = pl.Series(plan["nodes"]), plan["loads"]
    n_nodes = len(plan["nodes"]) - 1
    # As in routes.py, the payout is interpolated at mean / (mean + limit).
    place = pl.col("mean") / (pl.col("mean") + plan["limit"])
    frame = (
        orders.with_columns(expected_claims=1.0 - (-pl.col("claim_intensity")).exp(), place=place * n_nodes)
        .with_columns(node=pl.col("place").floor().cast(pl.UInt32))
        .with_columns(
            left=pl.lit(nodes).gather(pl.col("node")),
            right=pl.lit(nodes).gather(pl.min_horizontal(pl.col("node") + 1, pl.lit(n_nodes))),
            part=pl.col("place") - pl.col("node"),
        )
        .with_columns(
            expected_payout=pl.col("mean")
            * (1.0 - pl.col("place") / n_nodes)
            * (pl.col("left") + pl.col("part") * (pl.col("right") - pl.col("left")))
        )
        .with_columns(pure_premium=pl.col("expected_claims") * pl.col("expected_payout"))
        .with_columns(
            technical_premium=(
                pl.col("pure_premium") * (1.0 + loads["fraud_load"])
                + loads["claim_handling"] * pl.col("expected_claims")
                + loads["policy_cost"]
            )
            / loads["retained"]
        )
        .with_columns(micro=(pl.col("technical_premium") * (loads["filed_factor"] * 1e6)).round(0, "half_to_even"))
        .with_columns(micro=pl.col("micro").clip(loads["filed_min_micro"], loads["filed_max_micro"]))
        .with_columns(list_fen=(pl.col("micro") / 10_000.0).round(0, "half_to_even").cast(pl.Int32))
        .with_columns(floor_bound=pl.col("list_fen") < plan["floor_fen"])
        .with_columns(list_fen=pl.max_horizontal("list_fen", pl.lit(plan["floor_fen"], pl.Int32)))
        .with_columns(rest=pl.col("list_fen"))
    )
    for rule in plan["rules"]:
        paid = f"{rule['payer']}_fen"
        if rule["kind"] == "price_to_fen":
            offer = pl.col("rest") - rule["amount"]
        else:
            of = pl.col("list_fen" if rule["kind"] == "percent_of_list" else "rest")
            offer = (of * (rule["amount"] / 10_000.0)).round(0, "half_to_even").cast(pl.Int32)
        if rule["cap_fen"] is not None:
            offer = pl.min_horizontal(offer, pl.lit(rule["cap_fen"], pl.Int32))
        offer = pl.max_horizontal(pl.min_horizontal(offer, pl.col("rest") - plan["floor_fen"]), pl.lit(0, pl.Int32))
        frame = frame.with_columns(
            pl.when(pl.col(rule["column"]).is_in(rule["levels"])).then(offer).otherwise(0).cast(pl.Int32).alias(paid)
        ).with_columns(rest=pl.col("rest") - pl.col(paid))
    return frame.with_columns(merchant_fen=pl.col("rest")).select(plan["columns"])


def main(folder: Path, repeats: int) -> None:
    """Price the orders once without timing and write the quotes, then time as many runs as asked."""
    plan = json.loads((folder / "plan.json").read_text())
    orders = pl.read_parquet(folder / "orders.parquet")
    quotes(orders.lazy(), plan).collect().write_parquet(folder / "quotes.parquet")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        quotes(orders.lazy(), plan).collect()
        seconds.append(time.perf_counter() - start)
    print(statistics.median(seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
