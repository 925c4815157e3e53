"""Records, the life of a job, ids and errors: what every part speaks of. No input or output."""
