"""Policy: bounded threads, retries, digests, budgets. Knows the ports, never a store."""
