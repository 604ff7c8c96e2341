# Says a word as JSON. Ends with 0 whatever happens, as many programs do; the state tells.
word=$1 mood=$2 seconds=$3
echo "thinking about $word" >&2
[ -z "$SONG" ] || echo "knows a song of ${#SONG} characters: $SONG" >&2
echo "$word" >> /memory/words
sleep "${seconds:-0}"
case $mood in
  talkative) echo "{\"said\": \"$word\", \"state\": {\"mood\": \"happy\"}, \"heard\": $(wc -l < /memory/words)}" ;;
  grumpy) echo "{\"said\": null, \"state\": {\"mood\": \"angry\"}}" ;;
  *) echo "squawk" ;;
esac
