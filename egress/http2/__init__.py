"""HTTP/2 as frames and events (RFC 9113), for connections with clients and with origins."""
