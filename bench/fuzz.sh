#!/usr/bin/env bash
# Runs every fuzz target of the module for a bounded time, one after the other. A finding fails the run, and Go leaves the
# input under the package's testdata, to be committed with its fix.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go} time=${FUZZTIME:-10s}

found=0
for dir in $(grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . | xargs -r -n1 dirname | sort -u); do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | awk '{print $2}' | sort -u); do
    found=$((found + 1))
    echo "== fuzz $dir $target for $time"
    "$go" test -run '^$' -fuzz "^$target\$" -fuzzminimizetime 10x -fuzztime "$time" "$dir"
  done
done
echo "== $found fuzz targets, nothing found"
