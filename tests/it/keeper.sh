# Keeps one private RabbitMQ node for the tests, and ends it with them.
#
# Orders come on standard input, one a line, each answered with one line. The pipe closes when the
# test process is gone, however it died; then everything started here ends, and the folder goes.
# All processes are children of this shell, so a process id never means another process.
#
# $1 the node's folder, $2 rabbitmq-server, $3 "epmd" if the port mapper is to run here too.
# shellcheck shell=sh
folder=$1
server=$2
mapper=
node=

if [ "$3" = epmd ]; then
    epmd -port "$ERL_EPMD_PORT" -address "$ERL_EPMD_ADDRESS" </dev/null >>"$folder/log/epmd" 2>&1 &
    mapper=$!
    # A node that finds none starts one by itself, which nobody would end.
    tries=0
    until epmd -port "$ERL_EPMD_PORT" -names >/dev/null 2>&1 || [ $((tries += 1)) -gt 200 ]; do
        sleep 0.05
    done
fi
echo ready

while read -r order; do
    case $order in
    start)
        "$server" </dev/null >>"$folder/log/out" 2>&1 &
        node=$!
        echo "$node"
        ;;
    kill | wait)
        if [ -n "$node" ]; then
            [ "$order" = wait ] || kill -9 "$node" 2>/dev/null
            wait "$node" 2>/dev/null
            node=
        fi
        echo gone
        ;;
    esac
done

for process in $node $mapper; do
    kill -9 "$process" 2>/dev/null
done
wait
rm -rf "$folder"
