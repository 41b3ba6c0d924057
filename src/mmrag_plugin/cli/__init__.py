"""The command line: the only place that prints and that knows exit codes."""

from mmrag_plugin.cli.main import main

__all__ = ["main"]
