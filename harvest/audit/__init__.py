"""Audits: dated snapshots compared with each other and held against rules, and the report.

In the order of their use: `auditor`, `sandbox`, `pairing`, `comparison`, `diff`, `require`,
`rules`, `listings`, `report`, `plots`.
"""
