"""The trust stores of the machine, and the CA of the proxy in them."""
