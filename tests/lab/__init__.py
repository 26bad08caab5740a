"""A laboratory of real object stores with real files, standing in for IDC's public buckets."""

from tests.lab.laboratory import Lab, lab, start_lab, stop_lab
from tests.lab.servers import Server

__all__ = ["Lab", "Server", "lab", "start_lab", "stop_lab"]
