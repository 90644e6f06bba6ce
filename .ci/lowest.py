"""Prints the lowest allowed version of each requirement of the package and of some of its extras, one a line.

python .ci/lowest.py tests >lowest.txt && python -m pip install -c lowest.txt -e ".[tests]"
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(extra: str | None = None) -> dict[str, str]:
    """Return the lowest version of each requirement by name, for the package itself or for one extra."""
    needs = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found: dict[str, str] = {}
    for need in needs:
        name, inner, version = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?(?:>=([\w.]+))?", need).groups()
        if name == PROJECT["name"]:  # an extra that includes other extras
            for other in inner.split(","):
                found |= lowest(other)
        else:
            found[name] = version
    return found


if __name__ == "__main__":
    asked = lowest()
    for extra in sys.argv[1:]:
        asked |= lowest(extra)
    print(*(f"{name}=={version}" for name, version in sorted(asked.items())), sep="\n")
