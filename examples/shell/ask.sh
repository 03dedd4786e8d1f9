#!/bin/sh
# Asks for one customer by RabbitMQ's management API and waits for the answer:
#
#   ask.sh PROVIDER '{"phone": "+84 907 089 782"}'
#
# The API comes with RabbitMQ's management plugin, is the same in RabbitMQ 3 and 4, and is what managed brokers offer.
# RABBITMQ_API is its address, where http://guest:guest@localhost:15672 does not do; RABBITMQ_VHOST the virtual host,
# with / as %2f; LOOKUP_PREFIX the worker's amqp.prefix. It takes curl.
#
# To look and to try. It asks the queue again and again, which no program should do: see the other examples.
set -eu
provider=$1
query=$2
api=${RABBITMQ_API:-http://guest:guest@localhost:15672}/api
vhost=${RABBITMQ_VHOST:-%2f}
prefix=${LOOKUP_PREFIX:-lookup}
id=shell-$$-$(date +%s)
replies=$prefix.replies.$id

# call METHOD PATH [BODY]
call() {
    curl --silent --show-error --fail --request "$1" --header 'content-type: application/json' \
        --data "${3-}" "$api/$2"
}

# The job is a text inside of JSON.
job=$(printf '{"query": %s, "deadline_ms": 9000}' "$query" | tr '\n' ' ' | sed 's/[\\"]/\\&/g')

call PUT "queues/$vhost/$replies" '{"durable": true, "arguments": {"x-expires": 60000}}'
routed=$(call POST "exchanges/$vhost/$prefix.jobs/publish" "{
    \"routing_key\": \"$provider.interactive\", \"payload\": \"$job\", \"payload_encoding\": \"string\",
    \"properties\": {\"content_type\": \"application/json\", \"delivery_mode\": 2, \"message_id\": \"$id\",
        \"correlation_id\": \"$id\", \"reply_to\": \"$replies\"}}")
case $routed in
*true*) ;;
*) echo "no queue takes it; has a worker run?" >&2 && exit 1 ;;
esac
tries=0
while [ $((tries += 1)) -le 20 ]; do
    result=$(call POST "queues/$vhost/$replies/get" '{"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"}')
    if [ "$result" != "[]" ]; then
        call DELETE "queues/$vhost/$replies"
        # The message as the API shows it; its payload is the result.
        printf '%s\n' "$result"
        exit 0
    fi
    sleep 0.5
done
echo "no answer within 10 s; does a worker run?" >&2
exit 1
