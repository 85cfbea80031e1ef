"""Promotion of registered versions: gates, the evidence that they judge, and the ledger."""
