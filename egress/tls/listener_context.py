"""TLS towards clients that reach the proxy itself by C{https}."""

from __future__ import annotations

from OpenSSL import SSL, crypto

from egress.config.listener import ListenerTls
from egress.model.client_tls import ClientTls
from egress.tls.contexts import tls_context
from egress.tls.host_contexts import HTTP1, set_ciphers
from egress.tls.pem import trust_certificates, use_certificate


def _judge(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
    return bool(ok)


def listener_context(tls: ListenerTls, accepted: ClientTls = ClientTls.MODERN) -> SSL.Context:
    """Make the context of one listening port.

    @param accepted: which suites.

    @raise egress.tls.pem.TrustError: when one of the files cannot be used.
    """
    context = tls_context(SSL.TLS_SERVER_METHOD)
    set_ciphers(context, accepted)
    context.set_alpn_select_callback(lambda _, offered: HTTP1 if HTTP1 in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
    use_certificate(context, tls.certificate, tls.key, tls.chain)
    if tls.client_ca is not None:
        # Clients with several certificates choose by these names.
        trusted = trust_certificates(context, tls.client_ca)
        context.set_client_ca_list([crypto.X509.from_cryptography(each).get_subject() for each in trusted])
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _judge)
        # A certificate is verified in each handshake: what was resumed would not be.
        context.set_options(SSL.OP_NO_TICKET)
    return context
