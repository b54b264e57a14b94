"""Programs behind the proxy: the settings of a client, and a proxy for one command."""
