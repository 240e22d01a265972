#!/usr/bin/env bash
# Runs a build behind one line of progress. Its output goes to a file, of which only the end is shown, and only if the
# build fails.
#
#   scripts/progress.sh LOG LABEL COMMAND…     or sourced: progress LOG LABEL COMMAND…, where COMMAND may be a function
#
# On a terminal the line is rewritten in place: with the percentage of ninja's [n/m], else with the seconds and what the
# build wrote last. Elsewhere (a pipe, TERM=dumb, CI) there is a line every tenth, else every half minute. All of it goes
# to stderr. The exit code is the command's. The function must not stand in a condition (`||`, `if`): there bash would
# ignore a failure inside a COMMAND that is a function.
#
# Environment:
#   PROGRESS_TAIL    lines of a failed build's log to show (default: 30)

# What ninja has finished, in per cent, if it has written so lately. BuildKit and buildah count with [n/m] too, but count
# what has begun.
_percent() { # LOG
    local finished total
    tail -c 65536 "$1" | grep -aoE '^\[[0-9]+/[0-9]+\] [A-Z][a-z]' | tail -n 1 | tr -d '[]' | {
        IFS='/ ' read -r finished total _ && echo $((100 * finished / total))
    } || true
}

# Stdin is a pipe that the build's shell holds open: it ends when that shell does, however it ends.
_watch() { # LOG LABEL EVERY   (EVERY: seconds between lines without a percentage)
    local log=$1 label=$2 terminal='' percent='' tenth=0 said=0 last line columns
    if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${CI:-}" ]; then terminal=1; else echo "$label; log: $log" >&2; fi
    SECONDS=0
    while read -rt 1 || [ $? -gt 128 ]; do
        last=$(_percent "$log")
        percent=${last:-$percent}
        line="$label: ${percent:+$percent%, }$SECONDS s"
        if [ "$terminal" ]; then
            columns=$(stty size <&2 2>/dev/null | cut -d' ' -f2) || true
            [ "$percent" ] || line+="  $(tail -c 1000 "$log" | tail -n 1 | tr -cd '[:print:]')"
            printf '\r%s\e[K' "${line:0:$((${columns:-80} - 1))}" >&2
        elif [ "$percent" ]; then
            [ $((percent / 10)) -le "$tenth" ] || echo "$line" >&2
            tenth=$((percent / 10))
        elif [ $((SECONDS - said)) -ge "$3" ]; then
            said=$SECONDS
            echo "$line" >&2
        fi
    done
    [ -z "$terminal" ] || printf '\r\e[K' >&2
}

progress() { # LOG LABEL COMMAND…
    local log=$1 label=$2 hold watcher build='' status stopped='' began=$SECONDS lines=${PROGRESS_TAIL:-30}
    shift 2
    mkdir -p "$(dirname "$log")"
    : >"$log"
    exec {hold}> >(_watch "$log" "$label" 30)
    watcher=$!
    set +e
    trap 'stopped=1; [ -z "$build" ] || kill -- "-$build" 2>/dev/null' INT TERM HUP
    set -m # a process group of its own, so that a signal to this shell can end all of the build
    (set -e && "$@") </dev/null >>"$log" 2>&1 {hold}>&- &
    build=$!
    set +m
    [ -z "$stopped" ] || kill -- "-$build"
    wait "$build"
    status=$?
    [ -z "$stopped" ] || wait "$build"
    trap - INT TERM HUP
    exec {hold}>&-
    wait "$watcher"
    set -e
    if [ "$status" -eq 0 ] || [ "$stopped" ]; then
        [ "$stopped" ] && label+=": stopped after" || label+=": done in"
        echo "$label $((SECONDS - began)) s; log: $log" >&2
        return "$status"
    fi
    {
        echo "$label: failed with exit code $status after $((SECONDS - began)) s. The end of its log:"
        # Compilers that were still at work may have written much after the error.
        head -n "-$lines" "$log" | grep -aE -m 3 'error:|^FAILED: ' | cut -c1-500 || true
        tail -n "$lines" "$log"
        echo "The whole log: $log"
    } >&2
    return "$status"
}

[ "${BASH_SOURCE[0]}" != "$0" ] || progress "$@"
