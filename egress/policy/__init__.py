"""The embedded policy: rules, the matching of requests, and the parsing, checking and learning of policies."""
