# Whether Fuseki answers a query on the dataset, with the API's login. curl is not asked for; bash and coreutils are in the image.
set -eu
login=$(printf 'api:%s' "$(< /run/secrets/fuseki_api_password)" | base64 -w 0)
exec 3<> /dev/tcp/127.0.0.1/3030
printf 'GET /emorobcare/query?query=ASK%%7B%%7D HTTP/1.0\r\nHost: localhost\r\nAccept: application/sparql-results+json\r\nAuthorization: Basic %s\r\n\r\n' "$login" >&3
answer=$(timeout 8 cat <&3)
[[ ${answer%%$'\r\n'*} == *' 200'* && $answer =~ \"boolean\"[[:space:]]*:[[:space:]]*true ]] || { echo "${answer:0:200}"; exit 1; }
