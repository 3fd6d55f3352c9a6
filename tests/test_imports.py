"""What importing costs, and which module may import which."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nmm"
MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py"))

# The direction of flow; a module imports from its own layer and from those above it alone. `record` stands before
# `training` because a trained run is handed over as its record.
LAYERS = (
    ("nmm.config", "nmm.architectures"),
    ("nmm.data",),
    ("nmm.models",),
    ("nmm.record", "nmm.provenance"),
    ("nmm.training",),
    ("nmm.sweep",),
    ("nmm.studies",),
    ("nmm.runs",),
    ("nmm.laws", "nmm.paper", "nmm.claims"),
    ("nmm.atlas",),
    ("nmm.charts", "nmm.charts.tables"),
    ("nmm.book",),
    ("nmm.cli", "nmm.__main__"),
)
TORCH = {"torch", "composer", "torchmetrics"}


def within(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def layer(module: str) -> int:
    if module == "nmm.charts.tables":
        return layer("nmm.charts")
    found = [number for number, members in enumerate(LAYERS)
             if any(within(module, member) for member in members if member != "nmm.charts.tables")]
    assert len(found) == 1, f"{module} has no place in the order of layers: give it one"
    return found[0]


def imported(module: str) -> set[str]:
    """Full names of what a module imports anywhere in it, within functions too."""
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import: the direction of flow is not seen in it"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else node.module)
    return names


@pytest.mark.parametrize("module", [name for name in MODULES if name != "nmm"])
def test_data_flows_one_way(module):
    for name in imported(module):
        if within(name, "nmm") and name != "nmm":
            assert layer(name) <= layer(module), f"{module} imports {name}, which is to its right"


def test_modules_form_no_cycle():
    edges = {module: {name for name in imported(module) if name in MODULES and name not in ("nmm", module)} for module in MODULES}
    edges["nmm.book.chapter"].remove("nmm.book.readable")       # the one left: a chapter being run shows its own prose
    done: set[str] = set()
    while len(done) < len(edges):
        ready = {module for module, names in edges.items() if module not in done and names <= done}
        assert ready, f"a cycle among {sorted(set(edges) - done)}"
        done |= ready


def test_laws_are_core_then_forms_then_use():
    """Inside `nmm.laws` too nothing points to its right, and the packages form no cycle, functions counted."""
    order = ("nmm.laws.core", "nmm.laws.forms", "nmm.laws.use")
    inner = [module for module in MODULES if any(within(module, package) for package in order)]
    edges = {module: {name for name in imported(module) if name in inner and name != module} for module in inner}
    for module, names in edges.items():
        here = next(place for place, package in enumerate(order) if within(module, package))
        for name in names:
            assert any(within(name, package) for package in order[: here + 1]), f"{module} imports {name}, which is to its right"
    done: set[str] = set()
    while len(done) < len(edges):
        ready = {module for module, names in edges.items() if module not in done and names <= done}
        assert ready, f"a cycle among {sorted(set(edges) - done)}"
        done |= ready


def test_composer_is_imported_for_training_alone():
    users = {module for module in MODULES if any(name.split(".")[0] == "composer" for name in imported(module))}
    assert "nmm.training.run" in users
    assert all(module == "nmm.training.run" or within(module, "nmm.training") for module in users), users


def test_laws_know_no_runs_and_no_torch():
    for module in MODULES:
        if within(module, "nmm.laws"):
            assert not any(name.split(".")[0] in TORCH for name in imported(module)), module


COST = """
import json, resource, sys
before = resource.getrusage(resource.RUSAGE_SELF)
import {module}
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({{"cpu": cpu, "modules": sorted(sys.modules)}}))
"""


def cost(module: str) -> dict:
    """CPU seconds of the import in a fresh process, and the modules it loaded."""
    done = subprocess.run([sys.executable, "-c", COST.format(module=module)], capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", ["nmm", "nmm.laws"])
def test_import_is_cheap(module):
    """Under one second of CPU, the best of three: another process on the machine may slow one."""
    tries = [cost(module) for _ in range(3)]
    assert not TORCH & {name.split(".")[0] for name in tries[0]["modules"]}
    assert min(one["cpu"] for one in tries) < 1.0, [one["cpu"] for one in tries]


def test_no_torch_without_training():
    """Reading runs, planning a sweep and starting its workers need no torch."""
    names = ("config", "architectures", "training.schedule", "record", "runs", "sweep", "studies", "data.batches.reading", "cli")
    loaded = cost(", ".join(f"nmm.{name}" for name in names))["modules"]
    assert not TORCH & {name.split(".")[0] for name in loaded}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_short(path):
    """400 lines is the limit; a longer file is split."""
    assert len(path.read_text().splitlines()) <= 400
