"""Which objects a config means: SQL over the IDC index, a manifest, a prefix or a folder."""
