"""NetworkPolicies of Kubernetes as rules of nftables, for pods in network namespaces.

Only the fields that the chart uses are known.  Any other field is an error, so that no rule is silently ignored.

A pod without a policy for a direction is not limited in it.  A connection needs the permission of the policies of both
ends.  The rules apply after the addresses of Services are translated, and responses are always permitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, Final

import attrs

NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The label that each namespace has."""

_PROTOCOLS: Final = {"TCP": "tcp", "UDP": "udp"}
# Clients of most network plugins wait in vain; an error ends the tests sooner.
_REJECT: Final = ("meta l4proto tcp reject with tcp reset", "reject with icmpx type admin-prohibited")


@attrs.frozen
class Pod:
    """A pod.

    @ivar name: its name, unique in the cluster.
    @ivar namespace: its namespace.
    @ivar labels: its labels.
    @ivar addresses: its addresses: one of IPv4 and one of IPv6.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    addresses: tuple[str, str]


class UnknownField(ValueError):
    """A field that the translation does not know."""


def _known(document: Mapping[str, Any], *fields: str) -> None:
    unknown = set(document) - set(fields)
    if unknown:
        raise UnknownField(f"{', '.join(sorted(unknown))} in {document}")


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector selects labels; an empty one selects everything."""
    _known(selector, "matchLabels", "matchExpressions")
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions", ()))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    _known(expression, "key", "operator")
    if expression["operator"] not in ("Exists", "DoesNotExist"):
        raise UnknownField(f"the operator {expression['operator']}")
    return bool((expression["key"] in labels) == (expression["operator"] == "Exists"))


class Translation:
    """Translates policies into the rules of a router that forwards the packets of all pods.

    @param pods: all pods of the cluster.
    @param policies: the NetworkPolicies.
    @param namespace: the namespace of policies that name none.
    """

    def __init__(self, pods: Sequence[Pod], policies: Iterable[Mapping[str, Any]], namespace: str) -> None:
        self._pods = pods
        self._policies = [(each["metadata"].get("namespace", namespace), each["spec"]) for each in policies]
        for _, spec in self._policies:
            _known(spec, "podSelector", "policyTypes", "ingress", "egress")
            if not set(spec["policyTypes"]) <= {"Ingress", "Egress"}:
                raise UnknownField(f"policyTypes {spec['policyTypes']}")

    def script(self) -> str:
        """Return the script for C{nft -f}; it replaces the rules of an earlier one."""
        chains: list[str] = []
        jumps: list[str] = []
        for pod in self._pods:
            for direction, own, other in (("Egress", "saddr", "daddr"), ("Ingress", "daddr", "saddr")):
                specs = [
                    (namespace, spec)
                    for namespace, spec in self._policies
                    if direction in spec["policyTypes"]
                    and namespace == pod.namespace
                    and selects(spec["podSelector"], pod.labels)
                ]
                if not specs:
                    continue
                chain = f"{direction.lower()}_{pod.name}"
                rules = [rule for namespace, spec in specs for rule in self._rules(spec, direction, namespace, other)]
                chains.append(_chain(chain, [*rules, *_REJECT]))
                jumps += [f"{_family(address)} {own} {address} jump {chain}" for address in pod.addresses]
        hook = "type filter hook forward priority 0; policy accept;"
        # Neighbor discovery of IPv6 is not forwarded, so no rule is needed for it.
        forward = _chain("forward", [hook, "ct state established,related accept", *jumps])
        return "\n".join(
            ["table inet policies", "delete table inet policies", "table inet policies {", *chains, forward, "}\n"]
        )

    def _rules(self, spec: Mapping[str, Any], direction: str, namespace: str, side: str) -> Iterator[str]:
        """Return the permissions of a policy in one direction."""
        peers = "to" if direction == "Egress" else "from"
        for rule in spec.get(direction.lower(), ()):
            _known(rule, peers, "ports")
            for peer in rule[peers]:
                for port in rule["ports"]:
                    for where in self._addresses(peer, namespace, side):
                        yield f"{where} {_port(port)} return"

    def _addresses(self, peer: Mapping[str, Any], namespace: str, side: str) -> Iterator[str]:
        _known(peer, "ipBlock", "namespaceSelector", "podSelector")
        if "ipBlock" in peer:
            if len(peer) > 1:
                raise UnknownField(f"selectors together with ipBlock: {peer}")
            block = peer["ipBlock"]
            _known(block, "cidr", "except")
            family = _family(block["cidr"])
            excluded = ", ".join(block.get("except", ()))
            yield f"{family} {side} {block['cidr']}" + (f" {family} {side} != {{ {excluded} }}" if excluded else "")
            return
        for pod in self._pods:
            if "namespaceSelector" in peer:
                if not selects(peer["namespaceSelector"], {NAME_LABEL: pod.namespace}):
                    continue
            elif pod.namespace != namespace:
                continue
            if selects(peer.get("podSelector", {}), pod.labels):
                yield from (f"{_family(address)} {side} {address}" for address in pod.addresses)


def _family(address: str) -> str:
    return "ip" if ip_network(address).version == 4 else "ip6"


def _port(port: Mapping[str, Any]) -> str:
    _known(port, "protocol", "port", "endPort")
    if port["protocol"] not in _PROTOCOLS or not isinstance(port["port"], int):
        raise UnknownField(f"the port {port}")
    last = port.get("endPort", port["port"])
    return f"{_PROTOCOLS[port['protocol']]} dport {port['port']}-{last}"


def _chain(name: str, rules: Iterable[str]) -> str:
    return "\n".join([f"  chain {name} {{", *(f"    {rule}" for rule in rules), "  }"])
