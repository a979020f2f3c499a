# The end of podman's storage. Sourced last by podman.sh and podman-rootless.sh.
clean_reset() {
    detached --stop-timeout 1 --name last "$B" sleep 600
    tool system reset --force
    [ -z "$(tool ps --all --quiet)$(tool images --quiet)" ]
}
op 'system reset, with a container running' clean_reset
op 'nothing is left after the reset' nothing_new "${STATE[@]}"
