"""Raw frames against the HTTP/2 session: what RFC 9113 and RFC 7541 require of a server.

The cases cover the generic, hpack and http2 sections of h2spec, and CONNECT. They are written from the RFCs.
"""
