# The build of warren. Everything that is not Go is a test's or a benchmark's need, and bench/install-peers.sh provides it.

GO ?= go
# Tools are run by version and never enter go.mod, so that who imports warren does not inherit them.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10s
TESTTIMEOUT ?= 15m

.DEFAULT_GOAL := help
.PHONY: help build test peers vet fmt staticcheck race unit fuzz bench bench-ratios bench-peers bench-ike bench-table clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the program, into bin/warren
	$(GO) build -o bin/warren ./cmd/warren

# One recipe rather than prerequisites: the order is part of it, also under make -j.
test: ## everything: installs what is missing (as root), vet, formatting, staticcheck, tests with and without -race
	@$(MAKE) --no-print-directory peers
	@$(MAKE) --no-print-directory vet
	@$(MAKE) --no-print-directory fmt
	@$(MAKE) --no-print-directory staticcheck
	@$(MAKE) --no-print-directory race
	@$(MAKE) --no-print-directory unit
	@echo "== everything passed"

peers: ## the programs that tests and benchmarks use
	@echo "== peers: programs that tests and benchmarks use"
	@bench/install-peers.sh

vet: ## go vet
	@echo "== vet"
	$(GO) vet ./...

fmt: ## fails if a file is not as gofmt would write it
	@echo "== formatting"
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not as gofmt writes it (run gofmt -w):"; echo "$$unformatted"; exit 1; fi

staticcheck: ## staticcheck, configured by staticcheck.conf
	@echo "== staticcheck"
	$(GO) run $(STATICCHECK) ./...

# Built in parallel, run one package after the other: tests with real programs want the machine for themselves. Those of bench/e2e
# drive programs, which the detector would not see, and run at full speed only.
race: ## all tests under the race detector
	@echo "== tests under the race detector"
	@$(GO) test -race -run '^$$' ./... >/dev/null
	$(GO) test -race -p 1 -count=1 -timeout $(TESTTIMEOUT) $$($(GO) list ./... | grep -v /bench/e2e$$)

# Once more at full speed: allocations are only counted without the race detector, whose runtime allocates itself.
unit: ## all tests at full speed
	@echo "== tests at full speed"
	@$(GO) test -run '^$$' ./... >/dev/null
	$(GO) test -p 1 -count=1 -timeout $(TESTTIMEOUT) ./...

fuzz: ## each fuzz target for FUZZTIME (10s)
	@GO="$(GO)" FUZZTIME="$(FUZZTIME)" bench/fuzz.sh

# All parts run even if one fails; the status is that of all.
bench: peers ## what warren claims, measured: ratios in memory, side by side with real peers, key exchange, a full BGP table
	@status=0; \
	$(MAKE) --no-print-directory bench-ratios || status=1; \
	$(MAKE) --no-print-directory bench-peers || status=1; \
	$(MAKE) --no-print-directory bench-ike || status=1; \
	$(MAKE) --no-print-directory bench-table || status=1; \
	exit $$status

bench-ratios: ## benchmarks in memory, as ratios (RATIOSFLAGS)
	@echo "== benchmarks in memory"
	$(GO) run ./bench/cmd/ratios $(RATIOSFLAGS)

bench-peers: ## through tunnels between network namespaces, side by side with other programs; root (PEERSFLAGS)
	@echo "== side by side with peers"
	$(GO) run ./bench/cmd/sidebyside $(PEERSFLAGS)

bench-ike: ## handshakes as responder beside charon, a thousand tunnels at once; root (IKEFLAGS)
	@echo "== key exchange"
	$(GO) run ./bench/cmd/ikebench $(IKEFLAGS)

bench-table: ## the Internet's table from BIRD, to BIRD, and withdrawn; root (TABLEFLAGS)
	@echo "== a full table"
	$(GO) run ./bench/cmd/fulltable $(TABLEFLAGS)

clean: ## removes what was built
	rm -rf bin
