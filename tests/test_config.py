"""The configuration of a fit: the documentation lists its keys, and its commands run as they are printed."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from msgspec import inspect

from freightrisk import (
    Band,
    ByLevel,
    Cover,
    Credibility,
    Factor,
    Free,
    Fund,
    Given,
    Hierarchy,
    InputError,
    Interaction,
    Interval,
    Limit,
    Loadings,
    OrderBook,
    Smooth,
    Subsidy,
    cli,
)
from freightrisk._config import Columns, DataFiles, FitPlan, MatureFrequency, MatureSeverity, fit_models, parse_plan
from freightrisk._document import struct_of
from freightrisk.aggregates import AggregateLimit
from freightrisk.programmes import Funnel, LossControl, LossControls

QUICKSTART = Path(__file__).resolve().parents[1] / "docs" / "quickstart.md"
# The sections that the table of keys has for the parts of a plan; other parts are inline tables.
SECTIONS = {
    FitPlan: "top",
    DataFiles: "`[data]`",
    Columns: "`[columns]`",
    MatureFrequency: "`[frequency]`",
    MatureSeverity: "`[severity]`",
    Cover: "`[cover]`",
    AggregateLimit: "aggregate limit",
    ByLevel: "amounts by level",
    Limit: "`[[cover.limits]]`",
    Loadings: "`[loadings]`",
    Subsidy: "`[[subsidies]]`",
    Fund: "`[[funds]]`",
    LossControls: "`[loss_controls]`",
    LossControl: "`[[loss_controls.rules]]`",
    Funnel: "`[loss_controls.funnel]`",
    Interval: "interval",
    **dict.fromkeys((Factor, Band, Hierarchy), "`[[factors]]`"),
    **dict.fromkeys((Free, Credibility, Smooth, Given, Interaction), "effect"),
}

if not QUICKSTART.is_file():
    pytest.skip("needs the checkout: docs/quickstart.md", allow_module_level=True)


def structs(hint: inspect.Type) -> Iterator[inspect.StructType]:
    """Yield the Structs of a type and of everything inside it."""
    for kind in hint.types if isinstance(hint, inspect.UnionType) else (hint,):
        if isinstance(kind, inspect.ListType):
            yield from structs(kind.item_type)
        elif isinstance(kind, inspect.DictType):
            yield from structs(kind.value_type)
        elif isinstance(kind, inspect.StructType):
            yield kind
            for field in kind.fields:
                yield from structs(field.type)


def keys_of_the_schema() -> dict[tuple[str, str], set[str]]:
    """Return the keys by section, each with the defaults that the table must show."""
    found: dict[tuple[str, str], set[str]] = {}
    nouns = {noun.__name__: noun for noun in SECTIONS}
    for struct in structs(inspect.type_info(struct_of(FitPlan))):
        noun = nouns[struct.cls.__name__]
        if struct.tag_field is not None:
            found[SECTIONS[noun], struct.tag_field] = {"required"}
        defaults = {one.name: one.default for one in fields(noun)}
        made = [one.name for one in fields(noun) if one.default_factory is not MISSING]
        for key in struct.fields:
            shown, default = found.setdefault((SECTIONS[noun], key.encode_name), set()), defaults[key.encode_name]
            if default is MISSING and key.encode_name not in made:
                shown.add("required")
            elif isinstance(default, (str, int, float)) and default != -inf:
                shown.add("none" if default == inf else f"`{json.dumps(default)}`")
    return found


def keys_of_the_table() -> dict[tuple[str, str], str]:
    """Return the keys that the table lists, each with its default."""
    text = QUICKSTART.read_text("utf-8").split("### Keys of the configuration\n")[1]
    found = {}
    for line in re.findall(r"^\| (.*) \|$", text, re.MULTILINE)[1:]:
        sections, keys, meaning, default = line.split(" | ")
        assert meaning, line
        assert default, line
        found |= {(section, key): default for section in sections.split(", ") for key in re.findall(r"`(\w+)`", keys)}
    return found


def test_the_table_lists_every_key_and_no_other():
    assert set(keys_of_the_table()) == set(keys_of_the_schema())


def test_the_table_shows_the_defaults():
    table = keys_of_the_table()
    wrong = {key: table[key] for key, shown in keys_of_the_schema().items() for one in shown if one not in table[key]}
    assert wrong == {}


def test_the_examples_of_the_documentation_are_configurations():
    examples = re.findall(r"^```toml\n(.*?)^```", QUICKSTART.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    parse_plan(examples[0], source="first.toml", folder=Path())
    names = ("channel", "weight_kg", "category_path", "price", "zone")
    factors = "".join(f'[[factors]]\nkind = "factor"\nname = "{name}"\n' for name in names)
    plan = parse_plan(factors + examples[1], source="second.toml", folder=Path())
    assert [type(effect).__name__ for effect in plan.frequency.factors[1:]] == [
        "Free", "Credibility", "Smooth", "Given", "Interaction",
    ]  # fmt: skip


def test_commands_of_the_documentation_run_as_they_are_printed(tmp_path, monkeypatch, capsys):
    text = QUICKSTART.read_text("utf-8").split("## The command line\n")[1]
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[:2]
    monkeypatch.chdir(tmp_path)
    words = [
        shlex.split(command)
        for command in re.findall(r"^freightrisk (.*?)(?=^freightrisk |\Z)", "".join(blocks), re.M | re.S)
    ]
    assert [word[0] for word in words] == ["demo", "fit", "price", "explain", "settle", "explain"]
    for given in words:
        few = ["20000" if one == "100000" else one for one in given]
        assert cli.main(few) == 0, (given, capsys.readouterr().err)
    assert capsys.readouterr().out.count("list ") >= 2


def test_limits_of_a_configuration():
    text = """
        factors = [{kind = "factor", name = "zone"}]

        [cover]
        max_claims = "all"
        choose = "smallest"
        eligible = {official_pickup = ["yes"]}
        deductible = 1.5
        coinsurance = 0.1

        [[cover.limits]]
        name = "base"
        amount = 25.0

        [[cover.limits]]
        name = "super"
        amount = 200.0
        priority = 1
        where = {buyer = ["super"], price = {above = 500.0}}
        start = 2026-06-01

        [[cover.limits]]
        name = "custom"
        amount = 3000.0
        share = 0.05
        of = "sub_order"
        priority = 2
        where = {custom = ["yes"]}
        """
    plan = parse_plan(text, source="plan.toml", folder=Path())
    assert plan.cover == Cover(
        max_claims=None, choose="smallest", eligible={"official_pickup": ["yes"]}, deductible=1.5, coinsurance=0.1,
        limits=[
            Limit("base", 25.0),
            Limit(
                "super", 200.0, priority=1, start="2026-06-01",
                where={"buyer": ["super"], "price": Interval(above=500.0)},
            ),
            Limit("custom", 3000.0, share=0.05, of="sub_order", priority=2, where={"custom": ["yes"]}),
        ],
    )  # fmt: skip


def test_an_aggregate_limit_is_refused_before_the_fit():
    text = '[[factors]]\nkind = "factor"\nname = "zone"\n[cover]\naggregate = { amount = 300.0 }\n'
    with pytest.raises(
        InputError, match=r"'c.toml': cover\.aggregate needs the share .* in Python with aggregate_shares="
    ):
        parse_plan(text, source="c.toml", folder=Path())


def test_loss_controls_of_a_configuration_are_those_of_python():
    text = """
[[factors]]
kind = "factor"
name = "zone"

[loss_controls.funnel]
causes = { subjective = 0.4, other = 0.6 }

[[loss_controls.rules]]
name = "tool"
stage = "request"
effect = -0.13
evidence = 0.3
causes = ["subjective"]
where = { uses_tool = ["yes"] }
start = 2026-06-01
"""
    plan = parse_plan(text, source="plan.toml", folder=Path())
    (rule,), funnel = plan.loss_controls.rules, plan.loss_controls.funnel
    assert rule.factor(funnel.share_of(rule.causes)) == pytest.approx(1 - 0.13 * 0.3 * 0.4)
    assert rule == LossControl(
        "tool", "request", effect=-0.13, evidence=0.3, causes=["subjective"], where={"uses_tool": ["yes"]},
        start="2026-06-01",
    )  # fmt: skip
    rng = np.random.default_rng(1)
    orders = pd.DataFrame({"order_id": range(400), "zone": rng.choice(["near", "far"], 400)})
    claims = pd.DataFrame({"order_id": rng.choice(400, 60, replace=False), "freight": 9.0})
    book = OrderBook.from_frames(orders, claims, factors=plan.factors, ship_date=None, report_date=None)
    fitted = fit_models(plan, book, 1)
    order = {"zone": "near", "uses_tool": "yes", "ship_date": "2026-06-01"}
    with_tool, without = (fitted.tariff.quote(order | {"uses_tool": one}) for one in ("yes", "no"))
    assert with_tool["claim_intensity"] == pytest.approx(without["claim_intensity"] * (1 - 0.13 * 0.3 * 0.4))
