"""The rows of docs/programmes.md: every fact of the market has its line, and the head counts them as the tables do."""

import re
from collections import Counter
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "programmes.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the checkout: docs/programmes.md")

# Facts of each report that are more than context: 21 + 29 + 14 + 32 + 30 = 126.
FACTS = {
    "S0": (2, 3, *range(6, 21), *range(22, 26)),
    "S1": (*range(1, 13), *range(14, 24), 26, *range(28, 34)),
    "S2": (*range(1, 8), 10, *range(12, 16), 17, 19),
    "S3": (*range(1, 7), *range(9, 28), *range(29, 32), *range(36, 40)),
    "S4": (1, 2, *range(4, 8), *range(9, 13), 14, 15, *range(17, 21), *range(22, 34), 35, 41),
}
NUMBERS = [f"{report}-{k}" for report, facts in FACTS.items() for k in facts]
STATUS = ("works", "in part", "no")
ROW = re.compile(
    r"^\| (S\d-\d+) \| ([a-f](?:, [a-f])?) \| (.+?) \| (.+?) \| (works|in part: .+|no: .+) \|$", re.MULTILINE
)
HEAD = re.compile(r"^\*\*(\d+) rows: (\d+) work, (\d+) in part, (\d+) no\.\*\*$", re.MULTILINE)


def test_every_fact_has_one_row_in_its_order():
    assert len(NUMBERS) == 126
    text = PAGE.read_text("utf-8")
    assert [row[0] for row in ROW.findall(text)] == NUMBERS
    assert len(re.findall(r"^\| S\d-", text, re.MULTILINE)) == len(NUMBERS)  # no row is of another form


def test_no_row_is_context_only():
    assert [row[0] for row in ROW.findall(PAGE.read_text("utf-8")) if row[1] == "f"] == []


def test_the_head_counts_the_rows():
    text = PAGE.read_text("utf-8")
    found = Counter(row[4].split(":")[0] for row in ROW.findall(text))
    (head,) = HEAD.findall(text)
    assert tuple(map(int, head)) == (sum(found.values()), *(found[status] for status in STATUS))
    assert found["works"] >= 110


@pytest.mark.parametrize("report", FACTS)
def test_each_row_has_its_line_in_the_block_of_its_report(report):
    text = PAGE.read_text("utf-8")
    (block,) = re.findall(rf"^### {report}: .*?^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^>>> # (S\d-\d+)$", block, flags=re.MULTILINE)
    assert parts[0] == ""
    assert parts[1::2] == [f"{report}-{k}" for k in FACTS[report]]
    for number, lines in zip(parts[1::2], parts[2::2], strict=True):
        printed = [line for line in lines.splitlines() if line and not line.startswith((">>>", "..."))]
        assert printed, f"{number} shows no result"
