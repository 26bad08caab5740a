"""The process that holds the output: Dask workers read its partitions, it commits the tables.

In the order of their use: `runner`, `cluster`, `clients`, `jobs`, `workers`, `versions`,
`dask_report`, `isolate`, `carry`, `same_objects`, `spool`, `publish`, `tally`, `retry`,
`progress`, `meter`, `record`, `cost`, `status`.
"""
