#!/usr/bin/env bash
# Checks that the tag, the package and the chart have one version, and prints it and the names that a release has, as
# `name=value` lines. GITHUB_REF_NAME is the tag, GITHUB_REPOSITORY the repository.
set -euo pipefail
cd "$(dirname "$0")/.."

field() { sed -n "s/^$1 *[:=] *\"\{0,1\}\([0-9][0-9.]*\)\"\{0,1\}$/\1/p" "$2"; }
version=$(field __version__ job/__init__.py)
for found in "${GITHUB_REF_NAME#v}" "$(field version helm/finetune-run/Chart.yaml)" "$(field appVersion helm/finetune-run/Chart.yaml)"; do
    if [ "$found" != "${version:?}" ]; then
        echo "the tag is $GITHUB_REF_NAME, the package $version, and the chart says $found" >&2
        exit 1
    fi
done
owner=${GITHUB_REPOSITORY%%/*}
printf '%s\n' "version=$version" "image=ghcr.io/${GITHUB_REPOSITORY,,}" "charts=ghcr.io/${owner,,}/charts"
