"""The fault lab: real stores behind a proxy that breaks what it is told to."""
