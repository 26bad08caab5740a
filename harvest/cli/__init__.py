"""The command line: results on stdout, progress and messages on stderr.

In the order of their use: `group`, `options`, `harvesting`, `asking`, `auditing`, `objects`.
What only one command needs is imported inside it: `harvest --help` answers at once.
"""

from . import asking, auditing, harvesting, objects
from .group import main

__all__ = ["asking", "auditing", "harvesting", "main", "objects"]
