"""The seal: what a job commits to, the trees over it, and the receipt that proves it. Pure functions only."""
