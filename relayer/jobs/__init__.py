"""Jobs: submission, the one transition, dispatch, the workers and their handlers."""
