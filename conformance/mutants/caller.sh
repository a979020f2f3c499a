# A caller that changes one thing. MUTANT_PLACE says where, MUTANT_FILTER what:
#   before:VERB, after:VERB   shell that is run before or after that verb of the caller
#   argv:VERB                 shell that is run instead, with the honest caller in $MUTANT_REAL
#   stdin:VERB                jq over what plugins read for that verb
#   plugin:VERB               shell that is run before each plugin for that verb, as about its variables
#   skip:VERB                 plugins are not asked at all for that verb
verb=$1
case $MUTANT_PLACE in
stdin:* | skip:* | plugin:*)
    # The honest caller, with a shim before every plugin that says where it really lies.
    shims=$(mktemp -d)
    trap 'rm -rf "$shims"' EXIT
    for plugin in $(echo "$CNI_PATH" | tr : ' '); do
        for file in "$plugin"/*; do
            [ -x "$file" ] && [ ! -d "$file" ] && [ ! -e "$shims/${file##*/}" ] || continue
            cat >"$shims/${file##*/}" <<EOF
#!/bin/sh
CNI_PATH='$CNI_PATH'
export CNI_PATH
case \$MUTANT_PLACE in
"stdin:\$CNI_COMMAND") jq -c "\$MUTANT_FILTER" | '$file' ;;
"plugin:\$CNI_COMMAND") eval "\$MUTANT_FILTER"; exec '$file' ;;
"skip:\$CNI_COMMAND") cat >/dev/null ;;
*) exec '$file' ;;
esac
EOF
            chmod +x "$shims/${file##*/}"
        done
    done
    CNI_PATH=$shims "$MUTANT_REAL" "$@"
    ;;
"before:$verb")
    eval "$MUTANT_FILTER"
    exec "$MUTANT_REAL" "$@"
    ;;
"after:$verb")
    "$MUTANT_REAL" "$@"
    status=$?
    eval "$MUTANT_FILTER"
    exit $status
    ;;
"argv:$verb") eval "$MUTANT_FILTER" ;;
*) exec "$MUTANT_REAL" "$@" ;;
esac
