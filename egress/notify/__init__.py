"""Notifications: messages about denials, approvals and faults, for the webhooks of the operator."""
