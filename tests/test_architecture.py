"""ARCHITECTURE.md draws the package as it is: its tree, and which module may import which."""

import ast
import dis
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "freightrisk"
DRAWING = ROOT / "ARCHITECTURE.md"
BUILT = (".so", ".pyd", ".c", ".html", ".pyc")

if not (PACKAGE.is_dir() and DRAWING.is_file()):
    pytest.skip("needs the checkout: ARCHITECTURE.md and src", allow_module_level=True)


def section(title: str) -> str:
    """Return the text of one section of ARCHITECTURE.md."""
    text = DRAWING.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        pytest.fail(f"ARCHITECTURE.md has no section '{title}'")
    return found[1]


def drawn_files() -> dict[str, str]:
    """Return the files that the tree draws, each with what is said of it."""
    block = re.search(r"```\nsrc/freightrisk/\n(.*?)```", section("The tree"), re.DOTALL)
    if block is None:
        pytest.fail("ARCHITECTURE.md draws no tree of src/freightrisk/")
    files, folder = {}, ""
    for line in block[1].splitlines():
        indent, name, said = re.fullmatch(r"( +)(\S+) *(.*)", line).groups()
        if name.endswith("/"):
            folder = name
        else:
            stem, endings = re.fullmatch(r"([^{]*)(?:\{(.*)\})?", name).groups()
            for ending in (endings or "").split(","):
                files[(folder if len(indent) > 2 else "") + stem + ending] = said
    return files


def package_files() -> set[str]:
    """Return the files of the package, without what is built."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in BUILT and "__pycache__" not in path.parts
    }


def without_init(files: set[str]) -> set[str]:
    return {file for file in files if Path(file).name != "__init__.py"}


def layers() -> list[tuple[set[str], set[str]]]:
    """Return the rows of the table of layers: modules, and what they may import besides each other."""
    rows: list[tuple[set[str], set[str]]] = []
    for modules, allowed in re.findall(r"^\| (`.+?) \| (.+?) \|$", section("The layers"), re.MULTILINE):
        named = set(re.findall(r"`(\w+)`", allowed))
        if allowed == "all of the above":
            named = set().union(*(row for row, _ in rows))
        elif allowed != "nothing" and not named:
            pytest.fail(f"ARCHITECTURE.md: '{allowed}' is no list of modules")
        rows.append((set(re.findall(r"`(\w+)`", modules)), named))
    return rows


def layer_of(path: Path) -> str:
    """Return the first name of a module below the package: its folder, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removesuffix(".pyx")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of everything of ours that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from ((f"{'.' * node.level}{node.module or ''}", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def imported_layers(path: Path, known: set[str]) -> Iterator[str]:
    """Yield the layer of each import of ours; a public name of the package stands for `__init__`."""
    for module, name in imports(path):
        if module == "freightrisk":
            yield name if name in known else "__init__"
        elif module.startswith("freightrisk."):
            yield module.split(".")[1]


SOURCES = sorted(PACKAGE.rglob("*.py"))
KERNELS = sorted(PACKAGE.glob("*.pyx"))


def test_the_tree_is_the_package():
    drawn = drawn_files()
    assert without_init(set(drawn)) == without_init(package_files())
    assert [file for file, said in drawn.items() if not said] == []


def test_every_module_has_a_layer_and_only_one():
    named = [module for row, _ in layers() for module in row]
    assert len(named) == len(set(named))
    assert set(named) == {layer_of(path) for path in [*SOURCES, *KERNELS]}


def test_a_layer_names_only_layers_above_it():
    above: set[str] = set()
    for row, allowed in layers():
        assert allowed <= above, f"{sorted(row)} may not import {sorted(allowed - above)}, which stand below"
        above |= row


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_layers(path):
    rows = layers()
    row, allowed = next((row, allowed) for row, allowed in rows if layer_of(path) in row)
    known = set().union(*(row for row, _ in rows))
    assert set(imported_layers(path, known)) <= row | allowed
    assert [module for module, _ in imports(path) if module.startswith(".")] == []


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_kernels_import_kernels_alone(path):
    row, allowed = next((row, allowed) for row, allowed in layers() if path.stem in row)
    for source in (path, path.with_suffix(".pxd")):
        text = source.read_text(encoding="utf-8") if source.is_file() else ""
        modules = re.findall(r"^[ \t]*(?:from|import|cimport)[ \t]+([\w.]+)", text, re.MULTILINE)
        assert modules or not text
        ours = {module.removeprefix("freightrisk.") for module in modules if module.startswith((".", "freightrisk"))}
        assert ours <= (row | allowed) & {kernel.stem for kernel in KERNELS}


def test_what_the_tariff_takes_from_the_models():
    taken = {
        (module, name)
        for path in sorted((PACKAGE / "tariff").glob("*.py"))
        for module, name in imports(path)
        if module.startswith("freightrisk.models")
    }
    assert taken == {
        ("freightrisk.models.claim_counts", "CappedCount"),
        ("freightrisk.models.claim_counts", "ClaimCount"),
        ("freightrisk.models.claim_counts", "LineCount"),
        ("freightrisk.models.claim_counts", "NegativeBinomialCount"),
        ("freightrisk.models.limited_sums", "limited_shares"),
        ("freightrisk.models.lines", "LONGEST_ORDER"),
        ("freightrisk.models.payouts", "checked_shape"),
        ("freightrisk.models.merchant_experience", "MerchantExperience"),
        ("freightrisk.models.merchant_experience", "PROCESSES"),
        ("freightrisk.models.merchant_experience", "merchant_experience"),
        ("freightrisk.models.merchant_experience", "merchant_periods"),
        ("freightrisk.models.fitted", "FittedModel"),
        ("freightrisk.models.fitted_effect", "LimitedMeans"),
        ("freightrisk.models.freight", "FittedSchedule"),
        ("freightrisk.models.limited_means", "RATIOS"),
        ("freightrisk.models.limited_means", "family_test"),
        ("freightrisk.models.lines", "expected_line_claims"),
        ("freightrisk.models.shapes", "SCALE_FAMILIES"),
        ("freightrisk.models.shapes", "ScaleShape"),
        ("freightrisk.models.shapes", "SeverityShape"),
    }


def modules_imported(path: Path) -> set[Path]:
    """Return the modules of ours that a module imports, inside functions and for types too."""
    found = set()
    for module, name in imports(path):
        if module.split(".")[0] == "freightrisk":
            base = PACKAGE.joinpath(*module.split(".")[1:])
            candidates = (base / f"{name}.py", base.with_suffix(".py"))
            found |= {candidate for candidate in candidates if candidate.is_file() and candidate != path}
    return found


def test_no_module_imports_itself_by_way_of_others():
    graph = {path: modules_imported(path) for path in SOURCES if path.name != "__init__.py"}
    ready: set[Path] = set()
    while True:
        free = {path for path in graph.keys() - ready if (graph[path] & graph.keys()) <= ready}
        if not free:
            break
        ready |= free
    ring = sorted(path.relative_to(PACKAGE).as_posix() for path in graph.keys() - ready)
    assert ring == [], f"these import each other, or what does: {ring}"


# Sizes

LONGEST_MODULE, LONGEST_BODY, MOST_ARGUMENTS = 450, 45, 15
CODE = [path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".pyx", ".pxd", ".h")]


def bodies(tree):
    """Yield the functions of a module, each with the lines of its body without the docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node) is not None
            body = node.body[1:] if has_docstring else node.body
            yield node.name, body[-1].end_lineno - body[0].lineno + 1 if body else 0


def kernel_bodies(text):
    """Yield the functions of a kernel, each with the lines of its body without the docstring."""
    for found in re.finditer(
        r"^( *)(?:cdef|def) [^\n]*\((?:[^\n]|\n(?=\1 {4}))*?:\n((?:\1 {4}[^\n]*\n|\n)+)", text, re.MULTILINE
    ):
        body = re.sub(r'\A\s*""".*?"""\n', "", found[2], count=1, flags=re.DOTALL)
        yield found[0].split("(")[0].split()[-1], len(body.rstrip().splitlines())


def constructors(tree):
    """Yield the classes of a module, each with the arguments of its constructor: those of __init__, or fields."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            own = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            given = own[0].args if own else None
            yield node.name, len(fields) if given is None else len(given.args) + len(given.kwonlyargs) - 1


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_functions_and_constructors_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_MODULE
    if path.suffix == ".py":
        tree = ast.parse(text)
        assert [(name, size) for name, size in bodies(tree) if size > LONGEST_BODY] == []
        assert [(name, count) for name, count in constructors(tree) if count > MOST_ARGUMENTS] == []
    elif path.suffix != ".h":
        assert [(name, size) for name, size in kernel_bodies(text) if size > LONGEST_BODY] == []


def test_the_law_of_sizes_sees_what_it_looks_for():
    text = "cdef int long(int a,\n              int b) noexcept:\n" + '    """Doc."""\n' + "    a += b\n" * 50
    assert list(kernel_bodies(text)) == [("long", 50)]
    source = "class Noun:\n" + "".join(f"    field_{k}: int\n" for k in range(17))
    assert list(constructors(ast.parse(source))) == [("Noun", 17)]
    assert list(bodies(ast.parse('def f():\n    """Doc."""\n' + "    pass\n" * 46))) == [("f", 46)]


# Interrupts


def loops_outside_their_block(source):
    """Yield the functions with a jump back that is not covered by the `with` or `try` in which its loop stands."""

    def codes(code):
        yield code
        for constant in code.co_consts:
            if isinstance(constant, type(code)):
                yield from codes(constant)

    for code in codes(compile(source, "source", "exec")):
        steps = {step.offset: step for step in dis.get_instructions(code)}
        blocks = [e for e in dis._parse_exception_table(code) if steps[e.target].opname == "PUSH_EXC_INFO"]

        def around(offset, blocks=blocks):
            return {block.target for block in blocks if block.start <= offset < block.end}

        for step in steps.values():
            if step.opname == "JUMP_BACKWARD" and around(step.jump_target) - around(step.offset):
                yield code.co_qualname


# A look that takes nothing and lets go of nothing: an interrupt passes by its `except` anyway.
HARMLESS = {"Quoter._codes"}


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python 3.11 covers the jumps, and 3.12 has others besides")
@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_interrupt_passes_by_the_end_of_a_block(path):
    assert set(loops_outside_their_block(path.read_text(encoding="utf-8"))) <= HARMLESS


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python 3.11 covers the jumps, and 3.12 has others besides")
def test_a_loop_whose_jump_is_outside_is_seen():
    bad = "def f(x):\n    with x:\n        for one in x:\n            if one:\n                one()\n"
    assert list(loops_outside_their_block(bad)) == ["f"]
    assert list(loops_outside_their_block("def f(x):\n    with x:\n        for one in x:\n            one()\n")) == []
