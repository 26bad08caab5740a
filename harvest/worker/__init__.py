"""What runs on a Dask worker: one partition, object by object, by ranged requests."""
