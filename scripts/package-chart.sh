#!/usr/bin/env bash
# Packages the chart with the image that belongs to it, by its digest, and prints the package's path.
#
#   scripts/package-chart.sh IMAGE DIGEST FOLDER
set -euo pipefail
image=$1 digest=$2 folder=$3
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "no digest: $digest" >&2; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
helm=$("$root/scripts/build-go.sh" helm)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$root/helm/finetune-run" "$work/finetune-run"
sed -i "s|^  repository: \"\"$|  repository: $image|; s|^  digest: \"\"$|  digest: $digest|" "$work/finetune-run/values.yaml"
grep -q "^  repository: $image$" "$work/finetune-run/values.yaml" && grep -q "^  digest: $digest$" "$work/finetune-run/values.yaml"
"$helm" package "$work/finetune-run" --destination "$folder" | sed -n 's/^Successfully packaged chart and saved it to: //p'
