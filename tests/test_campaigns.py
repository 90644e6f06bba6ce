"""Campaigns as documents: what is saved comes back, in JSON and YAML, and damage is refused by its place."""

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freightrisk import InputError, Subsidy
from freightrisk.campaigns import campaign_schema, load_campaigns, save_campaigns
from freightrisk.tariff.subsidy import in_stacking_order
from strategies import limited_programmes, orders, programmes, put_together, rate_tables, repeated_keys

DOCUMENT = {
    "schema": "freightrisk/campaigns",
    "version": 1,
    "subsidies": [
        {"name": "new", "payer": "platform", "fixed_fen": 5, "where": {"segment": ["new"]}},
        {"name": "live", "payer": "insurer", "percent_of_list": 0.1, "where": {"experience_score": {"above": 4.8}}},
    ],
}

WRITTEN_BY_HAND = """
schema: freightrisk/campaigns
version: 1
subsidies:
  - name: 618 直播
    payer: platform
    price_to_fen: 1            # one fen an order
    where:
      channel: [live_stream]
      experience_score: {above: 4.8}
    start: 2026-06-01
    end: 2026-06-20
    budget_fen: 45000000000    # 450 million yuan
"""


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml"])
@given(rules=programmes(), more=limited_programmes())
def test_what_is_saved_comes_back(tmp_path_factory, suffix, rules, more):
    path = tmp_path_factory.mktemp("campaigns") / f"rules.{suffix}"
    for programme in (rules, more):
        save_campaigns(programme, path)
        assert load_campaigns(path) == in_stacking_order(programme)


@pytest.mark.filterwarnings("ignore:subsidy .* which factor:freightrisk.errors.FreightRiskWarning")  # drawn levels
@given(programmes(), orders())
def test_a_tariff_with_other_subsidies_prices_as_one_made_with_them(rules, frame):
    import numpy as np

    parts = {"frequency": rate_tables(["channel"], np.random.default_rng(1), 0.03)}
    parts["severity"] = rate_tables(["zone"], np.random.default_rng(2), 9.0)
    made, given_later = put_together(**parts, subsidies=rules), put_together(**parts).with_subsidies(rules)
    assert made.price(frame).equals(given_later.price(frame))


def test_written_by_hand(tmp_path):
    path = tmp_path / "618.yaml"
    path.write_text(WRITTEN_BY_HAND, encoding="utf-8")
    (rule,) = load_campaigns(path)
    assert rule == Subsidy(
        "618 直播",
        "platform",
        price_to_fen=1,
        where=rule.where,
        start="2026-06-01",
        end="2026-06-20",
        budget_fen=45_000_000_000,
    )
    assert rule.where["channel"] == ("live_stream",)
    assert rule.where["experience_score"].above == 4.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="freightrisk/tariff"), "the schema is 'freightrisk/tariff'"),
        (lambda d: d.update(version=2), "version 2"),
        (
            lambda d: d.update(extra=1),
            "the top level: unknown key 'extra'; the keys there are 'schema', 'version', 'subsidies'",
        ),
        (
            lambda d: d["subsidies"][0].update(fixed_fen=5.5),
            r"Expected `int( \| null)?`, got `float` - at `\$.subsidies",
        ),
        (lambda d: d["subsidies"][0].update(percent_of_list=0.1), "'new' has percent_of_list and fixed_fen"),
        (lambda d: d["subsidies"][1].update(payer="merchant"), "payer of subsidy 'live'"),
        (
            lambda d: d["subsidies"][1]["where"].update(experience_score={"over": 4}),
            r"subsidies, entry 2 \('live'\), where.experience_score: unknown key 'over'; .* 'above', 'at_most'",
        ),
    ],
)
def test_damage_is_refused_by_its_place(tmp_path, change, message):
    document = json.loads(json.dumps(DOCUMENT))
    change(document)
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        load_campaigns(path)


def rules_file(folder, suffix, text):
    path = folder / f"rules.{suffix}"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@given(rules=limited_programmes(), data=st.data())
def test_a_key_that_is_given_twice_is_refused_by_name(tmp_path_factory, suffix, rules, data):
    path = tmp_path_factory.mktemp("campaigns") / "rules.json"
    save_campaigns(rules, path)
    text, key = data.draw(repeated_keys(json.loads(path.read_text(encoding="utf-8"))))
    path = path.with_suffix(f".{suffix}")  # JSON is YAML
    path.write_text(text)
    with pytest.raises(InputError, match=f"key '{key}' is given twice.*; keep the one that is meant"):
        load_campaigns(path)


def test_a_repeated_key_is_refused_with_its_place(tmp_path):
    text = json.dumps(DOCUMENT).replace('"above": 4.8', '"above": 4.8, "above": 4.9')
    with pytest.raises(InputError, match=r"'above' is given twice - at `\$.subsidies\[1\].where.experience_score`"):
        load_campaigns(rules_file(tmp_path, "json", text))
    text = WRITTEN_BY_HAND.replace("    budget_fen", "    budget_fen: 1\n    budget_fen")
    with pytest.raises(InputError, match="'budget_fen' is given twice, again in line 14"):
        load_campaigns(rules_file(tmp_path, "yaml", text))
    text = WRITTEN_BY_HAND + "  - <<: {payer: platform}\n    name: b\n    fixed_fen: 5\n"
    with pytest.raises(InputError, match="'<<' in line 14 merges rules"):
        load_campaigns(rules_file(tmp_path, "yaml", text))


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_document_of_endless_brackets_is_refused(tmp_path, suffix, bracket):
    for text in (bracket * 5_000, json.dumps(DOCUMENT)[:-1] + ', "extra":' + bracket * 5_000):
        with pytest.raises(InputError, match="cannot be parsed: brackets are nested too deeply"):
            load_campaigns(rules_file(tmp_path, suffix, text))


@pytest.mark.parametrize("end", ["2026-06-21T00:00:00", "2026-06-21 18:00:00", "'2026-06-21T00:00'"])
def test_a_time_of_day_in_a_document_is_refused(tmp_path, end):
    with pytest.raises(InputError, match="date"):
        load_campaigns(rules_file(tmp_path, "yaml", WRITTEN_BY_HAND.replace("2026-06-20", end)))


def test_two_rules_of_one_name_are_refused(tmp_path):
    text = json.dumps(DOCUMENT).replace('"live"', '"new"')
    with pytest.raises(InputError, match=r"rules.json': subsidies: 2 rules are named 'new'"):
        load_campaigns(rules_file(tmp_path, "json", text))


def test_files_that_are_no_documents(tmp_path):
    for name, text in (("a.json", "{"), ("a.yaml", "a: [1"), ("b.json", "[]"), ("b.yaml", "- 1"), ("c.json", b"\xff{")):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError, match=name):
            load_campaigns(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_campaigns(tmp_path / "absent.json")
    with pytest.raises(InputError, match="does not exist"):
        save_campaigns([], tmp_path / "absent" / "a.json")
    before = sorted(tmp_path.iterdir())
    for path, message in (
        (tmp_path, "path is '.*', which is a folder"),
        (tmp_path / (300 * "x"), "path is .* which cannot be found"),
        (3, "path is 3; it must be a path"),
        ("", "path is ''; it must be a path"),
    ):
        with pytest.raises(InputError, match=message):
            save_campaigns([], path)
    assert sorted(tmp_path.iterdir()) == before


def test_the_schema_names_every_field():
    schema = campaign_schema()
    rule = schema["$defs"]["Subsidy"]
    assert set(rule["properties"]) == {field.name for field in fields(Subsidy)}
    assert rule["additionalProperties"] is False
    assert schema["$defs"]["Campaigns"]["required"] == ["schema", "version", "subsidies"]


@pytest.mark.parametrize(
    "line",
    [
        "start: 2026-02-30",
        "start: !!timestamp 2026-99-01",
        'payer: "\\ud800"',
        "group: {[1]: 2}",
        "budget_fen: !!int 1x",
        "cap_fen: !!float x",
        "budget_fen: " + "9" * 5_000,
        "name: !!python/object/apply:os.getcwd []",
        "name: !!binary x",
        "where: !!set {a, b}",
    ],
)
def test_yaml_that_cannot_be_a_value_is_refused(tmp_path, line):
    path = tmp_path / "rules.yaml"
    path.write_text(WRITTEN_BY_HAND.rstrip() + "\n  - payer: platform\n    " + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"campaigns '.*rules\.yaml'"):
        load_campaigns(path)


@pytest.mark.parametrize("value", ["!!int ''", "!!int '-'", "!!float ''", "!!bool x", "!!timestamp x"])
def test_a_value_that_its_yaml_tag_does_not_fit_is_refused(tmp_path, value):
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"schema: freightrisk/campaigns\nversion: 1\nsubsidies: [{{name: a, payer: p, fixed_fen: {value}}}]"
    )
    with pytest.raises(InputError, match=r"rules\.yaml.*cannot be parsed"):
        load_campaigns(path)


@pytest.mark.parametrize("place", ["schema", "version", "subsidies", "other"])
def test_aliases_that_stand_for_more_values_than_memory_holds_are_refused(tmp_path, place):
    doubled = "".join(f", &b{k} [*b{k - 1}, *b{k - 1}]" for k in range(1, 60))
    keys = {"schema": "freightrisk/campaigns", "version": "1", "subsidies": "[]"} | {place: "*b59"}
    path = tmp_path / "rules.yaml"
    path.write_text(f"a: [&b0 [x, x]{doubled}]\n" + "".join(f"{key}: {value}\n" for key, value in keys.items()))
    with pytest.raises(InputError, match=r"rules\.yaml"):
        load_campaigns(path)
