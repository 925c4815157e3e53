"""Administration: tenants, their plans and keys, and the caps of kinds, by keys of the platform's own tenants."""
