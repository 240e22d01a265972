#!/usr/bin/env bash
# `make e2e`: whole runs of the image on a cluster. Arguments go to pytest (-k sweep, …).
#
# Without KUBECONFIG it brings up a cluster of its own, whose kubelet runs pods with containerd and runc, in namespaces
# of its own: nothing reaches this machine's network, and all of it ends with the command. That needs root on Linux.
# With KUBECONFIG it uses that cluster, in namespaces that it makes and deletes:
#
#   FINETUNE_IMAGE        the image, as the cluster can pull it (kind: `kind load docker-image` first)
#   FINETUNE_E2E_HOST     the address at which pods reach this machine
#   FINETUNE_CACHE        the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} FINETUNE_CACHE=$cache
cases=(.venv/bin/python -m pytest -o 'python_files=cases_*.py' -o timeout=1800 -p no:cacheprovider tests/e2e "$@")
cannot() {
    echo "e2e: cannot run here: $*; with KUBECONFIG it uses a cluster that is there" >&2
    exit 1
}

if [ -n "${KUBECONFIG:-}" ]; then
    : "${FINETUNE_IMAGE:?e2e: name the image as the cluster of KUBECONFIG can pull it (docs/image.md)}"
    exec "${cases[@]}"
fi
[ "$(uname -s)" = Linux ] || cannot "a kubelet needs Linux"
[ "$(id -u)" -eq 0 ] || cannot "a kubelet needs root"
namespaces=(--net --mount --pid --fork --kill-child --mount-proc)
unshare "${namespaces[@]}" true 2>/dev/null || cannot "this kernel lets root make no namespaces (unshare ${namespaces[*]})"
scripts/system.sh containerd runc ip:iproute2 gcc || cannot "see above"
[ -x /usr/lib/cni/bridge ] || { apt-get -qq update && apt-get -qq install --no-install-recommends \
    containernetworking-plugins iptables >/dev/null; } || cannot "no CNI plugins (containernetworking-plugins)"
PROGRAMS="etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet" \
    PYTHON=.venv/bin/python scripts/build-kubernetes.sh >/dev/null
scripts/build-image.sh >/dev/null
mkdir -p "$cache/e2e"
exec 9>"$cache/e2e/lock"
flock -n 9 || cannot "another one runs"
# Where containerd and CNI keep what is of this boot, and cannot be told otherwise.
# shellcheck disable=SC2016
exec unshare "${namespaces[@]}" bash -c '
    for folder in /run/containerd /run/netns /var/lib/cni; do
        mkdir -p "$folder" && mount -t tmpfs tmpfs "$folder"
    done
    exec "$@"' e2e "${cases[@]}"
