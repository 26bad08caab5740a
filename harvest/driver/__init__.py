"""The process that holds the output: Dask workers read its partitions, it commits the tables."""
