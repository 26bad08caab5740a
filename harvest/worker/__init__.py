"""What runs on a Dask worker: one partition, object by object, by ranged requests.

In the order of their use: `partition`, `turns`, `reading`, `object_reader`, `outage`.
"""
