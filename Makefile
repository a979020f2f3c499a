# Each target that needs packages names them; see ci/apt.sh.
TARGET  := $(shell rustc -vV | sed -n 's/^host: //p')
SUITE   := target/$(TARGET)/debug/oci-conformance

BASE    := /bin/busybox:busybox-static ip:iproute2 nft:nftables iptables:iptables curl:curl jq:jq strace:strace \
           newuidmap:uidmap
PEERS   := runc:runc crun:crun /usr/lib/cni/bridge:containernetworking-plugins firewall-cmd:firewalld dbus-daemon:dbus \
           dnsmasq:dnsmasq-base tcpdump:tcpdump
CLIENTS := containerd:containerd dockerd:docker.io podman:podman conmon:conmon
# What their operations need beside them: a CRI client from pieces, rootless podman, checkpoints, an init for pods.
BESIDE_CLIENTS := protoc:protobuf-compiler slirp4netns:slirp4netns fuse-overlayfs:fuse-overlayfs criu:criu catatonit:catatonit
DAVIT   := $(CURDIR)/out/bin/davit

prefix  ?= /usr/local
DESTDIR ?=

.PHONY: help build test test-unit test-root conformance conformance-sample conformance-reference mutants matrix demo demo-again demo-crash demo-names \
        attacks weakened kills some-kills faults some-faults fuzz fuzz-smoke swap bench bench-cni bench-charts hot-text check-hot-text storm burst cross test-containerd test-clients test-lies test-clients-vm vm vm-selftest test-vm conformance-vm fmt fmt-check lint tidy \
        install clean packages \
        base-packages peer-packages client-packages

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: ## release binaries in out/bin and out/cni, manual and completions in out/share
	mkdir -p out/bin
	target=$$(ci/release-target.sh) && built=target/$$target/release && \
	    DAVIT_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null) cargo build --release --locked --target $$target \
	        -p runtime -p hooks -p davit-cni-plugins && \
	    install -m 755 $$built/davit $$built/davit-cni out/bin/ && \
	    rm -rf out/cni && ci/install-plugins.sh $$built/davit-cni-plugins out/cni && \
	    cargo run --release --locked --quiet --target $$target -p manual -- out/share

packages: # for everything; each target below asks for its own
	@ci/apt.sh $(BASE) $(PEERS) $(CLIENTS)

base-packages:
	@ci/apt.sh $(BASE)

peer-packages: base-packages
	@ci/apt.sh $(PEERS)

client-packages: base-packages
	@ci/apt.sh $(CLIENTS)

# CI judges ours by every row, on both machines, and the peers by a sample, which shows that the suite
# still fits them: all of them is twice the time, and `make matrix`.
test: BESIDE =
test: BESIDE_CNI =
test: packages fmt-check lint test-unit build check-hot-text conformance conformance-sample test-vm demo demo-again demo-crash demo-names some-kills swap test-containerd some-faults fuzz-smoke ## everything that CI runs
	@echo 'make test: all green'

fmt-check:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

fmt: ## format the sources
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

lint: ## clippy with warnings as errors
	cargo clippy --workspace --all-targets --locked -- -D warnings
	target=$$(ci/release-target.sh) && cargo clippy -p sys --all-targets --locked --target $$target -- -D warnings

# The tests of hooks run the plugins of the same build, which cargo builds for nobody but themselves.
# --show-output: the SKIP of a test that passed would be captured otherwise.
# What differs between C libraries is in sys alone, which is tested with the one that is shipped too.
test-unit: ## unit and integration tests of every crate; as root they test everything
	cargo build --workspace --bins --locked --quiet
	cargo test --workspace --locked --quiet -- --show-output
	target=$$(ci/release-target.sh) && cargo test -p sys --locked --quiet --target $$target -- --show-output

test-root: test-unit ## the same: tests that need root skip aloud without it

tidy: ## the tests over the source tree alone
	cargo test -p tidy --locked --quiet

$(SUITE): FORCE
	@cargo build --locked --quiet -p conformance
FORCE:

# What a machine cannot judge is skipped aloud; .ci/expected-skips says what may be missing on CI.
# CNI_PATH=DIRECTORY judges plugins alone, those or any other, beside the reference's.
RUNTIME   ?= $(DAVIT)
BESIDE    ?= $(foreach peer,$(DAVIT) runc crun,$(if $(filter $(notdir $(RUNTIME)),$(notdir $(peer))),,$(peer)))
REFERENCE := /usr/lib/cni
BESIDE_CNI ?= $(REFERENCE)
PLUGINS_BESIDE = $(filter-out $(patsubst %/,%,$(1)),$(BESIDE_CNI))
# Who calls the plugins, by hand and as a hook, is judged in every mode.
CALLER    ?= $(CURDIR)/out/bin/davit-cni
HOOK      ?= $(CURDIR)/out/bin/davit-cni
CALLS     := --caller $(CALLER) --hook $(HOOK)
# What was skipped here is for the second machine (test-vm).
HOST_REPORT := out/conformance.json
# Rows wait more than they work.
JOBS      ?= 4
conformance: peer-packages client-packages $(SUITE) build ## the scores of runtimes, plugins and their callers, beside their peers
ifdef CNI_PATH
	$(SUITE) --jobs $(JOBS) $(CALLS) --cni-path $(CNI_PATH) $(addprefix --beside-cni ,$(call PLUGINS_BESIDE,$(CNI_PATH)))
else
	$(SUITE) --jobs $(JOBS) --runtime $(RUNTIME) $(addprefix --beside ,$(BESIDE)) --cni-path $(CURDIR)/out/cni $(addprefix --beside-cni ,$(BESIDE_CNI)) $(CALLS) \
	    --format json --output $(HOST_REPORT)
endif

conformance-reference: peer-packages $(SUITE) ## judge the reference plugins alone; their gaps are known
	$(SUITE) --jobs $(JOBS) --cni-path $(REFERENCE)

conformance-sample: peer-packages $(SUITE) # the peers alone, by two topics
	$(SUITE) --jobs $(JOBS) --runtime runc --beside crun --cni-path $(REFERENCE) --filter runtime/hooks --filter cni/portmap

mutants: peer-packages client-packages $(SUITE) build ## show that every row of the suite can fail: liars, each killed by its row
	$(SUITE) --runtime $(DAVIT) --cni-path $(CURDIR)/out/cni $(CALLS) --prove --jobs $(JOBS)

matrix: peer-packages client-packages $(SUITE) build ## docs/matrix.md, docs/matrix.html, docs/spec-conformance.md: ours beside the peers
	$(SUITE) --jobs $(JOBS) --runtime $(DAVIT) --beside runc --beside crun --cni-path $(CURDIR)/out/cni --beside-cni $(REFERENCE) $(CALLS) \
	    --matrix docs

demo: base-packages build ## two containers with networks, end to end, and nothing left
	demo/demo.sh

demo-again: demo # a second time in a row must find nothing of the first
	demo/demo.sh

demo-crash: base-packages build ## the same with davit killed in the middle
	demo/demo.sh crash

demo-names: base-packages build ## davit run --network: found by name, reached by port, and nothing left
	demo/names.sh

KILLS ?= 200
kills: base-packages build ## davit-cni and its plugins killed at KILLS random moments: one gc, nothing left
	KILLS=$(KILLS) demo/killed.sh

some-kills: KILLS = 20
some-kills: kills

# ONLY=bridge-ADD or ONLY='bridge-*' does only those; a finding says how to repeat it.
FAULTS = cargo build --release --locked --quiet -p faults && target/$(TARGET)/release/faults $(if $(ONLY),--only '$(ONLY)')
faults: base-packages build ## every operation killed, or failed, at every system call in turn: nothing left, hung or weaker
	$(FAULTS)

some-faults: base-packages build ## a sample of them, in five minutes
	$(FAULTS) --quick

# The ordinary suite gives each attack two seconds.
# BESIDE= leaves the peers out, whose rows are for information.
attacks: peer-packages $(SUITE) build ## every race that runtimes have lost, a minute or 20,000 tries each, beside the peers
	DAVIT_ATTACK_SECONDS=60 $(SUITE) --jobs 1 --runtime $(RUNTIME) $(addprefix --beside ,$(BESIDE)) runtime/past_vulnerabilities

weakened: base-packages $(SUITE) ## show that those rows notice: davit without one defence at a time, each caught by its row
	conformance/weakened.sh $(SUITE) $(ONLY)

# TARGETS='config seccomp' runs only those; a finding is kept in out/fuzz/findings.
fuzz: SECONDS ?= 60
FUZZ = ci/apt.sh g++:g++ && fuzz/run.sh
fuzz: ## whatever comes from outside, mutated, against what is promised of it: SECONDS for each target
	$(FUZZ) $(SECONDS) $(TARGETS)

fuzz-smoke: ## the same for three seconds each
	SEED=1 $(FUZZ) 3 $(TARGETS)

# Type-checked only: nobody here can run them. rustup fetches what is missing.
CROSS := aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf i686-unknown-linux-gnu \
         powerpc64le-unknown-linux-gnu riscv64gc-unknown-linux-gnu
cross: ## check that davit compiles for other machines
	rustup target add $(CROSS)
	for target in $(CROSS); do cargo check --locked -p runtime --target $$target || exit; done

swap: peer-packages build ## runc with our hook and plugins, davit with the reference plugins
	demo/swap.sh

test-containerd: client-packages build ## ctr run --cni with davit and our plugins
	conformance/clients/containerd.sh $(DAVIT) $(CURDIR)/out/cni $(CURDIR)/out/bin/davit-cni

# VM_SUITE=trixie makes one of that Debian. See vm/README.md.
vm: ## a guest with systemd, cgroup v2, AppArmor and VLANs, in ~/.cache/davit-vm; vm/run COMMAND runs there
	vm/build

vm-selftest: base-packages # what vm/run does when a machine dies or hangs, without one
	vm/selftest

# `make conformance` has told what this machine cannot judge, unless the suite is newer than that.
test-vm: base-packages vm-selftest $(SUITE) build vm ## there: the rows that this machine cannot judge
	@[ $(HOST_REPORT) -nt $(SUITE) ] || $(SUITE) --jobs $(JOBS) --runtime $(DAVIT) --cni-path $(CURDIR)/out/cni $(CALLS) \
	    --format json --output $(HOST_REPORT) >/dev/null
	SUITE=$(CURDIR)/$(SUITE) vm/test skipped $(HOST_REPORT)

conformance-vm: base-packages $(SUITE) build vm ## there: every row; an hour and more
	SUITE=$(CURDIR)/$(SUITE) vm/test all

# What each machine has told last, a file for each client; the page is made of all of them.
COLUMNS := docs/clients
CLIENT_PAGE = cargo run --locked --quiet -p conformance --bin client-table -- $(COLUMNS)/*-* >docs/clients.md
test-clients: peer-packages client-packages build ## what ctr, the CRI, podman and Docker can do with davit, beside runc: docs/clients.md
	@ci/apt.sh $(BESIDE_CLIENTS)
	conformance/clients/operations.sh $(DAVIT) $(CURDIR)/out/cni $(COLUMNS)/host-davit $(ONLY)
	conformance/clients/operations.sh runc $(REFERENCE) $(COLUMNS)/host-runc $(ONLY)
	$(CLIENT_PAGE)

LIES := $(CURDIR)/conformance/clients/lies.txt
test-lies: peer-packages client-packages build ## show that what clients do can fail: a runtime that lies, and the operation that notices
	@ci/apt.sh $(BESIDE_CLIENTS)
	LIES=$(LIES) PATIENCE=20 conformance/clients/operations.sh $(DAVIT) $(CURDIR)/out/cni $(CURDIR)/out/lies $(or $(ONLY),ctr cri docker podman podman-rootless)
	! grep -h 'the lie was believed$$' out/lies/*.tsv

# The column of the host is `host`, a guest's is its suite's.
SUITES := bookworm trixie
test-clients-vm: base-packages build ## the same in a guest of each Debian, into its columns
	for suite in $(SUITES); do \
	    VM_SUITE=$$suite vm/build || exit; \
	    for runtime in davit runc; do VM_SUITE=$$suite vm/clients $$runtime $(COLUMNS)/$$suite-$$runtime $(ONLY); done; done
	$(CLIENT_PAGE)

# CASES="run exec" measures only those; NAME=quiet keeps the report in docs/bench and draws it.
ROUNDS ?= 25
BENCH_OUTPUT = $(if $(NAME),docs/bench/$(shell date -u +%F)-$(NAME)-$(1).json,out/bench-$(1).json)
BENCH = bench/run.sh $(1) $(ROUNDS) $(BENCH_OUTPUT) $(CASES) $(if $(NAME),&& $(MAKE) bench-charts)
bench: peer-packages build ## ratios beside crun, runc, youki and a floor in C, and what is to be reached
	$(call BENCH,runtimes)

bench-cni: peer-packages build ## our plugins beside the reference's: chains, each alone, large pools, a hundred at once
	$(call BENCH,plugins)

check-hot-text: build # what starts execute is still found by its names
	ci/hot-text.sh out/bin/davit out/bin/davit-cni out/cni/davit-cni-plugins

# Ten minutes: single steps. Worth it after much has changed, or for another compiler.
hot-text: base-packages ## which functions usual starts execute, for the linker to put side by side (hot-text/*.ld)
	target=$$(ci/release-target.sh) && export CARGO_PROFILE_RELEASE_STRIP=none && \
	    cargo build --release --locked --target $$target --target-dir target/unstripped \
	        -p runtime -p hooks -p davit-cni-plugins && \
	    built=target/unstripped/$$target/release && mkdir -p out/unstripped/bin && \
	    install -m 755 $$built/davit $$built/davit-cni out/unstripped/bin/ && \
	    ci/install-plugins.sh $$built/davit-cni-plugins out/unstripped/cni
	OURS=out/unstripped bench/run.sh hot-text 1 hot-text

bench-charts: ## draw every report of docs/bench and write its page
	cargo run --release --quiet --locked -p bench -- chart docs/bench

# SEED=N repeats the choices of a run, though not their moments.
storm: SECONDS ?= 600
storm: base-packages build ## 16 workers do anything to 8 containers and 2 networks for ten minutes, killed at random: what must hold holds
	cargo build --release --locked --quiet -p faults
	target/$(TARGET)/release/storm --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

burst: base-packages build ## 1,000 containers in a row, 64 at once: no failure, no leftover, no hang
	conformance/clients/burst.sh $(DAVIT)

install: build ## install below $(DESTDIR)$(prefix)
	install -d $(DESTDIR)$(prefix)/bin
	install -m 755 out/bin/* $(DESTDIR)$(prefix)/bin/
	ci/install-plugins.sh out/cni/davit-cni-plugins $(DESTDIR)$(prefix)/libexec/cni
	cp -R out/share $(DESTDIR)$(prefix)/
	install -d $(DESTDIR)$(prefix)/lib/systemd/system
	for unit in davit-cni-gc.service davit-cni-gc.timer; do \
	    sed 's|^ExecStart=/usr/local/bin|ExecStart=$(prefix)/bin|' hooks/systemd/$$unit \
	        > $(DESTDIR)$(prefix)/lib/systemd/system/$$unit || exit; done

clean: ## remove what was built
	cargo clean
	rm -rf out
