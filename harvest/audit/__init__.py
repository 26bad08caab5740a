"""Audits: dated snapshots compared with each other and held against rules, and the report."""
