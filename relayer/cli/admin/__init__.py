"""`jobseal admin …`: what the platform's operator does, from a shell that may reach the database."""
