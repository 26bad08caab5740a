"""Pixels of one object or series: regions of slides, segments of segmentations, Dask arrays.

In the order of their use: `functional_groups`, `tiles`, `slides`, `segments`, `frame_array`,
`picture`.
"""
