# A plugin that changes one thing: the configuration on its way in (MUTANT_PLACE=stdin:VERB),
# the answer (=stdout:VERB), or a whole verb (=skip:VERB). MUTANT_FILTER is jq's program,
# MUTANT_REAL the directory of honest plugins, which also serves delegates.
real=$MUTANT_REAL/${0##*/}
CNI_PATH=$MUTANT_REAL
export CNI_PATH
case $MUTANT_PLACE in
"stdin:$CNI_COMMAND") jq -c "$MUTANT_FILTER" | "$real" ;;
"skip:$CNI_COMMAND") cat >/dev/null ;;
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
