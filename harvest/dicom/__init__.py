"""DICOM without input or output: bytes in, headers, values and the place of the pixels out.

In the order of their use: `tags`, `dictionary`, `paths`, `first_ranges`, `window`, `asking`,
`elements`, `vrs`, `walk`, `header`, `alike`, `offsets`, `values`, `converter`, `json_values`,
`header_json`, `json_dataset`.
"""
