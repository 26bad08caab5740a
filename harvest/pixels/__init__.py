"""Pixels of one object or series: regions of slides, segments of segmentations, Dask arrays."""
