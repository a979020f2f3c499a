# A plugin that changes one thing: the configuration on its way in (MUTANT_PLACE=stdin:VERB),
# the answer (=stdout:VERB, error:VERB), or a whole verb (=skip:VERB). MUTANT_FILTER is jq's
# program, or with instead:VERB shell that is run in the place of the honest plugin, "$real".
# MUTANT_REAL is the directory of honest plugins, whose delegates serve in place of those beside
# this script.
real=$MUTANT_REAL/${0##*/}
own=${0%/*}
case $CNI_PATH in
*"$own"*) CNI_PATH=${CNI_PATH%%"$own"*}$MUTANT_REAL${CNI_PATH#*"$own"} ;;
esac
export CNI_PATH
case $MUTANT_PLACE in
"stdin:$CNI_COMMAND") jq -c "$MUTANT_FILTER" | "$real" ;;
"skip:$CNI_COMMAND") cat >/dev/null ;;
"instead:$CNI_COMMAND") eval "$MUTANT_FILTER" ;;
"stdout:$CNI_COMMAND")
    out=$("$real") || { status=$?; printf '%s' "$out"; exit $status; }
    printf '%s' "$out" | jq "$MUTANT_FILTER" ;;
"error:$CNI_COMMAND")
    out=$("$real") && { printf '%s' "$out"; exit 0; }
    status=$?
    printf '%s' "$out" | jq "$MUTANT_FILTER"
    exit $status ;;
*) exec "$real" "$@" ;;
esac
