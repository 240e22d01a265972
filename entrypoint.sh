#!/bin/sh
# The container's PID 1 becomes the job, so that SIGTERM reaches it.
exec python3 -m job "${@:-run}"
