"""Finished tables in DuckDB: in BigQuery's shape too, as IDC's indices, with later columns.

In the order of their use: `output_files`, `uses`, `dicom_shapes`, `dicom_values`, `dicom_all`,
`connection`, `queries`, `bigquery`, `attribute_use`, `index_sql`, `indices`, `columns`, `census`.
"""
