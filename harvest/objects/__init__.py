"""One object at a time: its header, the object as a file, its frames by their own bytes.

In the order of their use: `report`, `file`, `inflated`, `frame_table`, `frame_reader`,
`decoding`, `single_frames`, `indexed_file`.
"""
