# A hook that changes one thing. MUTANT_PLACE says where, MUTANT_FILTER what:
#   state:EVENT     jq over the state that the honest hook reads for that event
#   instead:EVENT   shell that is run instead, with the honest hook in `honest`
#   after:EVENT     shell that is run afterwards
# Both have the state in $state.
event=$3
state=$(cat)
honest() { printf '%s' "$state" | "$MUTANT_REAL" internal oci-hook "$event"; }
case $MUTANT_PLACE in
"state:$event")
    state=$(printf '%s' "$state" | jq -c "$MUTANT_FILTER")
    honest
    ;;
"instead:$event") eval "$MUTANT_FILTER" ;;
"after:$event")
    honest
    status=$?
    eval "$MUTANT_FILTER"
    exit $status
    ;;
*) honest ;;
esac
