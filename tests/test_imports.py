"""The structure of the package: imports run one way, and each heavy library has its one place."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import harvest

PACKAGE = Path(harvest.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
ORDER = [
    *("meaning", "errors", "sql", "locked", "show", "hosts", "urls"),
    *("dicom", "config", "frames", "store", "output", "cohort", "table", "plan"),
    *("worker", "objects", "driver", "pixels", "views", "audit", "cli", "__main__"),
]
"""Packages and single modules; each imports only what stands before it."""
PLACES = {
    "PIL": {"harvest.pixels.picture"},
    "boto3": {"harvest.store.with_boto3", "harvest.store.with_obstore"},
    "dask.array": {"harvest.pixels.frame_array"},
    "distributed": {
        *(f"harvest.driver.{name}" for name in ("clients", "cluster", "dask_report", "jobs")),
        "harvest.driver.workers",
        "harvest.config.cluster_class",
        "harvest.plan.sizing",
    },
    "duckdb": {
        "harvest.cohort.index_connection",
        "harvest.cohort.resolve",
        "harvest.cohort.manifest",
        "harvest.audit.sandbox",
        "harvest.locked",
        "harvest.views.connection",
        "harvest.views.output_files",
        "harvest.views.queries",
    },
    "google": {"harvest.store.with_google", "harvest.store.with_obstore"},
    "idc_index": {"harvest.cohort.idc_index"},
    "idc_index_data": {"harvest.cohort.idc_index"},
    "jinja2": {"harvest.audit.report"},
    "obstore": {"harvest.store.with_obstore"},
    "pyarrow.parquet": {"harvest.table.parquet"},
    "pydantic": {f"harvest.config.{name}" for name in ("audit", "parsing", "section", "sections")},
    "pydicom.pixels": {"harvest.objects.decoding"},
    "sqlglot": {"harvest.views.attribute_use", "harvest.views.bigquery", "harvest.views.index_sql"},
    "rich": {"harvest.driver.progress", "harvest.show"},
}


def imported(module: str) -> set[str]:
    """Return what a module imports, at its top and inside functions, for types or for use."""
    found: set[str] = set()
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*base, *([node.module] if node.module else [])])
            source = source if node.level else node.module or ""
            found |= {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source
                for alias in node.names
            }
    return found


def place(module: str) -> str:
    """Return the package of a module, or the module itself where it stands alone."""
    return module.split(".")[1]


def test_imports_run_one_way() -> None:
    graph = {
        # the package's front page offers what lies behind it, and nothing needs the front page
        module: {name for name in imported(module) if name in MODULES and name != "harvest"}
        for module in MODULES
        if module != "harvest"
    }
    assert list(TopologicalSorter(graph).static_order())
    assert {place(module) for module in graph} == set(ORDER)
    backwards = [
        f"{module} imports {name}"
        for module, names in graph.items()
        for name in names
        if ORDER.index(place(name)) > ORDER.index(place(module))
    ]
    assert not backwards


@pytest.mark.parametrize("package", [name for name in ORDER if (PACKAGE / name).is_dir()])
def test_a_package_names_its_modules(package: str) -> None:
    text = ast.get_docstring(ast.parse(MODULES[f"harvest.{package}"].read_text(encoding="utf-8")))
    inside = {path.stem for path in (PACKAGE / package).glob("*.py")} - {"__init__"}
    assert inside <= set(re.findall(r"`(\w+)`", text or ""))


@pytest.mark.parametrize("library", PLACES)
def test_each_heavy_library_has_its_place(library: str) -> None:
    users = {
        module
        for module in MODULES
        if any(name == library or name.startswith(f"{library}.") for name in imported(module))
    }
    assert users <= PLACES[library]
    assert users
