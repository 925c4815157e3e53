"""Dead letters: failed jobs, and giving them another turn."""
