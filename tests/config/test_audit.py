"""The ``audit:`` section: what it says, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.config import parse_config
from harvest.config.audit import AuditConfig
from harvest.config.ready import ready_files
from harvest.errors import ConfigError

HEAD = "cohort: {prefix: /data}\noutput: out/audits\naudit:\n"


def mistakes(section: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_config(HEAD + section)
    return str(raised.value)


def test_the_section_of_the_contract() -> None:
    config = parse_config(
        HEAD
        + """
  rule_sets: [offset_tables]
  rules:
    - {name: kvp, severity: error, description: KVP is 120, sql: SELECT url FROM instances}
    - {name: kernel, severity: warning, description: x, require: {not_null: ConvolutionKernel}}
  keep: null
"""
    )
    assert config.audit is not None
    assert list(config.audit.sets) == ["offset_tables"]
    (kvp, kernel) = config.audit.rules
    assert (kvp.name, kvp.severity, kvp.require) == ("kvp", "error", None)
    assert kernel.require is not None
    assert kernel.require.not_null == ["ConvolutionKernel"]


@pytest.mark.parametrize("path", ready_files("rules").values(), ids=lambda p: p.stem)
def test_ready_sets_are_valid_and_no_name_is_taken_twice(path: Path) -> None:
    parse_config(f"{HEAD}  rule_sets: [{path.stem}]\n")


def test_all_ready_sets_go_together() -> None:
    names = ", ".join(ready_files("rules"))
    config = parse_config(f"{HEAD}  rule_sets: [{names}]\n")
    assert config.audit is not None
    assert len(config.audit.sets) == 7


def test_every_mistake_is_told_with_its_line() -> None:
    told = mistakes(
        """  rule_sets: [offset_table]
  keeep: 3
  rules:
    - {name: Kvp, severity: fatal, description: x, sql: SELECT 1}
    - {name: a, severity: info, description: x}
    - {name: a, severity: info, description: x, require: {not_null: KVP, unique: KVP}}
    - {name: b, severity: info, description: x, require: {range: {KVP: [1]}}}
"""
    )
    assert "line 4: rule set 'offset_table' is neither a ready one nor a file; did you mean" in told
    assert "line 5: audit.keeep is no key of the config; did you mean keep?" in told
    assert "line 7: audit.rules.0.name: String should match pattern" in told
    assert "line 7: audit.rules.0.severity: Input should be 'error', 'warning' or 'info'" in told
    assert "line 8: audit.rules.1: needs exactly one of sql and require, found none" in told
    assert "line 9: audit.rules: there is a rule a in audit.rules already" in told
    assert "audit.rules.2.require: needs exactly one of" in told
    assert "line 10: audit.rules.3.require.range.KVP.1 is missing" in told


def test_a_file_of_rules_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "description: mine\nrules:\n"
        "  - {name: x, severity: info, description: y, require: {unique: SOPInstanceUID}}\n"
    )
    assert AuditConfig(rule_sets=[str(file)]).sets[str(file)].rules[0].name == "x"
    file.write_text("description: other\nrules: []\nmore: 1\n")
    other = tmp_path / "other.yaml"
    file.rename(other)
    told = mistakes(f"  rule_sets: [{other}]\n")
    assert "rules: List should have at least 1 item" in told
    assert "more: Extra inputs are not permitted" in told
    other.write_text("{")
    wrong = tmp_path / "wrong.yaml"
    other.rename(wrong)
    assert "cannot be read: ParserError" in mistakes(f"  rule_sets: [{wrong}]\n")


def test_a_name_is_taken_once() -> None:
    own = "{name: both_tables, severity: info, description: x, sql: SELECT 1}"
    told = mistakes(f"  rule_sets: [offset_tables]\n  rules: [{own}]\n")
    assert "audit.rules: there is a rule both_tables in rule set offset_tables already" in told
