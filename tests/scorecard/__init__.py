"""The scorecard: a corpus of hostile messages, and the page with each outcome (C{docs/reference/scorecard.md}).

A case (L{tests.scorecard.cases}) is data.  The tests run it in memory against the sessions of this proxy, and over TCP
against any proxy.  The judge evaluates the observed bytes with its own HTTP/1 readers, which share no code with the
proxy.
"""
