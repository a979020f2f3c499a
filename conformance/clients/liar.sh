#!/bin/bash
# A runtime that lies. The one at HONEST does the work; what it is told, the file LIE changes on the
# way. Its first line says where, its second how:
#   config        jq over config.json, for create, run and restore
#   process       jq over the process of exec
#   resources     jq over what update is to set
#   argv:COMMAND  shell before that command, which may `set --` its words, or `exit` in its place
# Without that file it is honest. operations.sh puts the two paths into a copy of this.
honest=HONEST lie=LIE
{ read -r place && read -r text; } 2>/dev/null <"$lie" || exec "$honest" "$@"

command='' bundle=$PWD file='' previous=''
for word in "$@"; do
    case $word in
    create | run | restore | start | exec | update | kill | pause | resume | delete | state | ps) [ -n "$command" ] || command=$word ;;
    --resources=*) file=${word#*=} ;;
    esac
    case $previous in
    --bundle | -b) bundle=$word ;;
    --process | -p | --resources | -r) file=$word ;;
    esac
    previous=$word
done
changed() { jq -c "$text" "$1" >"$1.lie" && cat "$1.lie" >"$1" && rm "$1.lie"; }
case $place:$command in
config:create | config:run | config:restore) changed "$bundle/config.json" ;;
process:exec) changed "$file" ;;
resources:update)
    case $file in
    - | '') exec "$honest" "$@" < <(jq -c "$text") ;;
    *) changed "$file" ;;
    esac ;;
"argv:$command:$command") eval "$text" ;;
esac
exec "$honest" "$@"
