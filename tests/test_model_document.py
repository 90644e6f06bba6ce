"""Documents of fitted models: what is saved comes back to the bit, and damage of any kind is refused by name."""

import json
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
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
    Cover,
    Credibility,
    Factor,
    Free,
    FrequencyModel,
    Given,
    InputError,
    Interaction,
    ModelDocumentError,
    OrderBook,
    SeverityModel,
    Smooth,
    Solver,
    Tariff,
    load_model,
    load_tariff,
)
from freightrisk.models.document import parse_model
from freightrisk.models.model_document import document_of
from strategies import keys_of, repeated_keys
from test_effects import FACTORS, cells, counted
from test_evaluation import EVERY, FRAME, case

# Books with wild amounts have a large off-balance factor.
pytestmark = pytest.mark.filterwarnings("ignore:the (amounts|claims) of the fitted rows")


def same(one, other, place="model"):
    """Refuse two values that differ in any bit of any part."""
    assert type(one) is type(other), place
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, place
        assert one.shape == other.shape, place
        assert one.tobytes() == other.tobytes() or (np.isnan(one) == np.isnan(other)).all(), place
        np.testing.assert_array_equal(one, other, err_msg=place)
    elif is_dataclass(one):
        for field in fields(one):
            same(getattr(one, field.name), getattr(other, field.name), f"{place}.{field.name}")
    elif isinstance(one, dict):
        assert list(one) == list(other), place
        for key in one:
            same(one[key], other[key], f"{place}[{key!r}]")
    elif isinstance(one, tuple):
        assert len(one) == len(other), place
        for k, (left, right) in enumerate(zip(one, other, strict=True)):
            same(left, right, f"{place}[{k}]")
    elif isinstance(one, float):
        assert np.float64(one).tobytes() == np.float64(other).tobytes() or (np.isnan(one) and np.isnan(other)), place
    else:
        assert one == other, place


BOOK = counted(cells(1_500))
MERCHANT = np.random.default_rng(4).integers(0, 25, 1_500)
WIDE = counted(cells(1_500).assign(merchant=MERCHANT), (*FACTORS, Factor("merchant", unseen="parent")))
EFFECTS = {
    "base": [],
    "free": ["channel", "zone"],
    "credibility": [Credibility("category"), "channel"],
    "credibility twice": [Credibility("category"), Credibility("merchant"), "channel"],
    "smooth": [Smooth("score"), "zone"],
    "monotone": [Free("score", monotone="decreasing"), "channel"],
    "monotone curve": [Smooth("score", monotone="decreasing"), Credibility("merchant", variance=0.1)],
    "given": [Given("zone", {"near": 1.0, "far": 1.2}), "channel"],
    "interaction": ["channel", "zone", Interaction("channel", "zone")],
    "all": [Credibility("category"), Smooth("score"), "channel", "zone", Interaction("channel", "zone", variance=0.1)],
}


def again(fitted):
    return parse_model(document_of(fitted))


# What is saved comes back


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("with_options", [False, True])
def test_every_family_comes_back_to_the_bit(family, with_options):
    model, book, offset, weight = case(family)
    fitted = model.fit(book, **({"offset": offset, "weight": weight} if with_options else {}))
    loaded = again(fitted)
    same(loaded, fitted)
    assert document_of(loaded) == document_of(fitted)
    assert loaded == fitted
    assert hash(loaded) == hash(fitted)
    np.testing.assert_array_equal(loaded.predict(book), fitted.predict(book))
    pd.testing.assert_frame_equal(
        loaded.predict(book, std_errors=True), fitted.predict(book, std_errors=True), check_exact=True
    )
    assert str(loaded.summary()) == str(fitted.summary())
    assert repr(loaded) == repr(fitted)
    assert str(loaded.evaluate(book)) == str(fitted.evaluate(book))  # as text, because nan differs from itself


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_comes_back_to_the_bit(name):
    fitted = FrequencyModel(EFFECTS[name]).fit(WIDE)
    loaded = again(fitted)
    same(loaded, fitted)
    orders = cells(50, seed=3).assign(merchant=np.arange(50))
    found, wanted = (
        model.predict(orders.query("leaf < 1000"), exposure="insured", std_errors=True) for model in (loaded, fitted)
    )
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    pd.testing.assert_frame_equal(loaded.relativities, fitted.relativities, check_exact=True)
    pd.testing.assert_frame_equal(loaded.effects, fitted.effects, check_exact=True)
    pd.testing.assert_frame_equal(loaded.convergence, fitted.convergence, check_exact=True)
    for factor in fitted.nodes:
        pd.testing.assert_frame_equal(loaded.credibility(factor), fitted.credibility(factor), check_exact=True)


def test_clusters_limits_and_the_other_engine_come_back():
    frame = FRAME[FRAME["claims"] > 0].assign(claims=1)
    limit = float(frame["amount"].quantile(0.9))
    capped = counted(frame.assign(amount=np.minimum(frame["amount"], limit)), exposure=None, amount="amount")
    for fitted in (
        SeverityModel(["channel"]).fit(capped, limit=limit),
        FrequencyModel(["channel", Credibility("category")]).fit(BOOK, cluster=MERCHANT),
        FrequencyModel(["channel"]).fit(BOOK, solver=Solver(engine="statsmodels")),
    ):
        same(again(fitted), fitted)


def test_a_fit_without_residual_degrees_of_freedom_comes_back():
    frame = pd.DataFrame({"zone": ["a", "b"], "claims": [1, 1], "amount": [8.0, 9.0]})
    book = OrderBook.from_counts(frame, claims="claims", amount="amount", factors=[Factor("zone")])
    fitted = SeverityModel().fit(book)
    assert np.isnan(fitted.dispersion)
    same(again(fitted), fitted)


def test_models_are_equal_if_their_content_is():
    fitted = FrequencyModel(["channel"]).fit(BOOK)
    assert fitted == FrequencyModel(["channel"]).fit(BOOK)
    for other in (FrequencyModel(["zone"]).fit(BOOK), replace(fitted, off_balance=1.5), "model", None):
        assert fitted != other


def test_odd_levels_and_pooled_levels_come_back():
    frame = cells(800).assign(
        channel=np.where(np.arange(800) % 7 == 0, None, np.arange(800) % 4 * 0.5),
        name=np.array(["平台", 'a"b', "x\\y", "rare"], dtype=object)[np.minimum(np.arange(800) % 211, 3)],
    )
    factors = [Factor("channel", missing="level", unseen="parent"), Factor("name", min_claims=500, unseen="parent"),
               Band("score", 5, valid=(0, 9), missing="level")]  # fmt: skip
    fitted = FrequencyModel(["channel", "score"]).fit(counted(frame, factors))
    same(again(fitted), fitted)
    named = FrequencyModel([Credibility("name")]).fit(counted(frame, factors))
    same(again(named), named)


@given(st.integers(0, 10**6))
def test_the_law_of_documents(seed):
    frame = cells(120, seed=seed % 999)
    frame["claims"] += 1
    names = [*EFFECTS]
    fitted = FrequencyModel([e for e in EFFECTS[names[seed % len(names)]] if getattr(e, "name", "") != "merchant"]).fit(
        counted(frame)
    )
    text = document_of(fitted)
    assert document_of(parse_model(text)) == text


@pytest.mark.filterwarnings("ignore:severity. the gamma curve")
def test_a_tariff_of_loaded_models_is_the_same_tariff(tmp_path):
    book = counted(FRAME, amount="amount")
    frequency = FrequencyModel([Credibility("category"), "channel"], family="negative_binomial").fit(book)
    severity = SeverityModel(["zone"]).fit(book)
    frequency.save(tmp_path / "frequency.json")
    severity.save(tmp_path / "severity.json")
    cover = Cover(max_claims=1, limit=20.0)
    tariff = Tariff.build(frequency, severity, cover=cover)
    loaded = Tariff.build(load_model(tmp_path / "frequency.json"), load_model(tmp_path / "severity.json"), cover=cover)
    assert loaded == tariff
    assert loaded.digest == tariff.digest


ALONE = """
import sys
import numpy as np, pandas as pd
from freightrisk import load_model
found = load_model(sys.argv[1]).predict(sys.argv[2], exposure="insured", std_errors=True)
found.to_parquet(sys.argv[3])
"""


def test_another_process_predicts_the_same(tmp_path):
    fitted = FrequencyModel(EFFECTS["all"]).fit(BOOK)
    orders, model, out = (tmp_path / name for name in ("orders.parquet", "model.json", "found.parquet"))
    cells(1_500).to_parquet(orders)
    fitted.save(model)
    home = str(Path(freightrisk.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])}
    subprocess.run([sys.executable, "-c", ALONE, model, orders, out], check=True, env=environment)
    pd.testing.assert_frame_equal(
        pd.read_parquet(out), fitted.predict(orders, exposure="insured", std_errors=True), check_exact=True
    )


# Files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    fitted = FrequencyModel(["channel"]).fit(BOOK)
    path = tmp_path / "model.json"
    fitted.save(str(path))
    before = path.read_bytes()
    assert before == document_of(fitted)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        replace(fitted, intercept=0.0).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.json"]


@pytest.mark.parametrize("path", ["", 3, "nowhere/model.json", "."])
def test_paths_that_cannot_be_written_are_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="path is"):
        FrequencyModel([]).fit(BOOK).save(path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ModelDocumentError, match=r"model document .*nowhere.json' cannot be read: .* No such file"):
        load_model(tmp_path / "nowhere.json")
    with pytest.raises(ModelDocumentError, match="cannot be read"):
        load_model(tmp_path)
    with pytest.raises(InputError, match="path is 3"):
        load_model(3)


# Damage


@pytest.fixture(scope="module")
def text():
    effects = [Credibility("category"), Smooth("score"), "channel", Interaction("channel", "zone")]
    return document_of(FrequencyModel(effects).fit(BOOK))


@pytest.fixture
def parts(text):
    found = json.loads(text)
    found["digest"] = ""
    return found


def at(spot, value):
    """Return a damage that writes a value at a place, or calls it with the value that is there."""
    *path, key = spot

    def damage(parts):
        for step in path:
            parts = parts[step]
        parts[key] = value(parts[key]) if callable(value) else value

    return damage


def first(change):
    return lambda values: [change, *values[1:]]


CATEGORY, SCORE, CHANNEL, PAIR = range(4)
DAMAGE = [
    (at(["schema"], "freightrisk/tariff"), "not a model document: its schema is 'freightrisk/tariff'"),
    (at(["version"], 2), "a model document of version 2; this release reads version 1"),
    (at(["digest"], "00"), "was changed after it was saved"),
    (at(["kind"], "spline"), "kind is 'spline'; it must be one of"),
    (at(["family"], "gamma"), "the family of a frequency model is 'gamma'"),
    (at(["family"], "binomial"), "the binomial family needs 1 effects of kind 'lines'"),
    (at(["family"], "x"), "family is 'x'; it must be one of"),
    (at(["engine"], "glm"), "engine is 'glm'"),
    (at(["clock"], "Mars/Base"), "clock is 'Mars/Base'"),
    (at(["intercept"], 1e6), "intercept is 1000000.0; it must be a finite number"),
    (at(["intercept"], None), r"Expected `float`, got `null` - at `\$.intercept`"),
    (at(["intercept"], "nan"), r"Expected `float`, got `str` - at `\$.intercept`"),
    (at(["intercept_std_error"], -1.0), "intercept_std_error has -1.0 in place 0"),
    (at(["family_parameter"], -1.0), "family_parameter is -1.0"),
    (at(["factors"], lambda found: [*found, found[0]]), "two entries of one list have the name"),
    (at(["factors", 0, "levels"], []), "has no level, or names one twice"),
    (at(["effects"], lambda found: [*found, found[CHANNEL]]), "two effects have one name"),
    (at(["effects", CHANNEL, "factors"], ["nothing"]), r"effect 'channel' is of \['nothing'\]"),
    (at(["effects", CHANNEL, "factors"], []), r"effect 'channel' is of \[\]"),
    (at(["effects", CHANNEL, "name"], "zone"), "effect 'zone' is of kind 'free' of factors"),
    (at(["effects", PAIR, "kind"], "free"), "is of kind 'free' of factors"),
    (at(["effects", CHANNEL, "kind"], "wild"), "kind of effect 'channel' is 'wild'"),
    (at(["effects", CHANNEL, "kind"], "given"), "effect 'channel' of kind 'given' has errors"),
    (at(["effects", CHANNEL, "errors"], None), "effect 'channel' of kind 'free' has no errors"),
    (at(["effects", CHANNEL, "table"], lambda table: table[:-1]), "table of effect 'channel' has 3 values"),
    (at(["effects", CHANNEL, "table"], first("nan")), "table of effect 'channel' has nan in place 0"),
    (at(["effects", CHANNEL, "table"], first("inf")), "table of effect 'channel' has inf in place 0"),
    (at(["effects", CHANNEL, "table"], first("many")), r"Invalid enum value 'many' - at `\$.effects\[2\].table\[0\]"),
    (at(["effects", CHANNEL, "table"], first(1e5)), "table of effect 'channel' has 100000.0 in place 0"),
    (at(["effects", CHANNEL, "table"], lambda table: [-599.9] * len(table)), "base and relativities multiply to e"),
    (at(["effects", CHANNEL, "exposure"], first(-1.0)), "exposure of effect 'channel' has -1.0"),
    (at(["effects", CHANNEL, "std_errors"], first("nan")), "std_errors of effect 'channel' has nan"),
    (at(["effects", CHANNEL, "reference"], 99), "reference of effect 'channel' is 99"),
    (at(["effects", CHANNEL, "monotone"], "up"), "monotone of effect 'channel' is 'up'"),
    (at(["effects", CATEGORY, "variances"], [-1.0]), "variances of effect 'category' has -1.0"),
    (at(["effects", CATEGORY, "nodes", "rate"], []), "rate of the nodes of effect 'category' has 0 values"),
    (at(["effects", CATEGORY, "nodes", "depth"], lambda d: [2**70] * len(d)), "depth"),
    (at(["effects", CATEGORY, "errors", "places"], first(10**6)), "places of effect 'category' has 1000000"),
    (at(["effects", CATEGORY, "errors", "places"], first(-2)), "places of effect 'category' has -2"),
    (at(["effects", SCORE, "errors", "places"], []), "places of effect 'score' has 0 values"),
    (at(["effects", SCORE, "errors", "variances"], first("nan")), "variances of the slots of effect 'score' has nan"),
    (at(["parameters"], lambda found: found[:-1]), "covariance has"),
    (at(["parameters"], first(["nothing", 0])), "parameters name slot 0 of factor 'nothing'"),
    (at(["parameters"], first(["channel", 99])), "parameters name slot 99 of factor 'channel'"),
    (at(["covariance"], lambda found: found[:-1]), "covariance has"),
    (at(["covariance"], first("nan")), "covariance has nan in place 0"),
    (at(["joint", "covariance"], lambda found: found[:-1]), "joint covariance has"),
    (at(["joint", "eliminated"], ""), "eliminated is '', which has no errors"),
    (at(["joint", "eliminated"], "nothing"), "eliminated is 'nothing', which has no errors"),
    (at(["joint", "cross"], lambda found: found[:-1]), "cross has"),
    (at(["joint", "cross_variances"], lambda found: found[:-1]), "cross has"),
    (at(["joint", "cross_variances"], first(-1.0)), "cross_variances has -1.0"),
    (at(["statistics", "n_rows"], 0), "n_rows is 0"),
    (at(["statistics", "options"], ["wind"]), "an option of statistics is 'wind'"),
    (at(["statistics", "null_base"], "inf"), "null_base of statistics is inf"),
    (at(["statistics", "claims"], -1.0), "claims of statistics is -1.0"),
    (at(["steps"], []), "steps are empty"),
    (at(["steps", 0], [1, 2.0]), "length 4"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_refused_by_name(parts, damage, message):
    damage(parts)
    with pytest.raises(ModelDocumentError, match=f"'model document' .*{message}"):
        parse_model(json.dumps(parts).encode())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is truncated or corrupt"),
        (b"{}", "its schema is ''"),
        (b"[]", "Expected `object`, got `array`"),
        (b"PK\x03\x04" * 20, "is truncated or corrupt: JSON is malformed"),
        (b'{"schema": "freightrisk/model", "x": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"schema": "freightrisk/model", "version": 1}', "missing required field"),
    ],
)
def test_files_that_are_no_documents_are_refused(data, message):
    with pytest.raises(ModelDocumentError, match=message):
        parse_model(data)


def test_a_tariff_is_no_model_and_a_model_no_tariff(tmp_path):
    book = counted(FRAME, amount="amount")
    frequency, severity = FrequencyModel(["channel"]).fit(book), SeverityModel(["zone"]).fit(book)
    Tariff.build(frequency, severity).save(tmp_path / "tariff.json")
    frequency.save(tmp_path / "model.json")
    with pytest.raises(ModelDocumentError, match="not a model document: its schema is 'freightrisk/tariff'"):
        load_model(tmp_path / "tariff.json")
    with pytest.raises(freightrisk.TariffDocumentError, match="not a tariff document: its schema is 'freightrisk/mod"):
        load_tariff(tmp_path / "model.json")


def test_a_document_cut_short_anywhere_is_refused(text):
    for end in np.random.default_rng(0).integers(0, len(text.rstrip()), 100).tolist():
        with pytest.raises(ModelDocumentError, match="is truncated or corrupt"):
            parse_model(text[:end])


@given(st.data())
def test_a_lost_or_repeated_key_is_refused(text, data):
    parts = json.loads(text)
    repeated, key = data.draw(repeated_keys(json.loads(text)))
    with pytest.raises(ModelDocumentError, match=f"key '{key}' is given twice"):
        parse_model(repeated.encode())
    parts["digest"] = ""
    holder, key = data.draw(st.sampled_from([pair for pair in keys_of(parts) if pair[1] != "digest"]))
    del holder[key]
    with pytest.raises(ModelDocumentError, match=f"missing required field `{key}`|its schema is ''|of version 0"):
        parse_model(json.dumps(parts).encode())


def test_a_changed_byte_is_refused_or_leaves_the_model(text):
    rng = np.random.default_rng(1)
    refused = 0
    for place, byte in zip(rng.integers(0, len(text), 200), rng.integers(32, 127, 200), strict=True):
        try:
            assert document_of(parse_model(text[:place] + bytes([byte]) + text[place + 1 :])) == text
        except ModelDocumentError:
            refused += 1
    assert refused > 100


def test_the_document_is_json_in_utf_8(text):
    found = json.loads(text)
    assert (found["schema"], found["version"]) == ("freightrisk/model", 1)
    assert msgspec.json.decode(text) == found
    assert list(found)[:4] == ["schema", "version", "digest", "kind"]
