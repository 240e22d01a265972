#!/bin/sh
# Runs a command with what the build secrets say: `ca`, certificates to trust; `index`, the address of a Python index.
# Nothing of them is written anywhere.
set -eu
if [ -s /run/secrets/ca ]; then
    export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca REQUESTS_CA_BUNDLE=/run/secrets/ca
fi
if [ -s /run/secrets/index ]; then
    address=$(cat /run/secrets/index)
    export UV_DEFAULT_INDEX="$address" PIP_INDEX_URL="$address"
fi
exec "$@"
