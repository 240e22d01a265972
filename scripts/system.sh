#!/usr/bin/env bash
# Makes sure that the system packages that building needs are there. As root on Debian or Ubuntu it
# installs what is missing; elsewhere it names it in one line and exits 1. Instant when all is there.
#
#   scripts/system.sh [PROGRAM[:PACKAGE]…]    these too; the package has the program's name where it has no own
#
# Environment:
#   PYTHON    the Python that the environment is made with (default: python3)
#   FINETUNE_CACHE    where the installation's log is kept: <cache>/system.log
set -euo pipefail
. "$(dirname "$0")/progress.sh"
cache=${FINETUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-run}

missing=()
needs() { command -v "$1" >/dev/null || missing+=("$2"); }
needs g++ g++
needs cmake cmake
needs ninja ninja-build
needs patch patch
needs tar tar
needs flock util-linux
python=${PYTHON:-python3}
if command -v "$python" >/dev/null; then
    # Debian's python3 has venv, but not the pip that it puts in.
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
else
    missing+=(python3 python3-venv)
fi
for one in "$@"; do needs "${one%%:*}" "${one##*:}"; done
[ -e /etc/ssl/certs/ca-certificates.crt ] || [ -n "${SSL_CERT_FILE:-}" ] || missing+=(ca-certificates)

[ ${#missing[@]} -eq 0 ] && exit 0
install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -qy -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}"
}
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    progress "$cache/system.log" "system packages: installing ${missing[*]}" install
else
    echo "these system packages are missing: ${missing[*]} (as root on Debian: apt-get install ${missing[*]})" >&2
    exit 1
fi
