# Whether MongoDB answers a ping: the bytes of an OP_MSG with {ping: 1, $db: "admin"}, and in what comes back the field ok with the number 1.
# mongosh would do the same with a second of a small processor's time, every few seconds.
set -eu
exec 3<> /dev/tcp/127.0.0.1/27017
printf '\x33\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0' >&3
answer=$(timeout 8 head -c 38 <&3 | od -An -v -tx1 | tr -d ' \n')
[[ $answer == *016f6b00000000000000f03f* ]] || { echo "answer: ${answer:0:100}"; exit 1; }
