# ctr run --cni: Go's libcni inside of ctr, with the plugins of the column.
. "$OPERATIONS/lib.sh"
. "$OPERATIONS/containerd.sh"
run() { tool run --runc-binary "$RUNTIME" --runc-root "$DIR/runtime" --cgroup "/$ID/$RANDOM" --cni "$@"; }
once() { run --rm "$IMAGE" "$@"; }
BRIDGES=ctr0
STATE=("$DIR/runtime" "$DIR/networks" /var/lib/cni/results)
containerd_without_cri >"$DIR/config.toml"
sed -e 's/10\.185\.0\.0/10.89.7.0/; s/"davit0"/"ctr0"/; s/"name": "davit"/"name": "ctr"/' \
    -e "s|/var/lib/cni/networks|$DIR/networks|" "$DIST/cni/10-davit.conflist" >/etc/cni/net.d/10-ctr.conflist
start_containerd

talk() {
    run -d "$IMAGE" web httpd -f -p 80 -h /etc
    local pid address
    pid=$(tool task ls | awk '$1 == "web" { print $2 }')
    address=$(nsenter -t "$pid" -n ip -4 -o addr show eth0 | grep -o '10\.89\.7\.[0-9]*' | head -n 1)
    says root: once client wget -q -O - "http://$address/passwd"
    says root: fetch "http://$address/passwd"
    remove web
    # ctr frees the network of foreground runs only: this is the administrator's part.
    CNI_PATH=/opt/cni/bin CNI_COMMAND=DEL CNI_CONTAINERID="$NAMESPACE-web" CNI_NETNS='' CNI_IFNAME=eth0 \
        bash -c 'for t in firewall portmap bridge; do
            jq --arg t $t ".cniVersion as \$v | .name as \$n | .plugins[] | select(.type == \$t) | .cniVersion = \$v | .name = \$n" \
                /etc/cni/net.d/10-ctr.conflist | /opt/cni/bin/$t || exit; done'
    rm -f "/var/lib/cni/results/ctr-$NAMESPACE-web-eth0"
}
ten_at_once() {
    local i pids=()
    for i in 0 1 2 3 4 5 6 7 8 9; do
        says 10.89.7. once "many$i" ip -4 addr show eth0 & pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
}
broken_list() {
    mv /etc/cni/net.d/10-ctr.conflist "$DIR/aside"
    sed 's/"type": "bridge"/"type": "nosuchplugin"/' "$DIR/aside" >/etc/cni/net.d/10-ctr.conflist
    complains nosuchplugin once broken true
    remove broken || true # ctr leaves what it had created by then
    mv "$DIR/aside" /etc/cni/net.d/10-ctr.conflist
}

op 'images import' import_image
once warm true
remember "${STATE[@]}"
op 'run --cni: interface and address' says 'inet 10.89.7.' once r ip -4 addr show eth0
op 'run --cni: default route' says 'default via 10.89.7.1' once r ip route
op 'run --cni: the gateway answers' once r ping -c 1 -W 2 10.89.7.1
op 'run --cni: loopback is up' says LOOPBACK,UP once r ip -o link show lo
op 'run --cni: exit status' exits 42 once r sh -c 'exit 42'
op 'run --cni: a program that is missing' complains 'stat /no/such/program: no such file or directory' once r /no/such/program
op 'run --cni: two containers, and the host, talk' talk
op 'run --cni: ten at once' ten_at_once
op 'run --cni: a plugin that is missing is named' broken_list
op 'run --cni: nothing is left' nothing_new "${STATE[@]}"
