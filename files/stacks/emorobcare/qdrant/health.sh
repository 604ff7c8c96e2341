# Whether Qdrant is ready: its own probe, by bash, for the image has no other client.
set -eu
exec 3<> /dev/tcp/127.0.0.1/6333
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
answer=$(timeout 8 cat <&3)
[[ ${answer%%$'\r\n'*} == *' 200'* && $answer == *'all shards are ready'* ]] || { echo "${answer:0:200}"; exit 1; }
