"""OAuth 2.0: access tokens in place of keys."""
