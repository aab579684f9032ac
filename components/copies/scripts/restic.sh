# shellcheck shell=sh
# Functions of the scripts that use a repository. restic reads its repository and its credentials from variables.
# RESTIC is the path of the program, RESTIC_OPTIONS are its further options, REPORT is the file of the last message.

report() { printf '%s\n' "$1" | tee "$REPORT"; }
fail() { report "error: $1" >&2; exit 1; }

start_restic() { # start_restic SECONDS [ARGUMENT...]: run restic as the process $process; a stalled store would stop it for hours
    seconds=$1
    shift
    # shellcheck disable=SC2086 # the variable holds several options
    timeout -k 30 "$seconds" "$RESTIC" --no-cache ${RESTIC_OPTIONS-} "$@" &
    process=$!
}

run_restic() { # run_restic SECONDS [ARGUMENT...]: run restic, and wait for its end
    start_restic "$@"
    wait "$process"
}

explain_memory() { # explain_memory: print the reason and succeed, if the kernel ended a process of this container
    # Both versions of cgroups have a counter.
    # shellcheck disable=SC2086 # the variable holds two paths
    grep -qs '^oom_kill [1-9]' ${MEMORY_EVENTS:-/sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control} &&
        echo "the memory of the Pod does not suffice: the kernel ended a process"
}

explain_exit() { # explain_exit CODE SECONDS: print what an exit code of restic means
    ! explain_memory || return 0
    case $1 in
        3) echo "the backup is not complete" ;;
        10) echo "the store has no repository $RESTIC_REPOSITORY, or does not know the access key" ;;
        11) echo "the repository is locked by another process" ;;
        12) echo "the repository password is wrong" ;;
        124 | 137) echo "restic did not end within $2 seconds" ;;
        *) echo "exit code $1; the log has the reason" ;;
    esac
}
