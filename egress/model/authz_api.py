"""The protocol of an authorization service."""

from __future__ import annotations

import enum


class AuthzApi(enum.Enum):
    """The protocol of an authorization service.

    @cvar POSTMAN: the contract of the Postman runner's proxy, C{POST .../validate}.
    @cvar AUTHZEN: the Access Evaluation API of AuthZEN.
    @cvar OPA: the data API of Open Policy Agent.
    @cvar EXT_AUTHZ: the HTTP check of Envoy's C{ext_authz}.
    """

    POSTMAN = "postman"
    AUTHZEN = "authzen"
    OPA = "opa"
    EXT_AUTHZ = "ext-authz"


class AuthzBody(enum.Enum):
    """The condition under which an authorization service gets the content of a request.

    @cvar ALWAYS: with each authorization request.
    @cvar ON_DEMAND: when the service responds that it needs the content.
    @cvar NEVER: never.
    """

    ALWAYS = "always"
    ON_DEMAND = "on-demand"
    NEVER = "never"
