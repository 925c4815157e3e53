"""The command line, `jobseal`."""
