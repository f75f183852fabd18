# Runs one broker node in a directory of its own, and ends it when standard input ends: that is
# when the process that started us ends, however it ends.
#
# arguments: the node's directory, the port for its epmd, the rabbitmq-server script
#
# Of `epmd` and `server` it leaves NAME.pid, NAME.log and, once the process has ended, NAME.exit
# in the directory. The environment is the node's, prepared by whoever starts us.
set -u
cd "$1" || exit 1

# start NAME COMMAND...
start() {
    name=$1
    shift
    (
        "$@" </dev/null >"$name.log" 2>&1 &
        echo $! >"$name.pid.new" && mv "$name.pid.new" "$name.pid"
        wait $!
        echo $? >"$name.exit.new" && mv "$name.exit.new" "$name.exit"
    ) &
    until [ -e "$name.pid" ]; do sleep 0.01; done
}

# end NAME: asks every second, and insists after ten. Should the script have stayed in front of
# the VM instead of becoming it, the VM's own pid is in vm.pid.
end() {
    [ -e "$1.pid" ] || return 0
    pids=$(cat "$1.pid")
    [ "$1" = server ] && [ -s vm.pid ] && pids="$pids $(cat vm.pid)"
    tries=0
    until [ -e "$1.exit" ]; do
        # A VM that has just begun to boot loses a SIGTERM, a stopped one takes it when it continues.
        [ $((tries % 50)) -eq 0 ] && kill -s TERM $pids && kill -s CONT $pids
        [ $tries -ge 500 ] && kill -s KILL $pids
        tries=$((tries + 1))
        sleep 0.02
    done
}

finish() {
    trap '' HUP INT TERM
    end server
    end epmd
    cd / && rm -rf "$1"
}
trap 'finish "$1"' EXIT
trap 'exit 1' HUP INT TERM

# The node would start an epmd itself, and leave it behind: ours has to answer first.
start epmd epmd -port "$2" -address 127.0.0.1
tries=0
until [ -e epmd.exit ] || epmd -port "$2" -names >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -gt 500 ] && exit 1
    sleep 0.01
done
[ -e epmd.exit ] || start server "$3"

read -r _ || true
