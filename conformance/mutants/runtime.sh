# A runtime that changes one thing: config.json on its way in (MUTANT_PLACE=config), what a
# command prints (=stdout:COMMAND), or a whole command (=skip:COMMAND, =status:COMMAND),
# or keeps its warnings to itself (=quiet:COMMAND), or runs shell after a command that went well
# or did not (=after:COMMAND, =failed:COMMAND).
# Sets MUTANT_FILTER as jq's program; MUTANT_REAL is the honest runtime.
command='' bundle=$PWD previous=''
for word in "$@"; do
    case $previous in --bundle | -b) bundle=$word ;; esac
    case $word in
    create | run | start | state | kill | delete | exec | list | spec | features)
        [ -n "$command" ] || command=$word ;;
    esac
    previous=$word
done
case $MUTANT_PLACE in
config)
    case $command in
    create | run)
        jq "$MUTANT_FILTER" "$bundle/config.json" >"$bundle/config.mutant" &&
            mv "$bundle/config.mutant" "$bundle/config.json" ;;
    esac ;;
"skip:$command") exit 0 ;;
"quiet:$command") exec "$MUTANT_REAL" "$@" 2>/dev/null ;;
"status:$command")
    "$MUTANT_REAL" "$@"
    exit "$MUTANT_FILTER" ;;
"stdout:$command")
    out=$("$MUTANT_REAL" "$@") || exit
    printf '%s' "$out" | jq "$MUTANT_FILTER"
    exit ;;
"failed:$command")
    "$MUTANT_REAL" "$@" && exit
    status=$?
    eval "$MUTANT_FILTER"
    exit "$status" ;;
"after:$command")
    "$MUTANT_REAL" "$@" || exit
    eval "$MUTANT_FILTER"
    exit ;;
esac
exec "$MUTANT_REAL" "$@"
