"""How much may come in: rates a subject, and lock-outs; knows no tenants, no HTTP."""
