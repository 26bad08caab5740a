"""``python -m harvest``."""

from .cli import main

main()
