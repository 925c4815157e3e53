"""Jobs: submit, read, list, and what they leave: output and receipt."""
