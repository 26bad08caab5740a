"""Where tests lie: a module of ``harvest/`` has its own in the same place of ``tests/``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import harvest

PACKAGE: Final = Path(harvest.__file__).parent
TESTS: Final = Path(__file__).parent
ELSEWHERE: Final = {
    # one contract: these files run over every implementation
    "output/bucket": "output/test_output",
    "output/folder": "output/test_output",
    "output/protocol": "output/test_output",
    "store/with_boto3": "store/test_store",
    "store/with_google": "store/test_store",
    "store/with_obstore": "store/test_store",
    # both offset tables are checked by the same rules
    "frames/basic": "frames/test_tables",
    "frames/entries": "frames/test_tables",
    "frames/extended": "frames/test_tables",
    # cut from the module that uses them, whose tests run through them
    "audit/pairing": "audit/test_comparison",
    "dicom/dictionary": "dicom/test_tags",
    "dicom/json_values": "dicom/test_header_json",
    "dicom/paths": "dicom/test_tags",
    "dicom/vrs": "dicom/test_walk",
    "driver/clients": "driver/test_cluster",
    "driver/dask_report": "driver/test_cluster",
    "driver/same_objects": "driver/test_carry",
    "driver/workers": "driver/test_cluster",
    "locked": "audit/test_sandbox",
    "views/dicom_shapes": "views/test_dicom_all",
    "views/dicom_values": "views/test_dicom_all",
    # who asks, and the files that are asked
    "views/output_files": "views/test_queries",
    "views/uses": "views/test_attribute_use",
    # without commands there is nothing to give options to
    "cli/options": "cli/test_objects",
    # what all sections have in common
    "config/section": "config/test_sections",
    # an object is read by its turns
    "worker/reading": "worker/test_object_reader",
    # every command runs by it
    "__main__": "cli/test_group",
}
"""Modules whose tests lie in the file of another."""
OF_NO_MODULE: Final = {
    "cli/test_mistakes": "what the command line says of wrong use, whatever the command",
    "driver/test_tls": "clusters that are reached by TLS, from certificates to rows",
    "frames/test_decoded": "frames of real files, against pydicom's decoders",
    "frames/test_frames": "locate_frames, which is the package's own",
    "frames/test_tables": "what both offset tables have in common",
    "output/test_output": "the contract of all outputs",
    "store/test_store": "the contract of all transports",
}
"""Test files of a package that test no single module of it."""


def modules() -> set[str]:
    found = {path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")}
    return {str(path) for path in found if path.name != "__init__"}


def place_of(module: str) -> str:
    path = Path(module)
    return str(path.with_name(f"test_{path.name}"))


def test_every_module_has_its_tests() -> None:
    without = {
        each for each in modules() if not (TESTS / place_of(each)).with_suffix(".py").exists()
    }
    assert without == set(ELSEWHERE)
    assert [each for each in ELSEWHERE.values() if not (TESTS / f"{each}.py").exists()] == []


def test_every_place_of_a_package_has_its_module() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    found = {
        str(path.relative_to(TESTS).with_suffix(""))
        for package in packages
        for path in (TESTS / package).glob("test_*.py")
    }
    assert found - {place_of(each) for each in modules()} == set(OF_NO_MODULE)


def test_no_test_imports_from_another() -> None:
    allowed = {"test_readme_runs.py"}  # asks whether the examples have tests
    for path in TESTS.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        imports = [line for line in lines if line.startswith(("from ", "import "))]
        assert path.name in allowed or not [line for line in imports if "test_" in line], path
