"""Deaths by SIGKILL after each effect of the chain side: what it commits, sends and keeps."""
