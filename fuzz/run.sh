#!/usr/bin/env bash
# run.sh SECONDS [TARGET...]: builds the fuzz targets and runs them one after the other, each for SECONDS, from
# the seeds in fuzz/corpus. What it finds on the way stays in out/fuzz/corpus for the next run, an input that
# breaks a promise in out/fuzz/findings. SEED= makes a run repeatable, as far as the corpus is the same.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift

# Coverage for libFuzzer, by options that the stable compiler has (docs/decisions/0063). They replace what
# .cargo/config.toml says of the targets that we ship.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
CARGO_TARGET_DIR=target/fuzz cargo build --manifest-path fuzz/Cargo.toml --release --locked --quiet --bins --target "$host"
built=target/fuzz/$host/release

# The files that tests have already; all others are in fuzz/corpus.
seeds_of() {
    echo "fuzz/corpus/$1"
    case $1 in
    config | json) echo crates/spec/tests/clients ;;
    seccomp) echo runtime/tests/profiles ;;
    esac
}

[ $# -gt 0 ] || set -- $(ls fuzz/corpus)
mkdir -p out/fuzz/findings
findings=0
for target; do
    mkdir -p "out/fuzz/corpus/$target"
    dictionary=fuzz/dictionaries/$target.dict
    [ -f "$dictionary" ] || dictionary=fuzz/dictionaries/json.dict
    log=out/fuzz/$target.log
    # -timeout is for what never comes back; the second that an input may take is measured in the target.
    # Without a PATH: what some plugins find there is the host's.
    PATH=/nonexistent "$built/$target" "out/fuzz/corpus/$target" $(seeds_of "$target") \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=256 -max_len=16384 \
        -dict="$dictionary" -artifact_prefix="out/fuzz/findings/$target-" -print_final_stats=1 \
        ${SEED:+-seed=$SEED} >"$log" 2>&1 && found= || found=yes
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
    printf '%-10s %10s executions %5s s %4s MiB %s\n' "$target" "${count:-?}" "$seconds" "${peak:-?}" "${found:+FOUND, see $log}"
    [ -z "$found" ] || findings=$((findings + 1))
done
echo "fuzz: $# targets, each for $seconds s: $findings with a finding"
[ "$findings" -eq 0 ]
