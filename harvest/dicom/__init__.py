"""DICOM without input or output: bytes in, headers, values and the place of the pixels out.

In the order of their use: `tags`, `first_ranges`, `window`, `asking`, `elements`, `walk`, `header`,
`alike`, `offsets`, `values`, `converter`, `header_json`, `json_dataset`.
"""
