"""Descriptions of addresses, routes and decisions for C{egress explain}."""

from __future__ import annotations

from egress.config.model import ProxyConfig
from egress.interfaces import IAddressGuard
from egress.model.address_classes import forbidden, is_private
from egress.model.authority import IPAddress, Origin
from egress.model.decision import Decision
from egress.model.route import Route


def describe(guard: IAddressGuard, addresses: tuple[IPAddress, ...], port: int) -> list[str]:
    """Describe each address, and whether the address guard allows it."""
    return [f"{address}: {_class_of(guard, address, port)}" for address in addresses]


def _class_of(guard: IAddressGuard, address: IPAddress, port: int) -> str:
    what = forbidden(address)
    if guard.refusal(address, port) is None:
        kind = "a private address" if is_private(address) else "a public address"
        return kind if what is None else f"{what}, permitted by --allow-address"
    return f"rejected, {what or ('a private address' if is_private(address) else 'excluded by the configuration')}"


def of_route(route: Route) -> str:
    """Describe the resolved addresses of a route."""
    port, upstream = route.origin.authority.port, route.upstream
    if upstream is not None and upstream.resolves_names:
        return f"port {port} is permitted; {upstream.authority} resolves the name"
    many = len(route.addresses)
    return f"{many} addresses, all permitted" if many > 1 else "one address, permitted"


def of_way(config: ProxyConfig, route: Route, origin: Origin) -> str:
    """Describe the way to an origin: directly, or through an upstream proxy."""
    upstream = route.upstream
    if upstream is not None:
        return f"through {upstream}, {'in a tunnel' if route.connect else 'without a tunnel'}"
    why = None
    if config.upstream_http or config.upstream_https:
        variable, other = ("HTTP_PROXY", "http") if origin.scheme == "https" else ("HTTPS_PROXY", "https")
        is_bypassed = config.bypass.matches(origin.authority)
        why = "--no-proxy" if is_bypassed else f"{variable} applies only to {other}"
    return "directly" if why is None else f"directly, not through the upstream proxy ({why})"


def of_terms(decision: Decision) -> list[str]:
    """Describe the obligations of a decision; of header fields only the names, because values may be secret."""
    terms = decision.obligations
    details = []
    if decision.observed is not None:
        details.append(f"observe mode: in enforce mode, the result would be {decision.observed}")
    if decision.source is not None:
        details.append(f"from: {decision.source}")
    if terms.max_bytes is not None:
        details.append(f"at most {terms.max_bytes} bytes")
    if terms.expires_in is not None:
        details.append(f"authorized again after {terms.expires_in:g} s")
    details += [f"permits {budget} ([rules.{budget.table}])" for budget in terms.budgets]
    if terms.messages is not None:
        senders = " and ".join(sorted(each.value for each in terms.messages.directions))
        details.append(f"authorizes each message of {senders}, of at most {terms.messages.max_size} bytes")
    changed = [name.decode("latin-1") for name, _ in (*terms.set_headers, *terms.secret_headers)]
    if changed:
        details.append(f"sets {', '.join(changed)}")
    if terms.remove_headers:
        removed = ", ".join(name.decode("latin-1") for name in terms.remove_headers)
        details.append(f"removes {removed}")
    return details
