"""The matching of requests against conditions.  Pure."""
