"""What jobs do: the protocol of a handler, how handlers are found, and the built-in ones."""
