#!/bin/sh
# Builds an image behind the proxy.  The arguments are those of docker build:
#
#   egress run --policy policy.toml -- sh build.sh --tag example .
#
# A build argument without a value has the value of the variable, which egress run sets.
set -eu
exec docker build --network host \
    --build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg http_proxy --build-arg https_proxy \
    --secret id=egress_ca,src="$CURL_CA_BUNDLE" "$@"
