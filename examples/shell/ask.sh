#!/bin/sh
# Asks for one customer with rabbitmqadmin and waits for the answer:
#
#   ask.sh PROVIDER '{"phone": "+84 907 089 782"}'
#
# rabbitmqadmin comes with RabbitMQ's management plugin (http://HOST:15672/cli/). RABBITMQADMIN is how it is called,
# where its defaults (localhost:15672, guest) do not do: "rabbitmqadmin --host=… --vhost=… --username=…".
# LOOKUP_PREFIX is the worker's amqp.prefix.
#
# To look and to try. It asks the queue again and again, which no program should do: see the other examples.
set -eu
provider=$1
query=$2
prefix=${LOOKUP_PREFIX:-lookup}
admin=${RABBITMQADMIN:-rabbitmqadmin}
id=shell-$$-$(date +%s)
replies=$prefix.replies.$id

# Words of $admin are meant to be split.
# shellcheck disable=SC2086
{
    $admin --quiet declare queue name="$replies" durable=false auto_delete=false arguments='{"x-expires": 60000}'
    $admin --quiet publish exchange="$prefix.jobs" routing_key="$provider.interactive" \
        payload="{\"query\": $query, \"deadline_ms\": 9000}" \
        properties="{\"content_type\": \"application/json\", \"delivery_mode\": 2, \"message_id\": \"$id\",
            \"correlation_id\": \"$id\", \"reply_to\": \"$replies\"}" >/dev/null
    tries=0
    while [ $((tries += 1)) -le 20 ]; do
        result=$($admin --format=raw_json get queue="$replies" ackmode=ack_requeue_false)
        if [ "$result" != "[]" ]; then
            $admin --quiet delete queue name="$replies"
            # The message as the management plugin shows it; its payload is the result.
            printf '%s\n' "$result"
            exit 0
        fi
        sleep 0.5
    done
}
echo "no answer within 10 s; does a worker run?" >&2
exit 1
