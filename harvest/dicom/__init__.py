"""DICOM without input or output: bytes in, headers, values and the place of the pixels out."""
