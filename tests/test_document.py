"""The tariff document: what is saved comes back to the bit, and damage of any kind is refused by name."""

import copy
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import freightrisk
from freightrisk import (
    Band,
    ByLevel,
    Cover,
    ExperienceRating,
    Fund,
    InputError,
    Interval,
    Loadings,
    ScoreCurve,
    Subsidy,
    TariffDocumentError,
    load_tariff,
)
from freightrisk.aggregates import AggregateLimit, AggregateShares
from freightrisk.campaigns import save_campaigns
from freightrisk.programmes import LossControl, LossControls
from freightrisk.shapes import ScaleShape
from freightrisk.tariff import curves
from freightrisk.tariff.curves import LimitCurve
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import KEYS, plain_of
from freightrisk.tariff.plan import RateTables
from strategies import (
    CODINGS,
    changed,
    count_curve,
    draw_codes,
    draw_orders,
    keys_of,
    limited_programmes,
    orders,
    put_together,
    rate_tables,
    repeated_keys,
    run_kernel,
    seeds,
    tariffs,
)


def bytes_of(tariff):
    """Return the document of a tariff without a file."""
    return msgspec.json.encode(plain_of(tariff))


@pytest.fixture(scope="module")
def tariff():
    rng = np.random.default_rng(8)
    fee = ByLevel("zone", {"city": 6.0, "near": 8.0, "far": 12.5})
    return put_together(
        frequency=rate_tables(["channel", "category", "score"], rng, 0.05),
        severity=rate_tables(["zone", "weight_kg"], rng, 9.0),
        cover=Cover(max_claims=2, limit=20.0, first_weight_fee=fee),
        loadings=Loadings(channel=0.15, profit=0.02, claim_handling=0.3, fraud_load=0.01, filed_max=9.0),
        subsidies=[
            Subsidy("live", "platform", percent_of_list=0.2, where={"channel": ["live_stream", "search"]}, cap_fen=50),
            Subsidy("score", "insurer", percent_of_rest=0.1, where={"experience_score": Interval(above=4.8)}),
            Subsidy(
                "penny", "平台", price_to_fen=1, where={"price": Interval(at_most=20)}, start="2025-06-10", group="g"
            ),
            Subsidy("flag", "平台", fixed_fen=3, where={"member": [True], "tier": [1, 2]}, end="2025-06-20", group="g"),
        ],
        provenance={"frequency": {"rows": 1000, "family": "poisson"}, "note": "made by hand"},
    )


@pytest.fixture(scope="module")
def text(tariff, tmp_path_factory):
    path = tmp_path_factory.mktemp("document") / "tariff.json"
    tariff.save(path)
    return path.read_bytes()


@pytest.fixture
def parts(text):
    return json.loads(text)


# What is saved comes back


@given(tariffs(), seeds)
def test_round_trip_prices_the_same_to_the_bit(tariff, seed):
    again = parse_tariff(bytes_of(tariff))
    assert bytes_of(again) == bytes_of(tariff)
    codes = draw_codes(tariff, np.random.default_rng(seed), 40)
    n = 40 if codes else 0
    assert run_kernel(again, codes, n).same_as(run_kernel(tariff, codes, n))


@given(tariffs(), orders())
def test_round_trip_codes_the_same_orders(tariff, frame):
    again = parse_tariff(bytes_of(tariff))
    pd.testing.assert_frame_equal(again.price(frame, threads=1), tariff.price(frame, threads=1), check_exact=True)


def test_round_trip_through_a_file(tariff, tmp_path):
    path = tmp_path / "tariff.json"
    tariff.save(path)
    again = load_tariff(str(path))
    assert [again.name, again.cover, again.loadings, again.subsidies] == [
        tariff.name,
        tariff.cover,
        tariff.loadings,
        tariff.subsidies,
    ]
    assert dict(again.codings) == dict(tariff.codings)
    assert again.provenance == tariff.provenance
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_coded_orders_serve_a_loaded_tariff(tariff, text):
    frame = draw_orders(np.random.default_rng(1), 50)
    priced = parse_tariff(text).price(tariff.encode(frame))
    pd.testing.assert_frame_equal(priced, tariff.price(frame), check_exact=True)


def test_floats_keep_every_bit(tariff):
    awkward = [0.1 + 0.2, 1 / 3, np.nextafter(1e-90, 1.0), np.nextafter(1e9, 0.0)]
    table = np.array(awkward)
    rates = replace(tariff.severity, tables={**tariff.severity.tables, "zone": table})
    again = parse_tariff(bytes_of(replace(tariff, severity=rates)))
    assert again.severity.tables["zone"].tobytes() == table.tobytes()


def test_document_is_utf_8_json_that_a_person_can_read(parts, text):
    assert parts["schema"] == "freightrisk/tariff"
    assert parts["version"] == 1
    assert parts["subsidies"][2]["payer"] == "平台"
    assert "平台".encode() in text
    assert text.count(b"\n") > 50


def test_bands_of_quantiles_and_open_intervals_survive(tariff):
    coding = replace(CODINGS["weight_kg"], declared=Band("weight_kg", 4, missing="level", min_claims=3))
    again = parse_tariff(bytes_of(replace(tariff, codings={**tariff.codings, "weight_kg": coding})))
    assert again.codings["weight_kg"] == coding


# What is damaged is refused


def test_a_document_cut_short_anywhere_is_refused(text):
    whole = len(text.rstrip())
    for end in {0, 1, whole - 1, *np.random.default_rng(0).integers(0, whole, 300).tolist()}:
        with pytest.raises(TariffDocumentError, match=r"is truncated or corrupt: .* Export or download it again"):
            parse_tariff(text[:end])


def test_a_changed_byte_is_refused_in_the_packages_words_or_leaves_the_tariff(text, tariff):
    rng = np.random.default_rng(1)
    results = []
    for place, byte in zip(rng.integers(0, len(text), 400), rng.integers(32, 127, 400), strict=True):
        try:
            results.append(parse_tariff(text[:place] + bytes([byte]) + text[place + 1 :]))
        except TariffDocumentError as error:
            results.append(error)
    assert sum(isinstance(result, TariffDocumentError) for result in results) > 100
    assert all(isinstance(result, TariffDocumentError) or result == tariff for result in results)


def set_at(*spot):
    """Return a damage that writes the last value at the place that the other arguments lead to."""
    *path, key, value = spot

    def damage(parts):
        for step in path:
            parts = parts[step]
        parts[key] = value

    return damage


def drop(*spot):
    *path, key = spot

    def damage(parts):
        for step in path:
            parts = parts[step]
        del parts[key]

    return damage


DAMAGE = [
    (
        set_at("schema", "freightrisk/book"),
        "not a tariff document: its schema is 'freightrisk/book' instead of 'freightrisk/tariff'",
    ),
    (drop("schema"), "not a tariff document: its schema is ''"),
    (set_at("schema", 5), r"Expected `str`, got `int` - at `\$.schema`"),
    (set_at("version", 2), "a tariff document of version 2; this release reads version 1"),
    (set_at("version", "1"), r"Expected `int`, got `str` - at `\$.version`"),
    (set_at("colour", "red"), "unknown field `colour`"),
    (set_at("cover", "colour", "red"), r"unknown field `colour` - at `\$.cover`"),
    (set_at("factors", 0, "colour", "red"), r"unknown field `colour` - at `\$.factors\[0\]`"),
    (set_at("subsidies", 1, "colour", "red"), r"unknown field `colour` - at `\$.subsidies\[1\]`"),
    (set_at("loadings", "colour", 0.1), r"unknown field `colour` - at `\$.loadings`"),
    (drop("loadings", "levy"), r"missing required field `levy` - at `\$.loadings`"),
    (drop("floor_fen"), "missing required field `floor_fen`"),
    (drop("frequency"), "missing required field `frequency`"),
    (drop("frequency", "base"), r"missing required field `base` - at `\$.frequency`"),
    (drop("severity", "tables", "zone", 3), "severity table 'zone' has 3 relativities; its factor has 4 slots"),
    (set_at("severity", "tables", "zone", [1.0] * 5), "severity table 'zone' has 5 relativities; .* 4 slots"),
    (set_at("severity", "tables", "zone", []), "severity table 'zone' has 0 relativities"),
    (set_at("frequency", "tables", "colour", [1.0]), "frequency has a table for 'colour', which is not a factor"),
    (
        set_at("frequency", "tables", "channel", 0, 0.0),
        "frequency table 'channel' has a relativity outside its range",
    ),
    (
        set_at("frequency", "tables", "channel", 1, -0.5),
        "frequency table 'channel' has a relativity outside its range",
    ),
    (set_at("frequency", "tables", "channel", 1, None), r"Expected `float`, got `null` - at `\$.frequency.tables"),
    (set_at("frequency", "tables", "channel", 1, "1.0"), "Expected `float`, got `str`"),
    (set_at("frequency", "base", 0.0), "frequency base is 0.0; it must be above zero"),
    (set_at("severity", "base", -9.0), "severity base is -9.0; it must be above zero"),
    (set_at("severity", "base", None), r"Expected `float`, got `null` - at `\$.severity.base`"),
    (drop("factors", 0), "has a table for 'channel', which is not a factor"),
    (set_at("factors", 0, "kind", "spline"), "factor 'channel' is a 'spline' of 1 columns; that kind is not known"),
    (set_at("factors", 0, "columns", ["a", "b"]), "factor 'channel' is a 'factor' of 2 columns"),
    (set_at("factors", 0, "levels", []), "factor 'channel' has no level, or names one twice"),
    (set_at("factors", 0, "levels", 1, ["live_stream"]), "factor 'channel' has no level, or names one twice"),
    (
        set_at("factors", 0, "pooled", [[["kiosk"], 99]]),
        "factor 'channel': a pooled level has code 99, but there are 5",
    ),
    (set_at("factors", 0, "pooled", [[["search"], 0]]), "factor 'channel' has no level, or names one twice"),
    (set_at("factors", 0, "missing", "ignore"), "missing of factor 'channel' is 'ignore'; it must be one of"),
    (set_at("factors", 0, "name", ""), "name of a factor is ''"),
    (set_at("factors", 2, "edges", [4.5, 4.2, 4.8]), "band 'score' has 4 bands for 3 edges; edges ascend"),
    (set_at("factors", 2, "edges", [4.2, 4.5]), "band 'score' has 4 bands for 2 edges; .* one band more than edges"),
    (set_at("cover", "max_claims", 0), "contradicts itself: max_claims is 0"),
    (set_at("cover", "limit", -1.0), "contradicts itself: limit is -1.0"),
    (set_at("cover", "first_weight_fee", "factor", "colour"), "the cover names factor 'colour', which no model rates"),
    (
        drop("cover", "first_weight_fee", "values", "far"),
        r"no amount for 1 level of factor 'zone' \(first: 'far'\)",
    ),
    (set_at("cover", "first_weight_fee", "values", "moon", 9.0), "names level 'moon' of factor 'zone'"),
    (set_at("count_curve", 3, [1.0, 0.0]), r"Expected `array` of length 4.* at `\$.count_curve\[3\]`"),
    (set_at("count_curve", 3, [1.0, 0.0, None, 0.0]), "Expected `float`, got `null`"),
    (set_at("loadings", "channel", 1.5), "contradicts itself: channel is 1.5"),
    (set_at("loadings", "filed_min", 10.0), "contradicts itself: filed_min is 10, above filed_max 9"),
    (set_at("subsidies", 0, "percent_of_list", 2.0), "contradicts itself: percent_of_list of subsidy 'live' is 2.0"),
    (set_at("subsidies", 0, "fixed_fen", 2), "contradicts itself: subsidy 'live' has percent_of_list and fixed_fen"),
    (
        set_at("subsidies", 0, "fixed_fen", 2.5),
        r"Expected `int \| null`, got `float` - at `\$.subsidies\[0\].fixed_fen`",
    ),
    (drop("subsidies", 0, "percent_of_list"), "contradicts itself: subsidy 'live' has no amount"),
    (set_at("subsidies", 0, "payer", "list"), "contradicts itself: payer of subsidy 'live' is 'list'"),
    (set_at("subsidies", 0, "where", "channel", "search"), "Expected `array`|Expected `object`|got `str`"),
    (set_at("subsidies", 0, "where", "channel", []), r"where\['channel'\] lists no level"),
    (set_at("subsidies", 1, "where", "experience_score", "at_most", 4.0), "contradicts itself: Interval"),
    (set_at("subsidies", 2, "start", "2025-06-31"), r"Invalid RFC3339 encoded date - at `\$.subsidies\[2\].start`"),
    (
        set_at("subsidies", 2, "end", "2025-06-01"),
        "contradicts itself: subsidy 'penny' starts on 2025-06-10, after its end",
    ),
    (set_at("floor_fen", -1), "contradicts itself: floor_fen is -1"),
    (set_at("floor_fen", 1.5), r"Expected `int`, got `float` - at `\$.floor_fen`"),
    (set_at("rounding", "up"), "contradicts itself: rounding is 'up'; it must be one of 'half_even'"),
    (set_at("name", ""), "contradicts itself: name of the tariff is ''"),
    (set_at("provenance", None), r"Expected `object`, got `null` - at `\$.provenance`"),
    (drop("count_curve", 5), "count_curve"),
    (set_at("count_curve", []), "count_curve"),
    (set_at("count_curve", 7, 0, 2.5), "count_curve"),
    (drop("limit_curve", "octaves", -1), r"limit_curve has \d+ octaves, but runs from octave -\d to octave \d+"),
    (drop("limit_curve", "octaves", 1, 3), "different numbers of pieces"),
    (set_at("limit_curve", None), "limit_curve must be given exactly when the cover has a limit"),
    (set_at("limit_curve", "octaves", []), "limit_curve has 0 octaves"),
    (set_at("limit_curve", "first", 3), "limit_curve has"),
    (set_at("limit_curve", "octaves", 1, 3, 0, 0.5), "limit_curve is not an unbroken curve"),
    (set_at("cover", "max_claims", 1), "count_curve"),
    (set_at("factors", 1, "name", "channel"), "channel"),
    (set_at("factors", 0, "levels", 0, []), "channel"),
    (set_at("factors", 0, "levels", 0, ["live_stream", "x"]), "'channel'.*path"),
    (set_at("factors", 2, "levels", 0, []), "score"),
    (set_at("frequency", "tables", "channel", 1, 1e308), "channel"),
    (set_at("subsidies", 0, "group", "g"), "group"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_refused_by_name(parts, tmp_path, damage, message):
    damage(parts)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(parts))
    with pytest.raises(TariffDocumentError, match=message):
        load_tariff(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is truncated or corrupt: Input data was truncated"),
        (b" ", "is truncated or corrupt"),
        (b"{}", "its schema is ''"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b"PK\x03\x04" * 20, "is truncated or corrupt: JSON is malformed"),
        (b"\x00" * 64, "is truncated or corrupt: JSON is malformed"),
        ('{"schema": "freightrisk/tariff"'.encode("utf-16"), "is truncated or corrupt: JSON is malformed"),
    ],
)
def test_files_that_are_no_documents(tmp_path, data, message):
    path = tmp_path / "some file.json"
    path.write_bytes(data)
    with pytest.raises(TariffDocumentError, match=rf"'{path}' .*{message}"):
        load_tariff(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"base": 0.05', b'"base": NaN', "JSON is malformed"),
        (b'"base": 0.05', b'"base": Infinity', "JSON is malformed"),
        (b'"base": 0.05', b'"base": 1e999', r"Number out of range - at `\$.frequency.base`"),
        (b'"floor_fen": 1', b'"floor_fen": 99999999999999999999', "floor_fen"),
        (b"}", b"}}", "JSON is malformed: trailing characters"),
        (b'"live_stream"', b'"live\xffstream"', "utf-8"),
    ],
)
def test_damage_to_the_text(text, old, new, message):
    head, mark, tail = text.rpartition(old) if old == b"}" else text.partition(old)
    assert mark
    with pytest.raises(TariffDocumentError, match=message):
        parse_tariff(head + new + tail)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(TariffDocumentError, match=r"nowhere.json' cannot be read: .* No such file"):
        load_tariff(tmp_path / "nowhere.json")
    with pytest.raises(TariffDocumentError, match="cannot be read"):
        load_tariff(tmp_path)


# A document says one thing


def plain(tariff):
    return json.loads(bytes_of(tariff))


@st.composite
def whole_tariffs(draw):
    """Tariffs with all that a document can hold: limited rules, conditions, experience, pairs, keyed rounding."""
    tariff = draw(tariffs(programme=limited_programmes()))
    more = {"provenance": {"frequency": {"rows": 10}, "note": "drawn"}}
    if draw(st.booleans()):
        more |= {"rounding": "dither", "dither_key": "a secret"}
    names = list(tariff.codings)
    if len(names) > 1 and draw(st.booleans()):
        first, second = names[:2]
        slots = tariff.codings[first].n_slots * tariff.codings[second].n_slots
        rates = tariff.severity
        more |= {"pairs": ((first, second),)}
        more |= {"severity": replace(rates, tables={**rates.tables, f"{first} x {second}": np.full(slots, 1.1)})}
    if "score" not in tariff.frequency.tables and draw(st.booleans()):
        more |= {"experience": EXPERIENCE}
    return changed(tariff, **more)


CURVE = ScoreCurve(CODINGS["score"], np.array([1.5, 1.1, 0.9, 0.5, 1.0]), np.array([1.0, 1, 1, 1, 0]), "v1")
EXPERIENCE = ExperienceRating([CURVE], {"m1": 1.3, "m2": 0.5}, "2026-06")


@given(whole_tariffs(), st.data())
def test_a_document_that_lost_a_key_is_refused_or_is_the_same_tariff(tariff, data):
    parts = plain(tariff)
    holder, key = data.draw(st.sampled_from(keys_of(parts)))
    del holder[key]
    try:
        found = parse_tariff(json.dumps(parts).encode())
    except TariffDocumentError:
        found = tariff
    assert found == tariff


# Objects whose keys are names given by the user, or whose absent keys mean that a rule has no such limit.
NAMED = {"tables", "shares", "values", "where", "provenance", "subsidies"}


def fields_of(parts):
    """Return each object of a document that is a part of the format, with each of its keys."""
    kept = {name: value for name, value in parts.items() if name not in NAMED} if isinstance(parts, dict) else parts
    here = [(parts, key) for key in parts] if isinstance(parts, dict) else []
    inner = kept.values() if isinstance(kept, dict) else kept if isinstance(kept, list) else []
    return here + [pair for value in inner for pair in fields_of(value)]


@given(whole_tariffs(), st.data())
def test_a_lost_field_is_refused_by_name_in_a_document_without_digest(tariff, data):
    parts = plain(tariff)
    del parts["digest"]
    assert parse_tariff(json.dumps(parts).encode()) == tariff
    holder, key = data.draw(st.sampled_from(fields_of(parts)))
    del holder[key]
    with pytest.raises(TariffDocumentError, match=f"{key}|its schema is ''|of version 0"):
        parse_tariff(json.dumps(parts).encode())


@given(whole_tariffs(), st.data())
def test_a_key_that_is_given_twice_is_refused_by_name(tariff, data):
    text, key = data.draw(repeated_keys(plain(tariff)))
    with pytest.raises(TariffDocumentError, match=f"key '{key}' is given twice - at "):
        parse_tariff(text.encode())


def test_a_repeated_key_is_refused_with_its_place(text):
    again = text.replace(b'"profit": 0.02', b'"profit": 0.02, "profit": 0.3')
    with pytest.raises(TariffDocumentError, match=r"contradicts itself: key 'profit' is given .* at `\$.loadings`"):
        parse_tariff(again)
    inside = text.replace(b'"above": 4.8', b'"above": 4.8, "above": 4.9')
    with pytest.raises(TariffDocumentError, match=r"'above' .* at `\$.subsidies\[1\].where.experience_score`"):
        parse_tariff(inside)


@given(whole_tariffs(), st.data())
def test_a_changed_value_is_refused_unless_the_digest_is_taken_out(tariff, data):
    parts = plain(tariff)
    parts["floor_fen"] += data.draw(st.integers(1, 9))
    with pytest.raises(TariffDocumentError, match=r"was changed after it was saved.* remove the key 'digest'"):
        parse_tariff(json.dumps(parts).encode())
    del parts["digest"]
    assert parse_tariff(json.dumps(parts).encode()) == replace(
        tariff, rounding_rule=replace(tariff.rounding_rule, floor_fen=parts["floor_fen"])
    )


def test_a_document_may_be_written_in_another_layout(tariff, parts):
    for layout in ({"indent": 4}, {"sort_keys": True}, {"separators": (",", ":")}, {"ensure_ascii": False}):
        assert parse_tariff(json.dumps(parts, **layout).encode()) == tariff


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_endless_brackets_are_refused(parts, bracket):
    for cut in (bracket * 5_000, json.dumps(parts | {"provenance": 7}).replace(": 7", f": {bracket * 5_000}")):
        with pytest.raises(TariffDocumentError, match="brackets are nested too deeply"):
            parse_tariff(cut.encode())


def test_brackets_in_a_text_are_no_levels(tariff):
    name = '[{"' * 5_000 + "\\" * 3
    same = replace(tariff, provenance=dict(tariff.provenance) | {"note": name})
    assert parse_tariff(bytes_of(same)).provenance["note"] == name


# Equality


def copies(thing):
    return [thing, copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))]


@given(whole_tariffs())
def test_a_tariff_equals_its_copies_and_itself_from_a_document(tariff):
    for again in [*copies(tariff), replace(tariff), parse_tariff(bytes_of(tariff))]:
        assert again == tariff
        assert hash(again) == hash(tariff)
    assert tariff != bytes_of(tariff)
    assert len({*copies(tariff)}) == 1


@given(whole_tariffs(), whole_tariffs())
def test_tariffs_are_equal_if_their_documents_are(one, other):
    assert (one == other) == (bytes_of(one) == bytes_of(other)) == (one.digest == other.digest)


SHARES = {"limit_curve": None, "shares": {"zone": np.full(4, 0.9)}}
FREE = {"experience": EXPERIENCE, "frequency": RateTables(0.05, {"zone": np.array([1.0, 2.0, 3.0, 1.5])})}
FUNDED = {"subsidies": (Subsidy("a", "platform", fixed_fen=1, fund="618"),), "funds": (Fund("618", budget_fen=9),)}
ONE_CLAIM = {"cover": Cover(max_claims=1, limit=20.0), "count_curve": count_curve(1)}
MONTH = AggregateLimit(300.0)
SHARED = {
    "cover": lambda t: replace(t.cover, aggregate=MONTH), "aggregate": AggregateShares(MONTH, {"m1": 0.5}, default=0.9),
}  # fmt: skip
TOOL = LossControl("tool", "request", effect=-0.13, where={"channel": ["live"]})
CONTROLLED = {"loss_controls": LossControls([TOOL])}
# For each field the changes that make one tariff and those that make another; the field differs, others only with it.
CHANGES = {
    "name": ({}, {"name": "another"}),
    "codings": ({}, {"codings": lambda t: {**t.codings, "merchant_class": CODINGS["merchant_class"]}}),
    "frequency": ({}, {"frequency": lambda t: replace(t.frequency, base=np.nextafter(t.frequency.base, 1.0))}),
    "severity": ({}, {"severity": lambda t: replace(t.severity, tables={})}),
    "cover": ({}, {"cover": lambda t: replace(t.cover, first_weight_fee=None)}),
    "loadings": ({}, {"loadings": lambda t: replace(t.loadings, profit=0.03)}),
    "subsidies": ({}, {"subsidies": lambda t: (*t.subsidies[:-1], replace(t.subsidies[-1], cap_fen=2))}),
    "count_curve": ({}, {"count_curve": lambda t: t.count_curve * (1.0 + 1e-12 * (np.arange(4) > 0))}),
    "limit_curve": ({}, {"limit_curve": lambda t: replace(t.limit_curve, pieces=t.limit_curve.pieces * (1 - 1e-12))}),
    "floor_fen": ({}, {"floor_fen": 2}),
    "rounding": ({}, {"rounding": "half_up"}),
    "provenance": ({}, {"provenance": {"note": "made by another hand"}}),
    "pairs": ({}, {"pairs": (("channel", "category"),)}),
    "lines": (ONE_CLAIM, ONE_CLAIM | {"lines": "zone", "count_curve": np.tile(count_curve(1), (4, 1))}),
    "shares": (SHARES, SHARES | {"shares": {"zone": np.full(4, 0.8)}}),
    "dither_key": ({"rounding": "dither", "dither_key": "a"}, {"rounding": "dither", "dither_key": "b"}),
    "experience": (FREE, FREE | {"experience": replace(EXPERIENCE, off_balance=1.01)}),
    "clock": ({}, {"clock": "Etc/UTC"}),
    "funds": (FUNDED, FUNDED | {"funds": (Fund("618", budget_fen=8),)}),
    "loss_controls": (CONTROLLED, CONTROLLED | {"loss_controls": LossControls([replace(TOOL, evidence=0.4)])}),
    "aggregate_shares": (SHARED, SHARED | {"aggregate": AggregateShares(MONTH, {"m1": 0.5}, default=0.8)}),
}


FIELDS = [*KEYS[:1], "codings", *KEYS[2:]]


@pytest.mark.parametrize("name", FIELDS)
def test_a_tariff_with_any_field_changed_is_another(tariff, name):
    def made(changes):
        return changed(tariff, **{key: new(tariff) if callable(new) else new for key, new in changes.items()})

    one, other = map(made, CHANGES[name])
    assert one != other
    assert one.digest != other.digest
    assert one == made(CHANGES[name][0])


PARTS = [
    (RateTables(1.0, {"a": np.ones(2)}), {"base": 2.0}, {"tables": {"a": np.array([1.0, 2.0])}}, {"tables": {}}),
    (LimitCurve(0, np.empty((0, 1, 4))), {"pieces": curves.limit_curve(ScaleShape(0.5)).pieces, "first": -4}),
    (CURVE, {"version": "v2"}, {"relativity": np.ones(5)}, {"weight": np.array([1.0, 1, 1, 2, 0])}, {"lag_days": 9}),
    (EXPERIENCE, {"off_balance": 1.1}, {"mods": {"m1": 1.3}}, {"curves": ()}, {"version": "2026-07"}),
]


@pytest.mark.parametrize(("part", "changes"), [(part, changes) for part, *changes in PARTS])
def test_parts_with_arrays_equal_their_copies_and_nothing_else(part, changes):
    for again in copies(part):
        assert again == part
        assert hash(again) == hash(part)
    for change in changes:
        assert replace(part, **change) != part
    assert part != "a part"


# Where a document cannot be written


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "path is '.', which is a folder; give the name of a file"),
        ("file/t.json", "path is 'file/t.json' in 'file', which does not exist; create it first"),
        ("x" * 300 + ".json", "which cannot be .*: .*; give another path"),
        ("a\0b.json", "which cannot be .*: .*; give another path"),
    ],
)
def test_a_path_that_is_no_file_is_refused(tariff, tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for save in (tariff.save, partial(save_campaigns, tariff.subsidies)):
        with pytest.raises(InputError, match=message):
            save(path)
    assert os.listdir() == ["file"]


def test_a_folder_without_permission_is_refused(tariff, tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(InputError, match=r"t.json', which cannot be written: .*Permission denied; give another path"):
        tariff.save(tmp_path / "t.json")


# A failed save leaves no trace


def test_a_failed_write_leaves_the_old_document_and_nothing_else(tariff, tmp_path, monkeypatch):
    path = tmp_path / "tariff.json"
    tariff.save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        replace(tariff, name="newer").save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["tariff.json"]


def test_a_folder_that_is_not_there_is_refused_by_name(tariff, tmp_path):
    with pytest.raises(InputError, match="which does not exist; create it first"):
        tariff.save(tmp_path / "nowhere" / "tariff.json")


def test_a_tariff_that_cannot_be_written_leaves_nothing(tariff, tmp_path):
    odd = replace(tariff, provenance={"analyst": object()})
    with pytest.raises((TypeError, ValueError)):
        odd.save(tmp_path / "tariff.json")
    assert os.listdir(tmp_path) == []


def test_save_replaces_an_existing_document(tariff, tmp_path):
    path = tmp_path / "tariff.json"
    path.write_text("old")
    tariff.save(path)
    assert load_tariff(path).name == tariff.name


@pytest.mark.parametrize(
    "more",
    [
        {"subsidies": (Subsidy("a", "platform", fixed_fen=np.int64(3)),)},
        {"subsidies": (Subsidy("a", "platform", percent_of_list=np.float64(0.3)),)},
        {"subsidies": (Subsidy("a", "platform", fixed_fen=3, cap_fen=np.int64(2)),)},
        {"cover": Cover(max_claims=np.int64(2), limit=20.0)},
        {"floor_fen": np.int64(1)},
    ],
)
def test_numbers_of_numpy_are_plain_numbers_in_a_document(tariff, more):
    parse_tariff(bytes_of(changed(tariff, **more)))


@pytest.mark.skipif(os.name == "nt", reason="file modes are those of POSIX")
def test_a_document_has_the_mode_of_any_new_file(tariff, tmp_path):
    tariff.save(tmp_path / "tariff.json")
    (tmp_path / "other").touch()
    assert (tmp_path / "tariff.json").stat().st_mode == (tmp_path / "other").stat().st_mode


ORDER = {
    "channel": "search",
    "industry": "home",
    "leaf": "lamp",
    "experience_score": 4.9,
    "zone": "far",
    "weight_kg": 1.2,
    "price": 300.0,
    "member": True,
    "tier": 1,
    "ship_date": "2025-06-12",
}
ALONE = """
import json, sys
from freightrisk import load_tariff
tariff, order = load_tariff(sys.argv[1]), json.loads(sys.argv[2])
print(tariff.quote(order)["merchant_fen"])
if sys.argv[3] == "frame":
    import pandas as pd
    print(tariff.price(pd.DataFrame([order]))["merchant_fen"][0])
print(sorted({name.split(".")[0] for name in sys.modules} & {"scipy", "statsmodels", "pandas", "matplotlib"}))
"""


@pytest.mark.parametrize(("way", "imported"), [("quote", []), ("frame", ["pandas"])])
def test_loading_and_pricing_need_neither_statsmodels_nor_scipy(tariff, tmp_path, way, imported):
    path = tmp_path / "tariff.json"
    tariff.save(path)
    home = str(Path(freightrisk.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])}
    call = [sys.executable, "-c", ALONE, str(path), json.dumps(ORDER), way]
    run = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
    *fen, modules = run.stdout.splitlines()
    assert set(map(int, fen)) == {tariff.quote(ORDER)["merchant_fen"]}
    assert modules == str(imported)
