"""From finished job to confirmed: which jobs are sealed together, what becomes of their batch, and their receipts."""
