"""The faults, by the letters of their classes."""
