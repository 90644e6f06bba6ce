"""Prints the lowest versions that pyproject.toml allows of what the package and some of its extras need, one a line.

python .ci/lowest.py tests >lowest.txt && python -m pip install -c lowest.txt -e ".[tests]"
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(extra: str | None = None) -> dict[str, str]:
    """Return the lowest version by name, of the package's own needs or of an extra's."""
    needs = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found: dict[str, str] = {}
    for need in needs:
        name, inner, version = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?(?:>=([\w.]+))?", need).groups()
        if name == PROJECT["name"]:
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
