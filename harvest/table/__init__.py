"""Rows and columns: from what was read to typed Arrow, and to files of Arrow IPC and Parquet.

In the order of their use: `schema`, `rows`, `union`, `frame_rows`, `arrow`, `parts`, `parquet`.
"""
