#!/usr/bin/env bash
# Says what `make demo` is about to do, how long each part takes, and what is there already. Makes nothing.
#
#   scripts/demo-plan.sh [SPEC]
set -euo pipefail
cd "$(dirname "$0")/.."
spec=${1:-}
minutes_left=0

part() { # NAME MINUTES COMMAND…     COMMAND succeeds if it is there
    local name=$1 minutes=$2 when=there
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        when="about $minutes min"
        minutes_left=$((minutes_left + minutes))
    fi
    printf '  %-52s %s\n' "$name" "$when"
}

if [ -z "$spec" ]; then
    echo "make demo: fine-tunes SmolLM2-135M here, without a GPU, and publishes GGUF files. Times are of 2 CPU cores:"
else
    echo "make demo: runs $spec here, and publishes to a local S3 server. Times are of 2 CPU cores:"
fi
part "Python environment (.venv, 5 GB)" 3 scripts/environment.sh --there
part "llama.cpp, built from source" 5 scripts/build-llama.sh --there
part "versitygw, a local S3 server, built from source" 2 scripts/build-go.sh versitygw --there
if [ -z "$spec" ]; then
    part "base model" 1 "${PYTHON:-python3}" scripts/smollm2.py --there
    made=$(.venv/bin/python scripts/demo.py --there 2>/dev/null || true)
    part "training" 4 [ "${made#*train}" != "$made" ]
    part "exporting, quantizing, judging, publishing" 3 [ "${made#*publish}" != "$made" ]
else
    echo "  the run itself: \`.venv/bin/python -m job plan $spec\` estimates it"
fi
if [ "$minutes_left" -eq 0 ]; then
    echo "  everything is there: seconds"
else
    echo "  about $minutes_left minutes in all. Ctrl-C stops it; the next \`make demo\` continues from there."
fi
