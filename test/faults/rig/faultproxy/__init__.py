"""A JSON-RPC node that can be made to misbehave: a proxy before a real one, over HTTP and WebSocket."""
