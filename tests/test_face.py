"""The public names: few at the top, the rest in modules that say what they are for, and all of them documented."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import freightrisk
from freightrisk import Credibility, Factor, FrequencyModel, OrderBook

FACES = ("aggregates", "campaigns", "credibility", "events", "inference", "lines", "presets", "programmes", "reports",
         "results", "shapes")  # fmt: skip
API = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def names_of(face):
    return importlib.import_module(f"freightrisk.{face}").__all__


def test_the_top_has_about_forty_names():
    assert 35 <= len(freightrisk.__all__) <= 50


def test_each_name_stands_in_one_place():
    every = [*freightrisk.__all__, *(name for face in FACES for name in names_of(face))]
    assert len(every) == len(set(every))


def test_dir_shows_what_is_loaded_later_and_nothing_else():
    shown = dir(freightrisk)
    assert {*freightrisk.__all__, *FACES, "Ledger", "datasets", "ledger", "plots", "simulate_book"} <= set(shown)
    assert not hasattr(freightrisk, "Any")
    assert not hasattr(freightrisk, "TYPE_CHECKING")


@pytest.mark.parametrize("name", ["plots.plot_lift", "shapes.ScaleShape", "ledger.Ledger", "Ledger", "simulate_book"])
def test_what_is_loaded_later_needs_no_second_import(name):
    pytest.importorskip("matplotlib" if name.startswith("plots") else "sqlalchemy")
    code = f"import freightrisk as fr; assert fr.{name} is not None"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_stands_elsewhere_is_pointed_to():
    with pytest.raises(AttributeError, match=r"no 'buhlmann'; import it from freightrisk\.credibility"):
        _ = freightrisk.buhlmann
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = freightrisk.nothing


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("plot_lift", "import it from freightrisk.plots"),
        ("BookTruth", "import it from freightrisk.datasets"),
        ("Experience", "it is now freightrisk.ExperienceRating"),
        ("Coding", "import it from freightrisk.results"),
        ("allocate", "import it from freightrisk.campaigns"),
    ],
)
def test_a_name_that_moved_or_changed_is_pointed_to(name, where):
    with pytest.raises(AttributeError, match=re.escape(f"freightrisk has no '{name}'; {where}.")):
        getattr(freightrisk, name)


@pytest.mark.parametrize("face", [*FACES, "plots", "datasets"])
def test_completion_shows_public_names_alone(face):
    module = importlib.import_module(f"freightrisk.{face}")
    assert [name for name in dir(module) if not name.startswith("__")] == sorted(module.__all__)


PUBLIC = ("results", "campaigns", "inference", "lines", "credibility", "datasets")


def test_what_results_consist_of_has_a_public_name():
    cells = pd.DataFrame({"zone": ["near", "far"], "orders": [100.0, 50.0], "claims": [20, 40]})
    book = OrderBook.from_counts(cells, claims="claims", exposure="orders", factors=[Factor("zone")])
    fitted = FrequencyModel([Credibility("zone", variance=0.1)]).fit(book)
    parts = [book.claims, book.reversals, book.codings["zone"], fitted, fitted.statistics, fitted.steps[0]]
    parts += [fitted.fitted_effects["zone"], fitted.nodes["zone"], FrequencyModel().fit(book).codings["zone"]]
    known = {*freightrisk.__all__, *(name for face in PUBLIC for name in names_of(face))}
    assert {type(part).__name__ for part in parts} <= known


@pytest.mark.skipif(not API.is_file(), reason="needs the checkout: docs/api.md")
def test_every_public_name_is_in_the_reference():
    text = API.read_text("utf-8")
    listed = set(re.findall(r"auto(?:class|function):: (?:\w+\.)*(\w+)$", text, re.MULTILINE))
    assert "automodule:: freightrisk.errors" in text
    listed |= set(dir(freightrisk.errors))
    assert {
        *freightrisk.__all__,
        "Ledger",
        *(name for face in (*FACES, "plots", "datasets") for name in names_of(face)),
    } <= listed


WORDS = API.with_name("words.md")


@pytest.mark.skipif(not WORDS.is_file(), reason="needs the checkout: docs/words.md")
def test_the_words_have_every_noun():
    nouns = [name for name in freightrisk.__all__ if isinstance(getattr(freightrisk, name), type)]
    errors = [name for name in nouns if issubclass(getattr(freightrisk, name), (Exception, Warning))]
    wanted = [*sorted({*nouns} - {*errors}), "MerchantExperience", "allocate", "family_parameter"]
    code = " ".join(re.findall(r"`([^`]+)`", WORDS.read_text("utf-8")))
    assert [name for name in wanted if not re.search(rf"\b{name}\b", code)] == []


PAGES = [*sorted(API.parent.glob("*.md")), *sorted(API.parent.parent.glob("*.md"))]


@pytest.mark.skipif(not API.is_file(), reason="needs the checkout: docs/api.md")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_of_a_page_are_closed(page):
    # Without a closing line, the page shows the text after a block as code, and examples still run.
    opened = None
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        if line.startswith("```"):
            assert opened is None or line == "```", f"line {number}: the block of line {opened} is open"
            opened = number if opened is None else None
        assert opened is None or not line.startswith("## "), (
            f"line {number}: a heading inside the block of line {opened}"
        )
    assert opened is None


EXAMPLE = re.compile(r"^\s*(?:>>>|\.\.\.) from freightrisk\.([\w.]+) import (.+)$", re.MULTILINE)


def test_examples_import_names_from_where_they_are_public():
    public = {*freightrisk.__all__, *(name for face in (*FACES, "plots", "datasets") for name in names_of(face))}
    package = Path(freightrisk.__file__).parent
    inside = [
        f"{path.name}: {module}.{name}"
        for path in sorted(package.rglob("*.py"))
        for module, names in EXAMPLE.findall(path.read_text("utf-8"))
        for name in names.split(", ")
        if name in public and module not in (*FACES, "plots", "datasets")
    ]
    assert inside == []


def test_help_works_without_an_extra():
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "import inspect, pydoc, freightrisk\n"
        "assert 'Ledger' not in dir(freightrisk) and len(pydoc.render_doc(freightrisk)) > 1000\n"
        "assert dict(inspect.getmembers(freightrisk))['Tariff'] is freightrisk.Tariff\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
