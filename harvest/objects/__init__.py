"""One object at a time: its header, the object as a file, its frames by their own bytes."""
