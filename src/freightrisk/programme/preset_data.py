"""The numbers of presets: one JSON document each, in which every number has its source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from freightrisk import _check
from freightrisk._frozen import FrozenDict
from freightrisk._plain import json_document

if TYPE_CHECKING:
    import pandas as pd

NAMES = ("buyer_protection_1688", "jd_2023", "jd_2024", "return_treasure", "taobao_buyer", "taobao_seller")
SECTIONS = ("covers", "fees", "loss_controls", "claim_payers", "subsidies", "dates", "segments")
GRADES = ("article", "A", "B", "C", "assumed", "not published")
USES = ("applied", "argument", "illustrative", "fact")
HEAD = ("schema", "name", "title", "chinese", "market")


@dataclass(frozen=True)
class Item:
    """One value of a preset, with its source; None stands for a number that nobody published."""

    value: Any
    unit: str
    source: str
    grade: str
    use: str
    note: str


@dataclass(frozen=True)
class PresetData:
    """The document of a preset.

    Parameters
    ----------
    name, title, chinese, market : str
    items : mapping of (section, item) to Item
    """

    name: str
    title: str
    chinese: str
    market: str
    items: Mapping[tuple[str, str], Item]

    def __call__(self, section: str, item: str) -> Any:
        """Return a value."""
        return self.items[section, item].value

    def source(self, section: str, item: str) -> str:
        """Return the source of a value."""
        return self.items[section, item].source


def preset_data(name: str) -> PresetData:
    """Return the document of a preset."""
    return _document(_check.one_of(name, NAMES, argument="name of a preset"))


@cache
def _document(name: str) -> PresetData:
    plain = json_document(files("freightrisk").joinpath("programme", "presets", f"{name}.json").read_bytes())
    items = {(section, key): Item(**value) for section in SECTIONS for key, value in plain[section].items()}
    return PresetData(plain["name"], plain["title"], plain["chinese"], plain["market"], FrozenDict(items))


def names() -> list[str]:
    """Return the names of the presets.

    Examples
    --------
    >>> from freightrisk import presets
    >>> presets.names()
    ['buyer_protection_1688', 'jd_2023', 'jd_2024', 'return_treasure', 'taobao_buyer', 'taobao_seller']
    """
    return [*NAMES]


def table(name: str) -> "pd.DataFrame":
    """Return the numbers of a preset, each with its source.

    Parameters
    ----------
    name : str
        A name of `names`.

    Returns
    -------
    pandas.DataFrame
        A row for each value: section, item, value (None if nobody published it), unit, source (a code of
        docs/presets), grade, use and note. The grade is "article" for the articles that the presets began with, "A"
        (official, or a major outlet), "B" (trade press), "C" (reposts and single voices), "assumed" (ours, with the
        reason in the note) or "not published". The use is "applied" (the function of the preset takes the value),
        "argument" (the caller gives it), "illustrative" (see `illustrative`) or "fact" (for the reader).

    Raises
    ------
    InputError
        For an unknown name.

    Examples
    --------
    >>> from freightrisk import presets
    >>> numbers = presets.table("buyer_protection_1688")
    >>> numbers.loc[numbers["section"] == "fees", ["item", "value", "source", "grade"]].head(2).values.tolist()
    [['technical service: rate', 60, 'S3-13', 'article'], ['technical service: most', 1800, 'S3-14', 'article']]
    """
    import pandas as pd

    rows = [
        (section, key, one.value, one.unit, one.source, one.grade, one.use, one.note)
        for (section, key), one in preset_data(name).items.items()
    ]
    columns = ["section", "item", "value", "unit", "source", "grade", "use", "note"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(value=pd.Series([row[2] for row in rows], dtype=object))


def illustrative(name: str) -> dict[str, tuple[float, float]]:
    """Return illustrative events of a preset: numbers without any source, for trials and examples only.

    Parameters
    ----------
    name : str
        A name of `names`.

    Returns
    -------
    dict of str to (float, float)
        Frequency and severity of each event; empty if the preset has no events.

    Examples
    --------
    >>> from freightrisk import presets
    >>> presets.illustrative("buyer_protection_1688")["transit loss"]
    (0.0002, 1.0)
    """
    data = preset_data(name)
    events = [key.removesuffix(": frequency") for section, key in data.items if key.endswith(": frequency")]
    return {
        event: (data("covers", f"{event}: frequency"), data("covers", f"{event}: severity"))
        for event in events
        if data.items["covers", f"{event}: frequency"].use == "illustrative"
    }
