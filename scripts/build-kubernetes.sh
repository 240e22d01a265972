#!/usr/bin/env bash
# Builds the Kubernetes that the tests run against, and its etcd, and prints the folder of the programs.
#
#   scripts/build-kubernetes.sh [LINK]     LINK, if given, becomes a symbolic link to it
#
# The source comes as Go modules, pinned by scripts/kubernetes/go.mod and go.sum. k8s.io/kubernetes replaces its
# staging modules by folders, so `go install …@version` refuses it; the module here replaces them by what is published.
# 1.35 and later want cgroup v2 of their kubelet.
#
#   <cache>/kubernetes/<hash of what it is built from>/     etcd, kube-apiserver, kubectl, …
#   <cache>/kubernetes/<the same>.log                       what the build wrote
#
# Environment:
#   FINETUNE_CACHE    the cache (default: $XDG_CACHE_HOME/finetune-run or ~/.cache/finetune-run)
#   PROGRAMS          what to build (default: what a control plane needs; kubelet is there too)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
. "$here/progress.sh"
link=${1:-}
programs=${PROGRAMS:-etcd kube-apiserver kube-controller-manager kube-scheduler kubectl}
key=$(cat "$0" "$here"/kubernetes/{go.mod,go.sum,tools.go} | sha256sum | cut -c1-16)
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}/kubernetes
out=$cache/$key

missing() {
    for program in $programs; do [ -x "$out/$program" ] || echo "$program"; done
}

package() { # PROGRAM
    case $1 in
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
    esac
}

build() {
    local go version x=k8s.io/component-base/version
    go=$("$here/find-go.sh")
    version=$(sed -n 's/^\tk8s.io\/kubernetes \(v.*\)/\1/p' "$here/kubernetes/go.mod")
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "building $version with $("$go" env GOVERSION)"
    cp "$here"/kubernetes/{go.mod,go.sum,tools.go} "$work/"
    mkdir -p "$out"
    for program in $(missing); do
        (cd "$work" && CGO_ENABLED=0 GOTOOLCHAIN=local "$go" build -v -trimpath -mod=readonly -o "$program" \
            -ldflags "-s -w -X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=$(cut -d. -f2 <<<"$version")" \
            "$(package "$program")")
        mv "$work/$program" "$out/"
    done
}

mkdir -p "$cache"
if [ -n "$(missing)" ]; then
    exec 9>"$cache/lock"
    flock 9
    if [ -n "$(missing)" ]; then
        progress "$out.log" "kubernetes: building (about 9 min)" build
    fi
fi
[ -z "$link" ] || ln -sfn "$out" "$link"
echo "$out"
