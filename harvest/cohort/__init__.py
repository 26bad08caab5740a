"""Which objects a config means: SQL over the IDC index, a manifest, a prefix or a folder.

In the order of their use: `resolve`, `manifest`, `index_connection`, `idc_index`.
"""
