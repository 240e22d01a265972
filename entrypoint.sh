#!/bin/sh
# The container's PID 1 becomes the job, so that SIGTERM reaches it.

# A PATH or LD_LIBRARY_PATH that the user sets replaces the image's: what is missing of it is added behind the user's.
with() {
    case ":$1:" in
        *":$2:"*) printf '%s\n' "$1" ;;
        *) printf '%s\n' "${1:+$1:}$2" ;;
    esac
}
PATH=$(with "$PATH" /opt/finetune-run/bin)
PATH=$(with "$PATH" /usr/local/nvidia/bin)
LD_LIBRARY_PATH=$(with "${LD_LIBRARY_PATH-}" /usr/local/nvidia/lib64)
PYTHONSAFEPATH=1 # neither the job nor a process that it starts imports from the working directory
export PATH LD_LIBRARY_PATH PYTHONSAFEPATH
exec python3 -m job "${@:-run}"
