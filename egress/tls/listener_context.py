"""TLS towards clients that connect to the proxy itself over C{https}."""

from __future__ import annotations

from OpenSSL import SSL, crypto

from egress.config.listener import ListenerTls
from egress.model.client_tls import ClientTls
from egress.tls.contexts import tls_context
from egress.tls.host_contexts import select_http1, select_protocol, set_ciphers
from egress.tls.pem import trust_certificates, use_certificate


def _verify(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
    return bool(ok)


def listener_context(tls: ListenerTls, accepted: ClientTls = ClientTls.MODERN, *, http2: bool = False) -> SSL.Context:
    """Create the context of one listener.

    @param tls: the TLS settings of the listener.
    @param accepted: the accepted cipher suites.
    @param http2: whether clients can select HTTP/2.
    @raise egress.tls.pem.TrustError: if one of the files cannot be used.
    """
    context = tls_context(SSL.TLS_SERVER_METHOD)
    set_ciphers(context, accepted)
    context.set_alpn_select_callback(select_protocol if http2 else select_http1)
    use_certificate(context, tls.certificate, tls.key, tls.chain)
    # A resumed session would not verify the certificate of the client again. Also, the keys of the tickets would not
    # change while the process runs, because this context lives as long (decision 17).
    context.set_options(SSL.OP_NO_TICKET)
    if tls.client_ca is not None:
        # Clients with several certificates select one by these names.
        trusted = trust_certificates(context, tls.client_ca)
        context.set_client_ca_list([crypto.X509.from_cryptography(each).get_subject() for each in trusted])
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    return context
