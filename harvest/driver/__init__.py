"""The process that holds the output: Dask workers read its partitions, it commits the tables.

In the order of their use: `runner`, `cluster`, `jobs`, `versions`, `isolate`, `carry`,
`same_objects`, `spool`, `publish`, `tally`, `retry`, `progress`, `meter`, `record`, `cost`,
`status`.
"""
