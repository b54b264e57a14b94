"""Budgets: how many requests and bytes rules permit, counted in a process or together with other replicas."""
