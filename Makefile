# Everything a developer or a visitor runs. Each target installs what it needs and says so.
CARGO ?= cargo
BINARY := $(or $(CARGO_TARGET_DIR),target)/release/network-agent

.DEFAULT_GOAL := help
.PHONY: help setup build profiled demo test servers e2e kubernetes e2e-cluster quickstart-check readme-check image-check manifests check bench bench-compare bench-live soak fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building needs
	@scripts/setup.sh build

build: setup ## build the release binary
	$(CARGO) build --locked --release

profiled: setup ## build it as the image has it: twice as long, a fifth less processor time
	scripts/profiled.sh build --locked --release

demo: ## see it work: a small server, a few requests, their spans, captured live
	@scripts/setup.sh demo
	@$(CARGO) build --locked --release --quiet
	@scripts/demo.sh $(BINARY)

test: ## run every test
	@scripts/setup.sh test
	$(CARGO) test --locked

servers: ## compare with the access logs of real servers: nginx, Apache, HAProxy, Node, Python
	@scripts/setup.sh servers
	$(CARGO) test --locked --test servers

e2e: ## export to a real OpenTelemetry Collector, built once with Go
	@scripts/setup.sh test
	@scripts/e2e.sh $(CARGO)

kubernetes: ## make a real Kubernetes for the tests, once: ten minutes or more, with Go
	@tests/cluster/cached.sh build

e2e-cluster: ## agents on a real Kubernetes of two nodes: every span, iptables and nftables, routes and VXLAN; then quickstart-check
	@scripts/setup.sh cluster
	$(CARGO) build --locked --release --quiet
	@tests/cluster/cached.sh build
	@PATH=$$PATH:/usr/sbin:/sbin python3 tests/cluster/e2e.py $(BINARY) $(VARIANTS)
	@[ "$(QUICKSTART)" = no ] || $(MAKE) --no-print-directory quickstart-check

quickstart-check: image-check ## the README, its quickstart, its updates and its troubles, with the image, on a real Kubernetes of two nodes
	@scripts/setup.sh cluster
	@tests/cluster/cached.sh build
	@folder=$$(mktemp -d) && trap 'rm -rf $$folder' EXIT && \
		buildah push -q localhost/network-agent:check docker-archive:$$folder/image.tar:ghcr.io/honeycombio/network-agent:1.0.0 && \
		PATH=$$PATH:/usr/sbin:/sbin python3 tests/cluster/quickstart.py $$folder/image.tar $(SCENARIOS)

readme-check: ## follow the README from top to bottom in a clean clone, as far as one machine allows
	@scripts/setup.sh test
	@python3 scripts/readme-check.py

image-check: ## build the image and run it as a cluster would: one capability, nothing to write to; compile for the other architecture
	@scripts/setup.sh image
	@scripts/image-check.sh "$$(scripts/otelcol.sh || true)"
	@scripts/static.sh "$$([ "$$(uname -m)" = aarch64 ] && echo amd64 || echo arm64)" check

manifests: ## check the chart, the rendered manifests and every YAML file, against a real API server where there is one
	@scripts/manifests-check.sh

check: ## format, lints, documentation, layout, a short fuzz
	@scripts/setup.sh build
	$(CARGO) fmt --check -- benches/cost/captures.rs
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(CARGO) test --locked --test tidy
	$(CARGO) run --locked --release --manifest-path fuzz/Cargo.toml -- --seconds 5 --seed 1

bench: setup ## measure what a packet, an exchange, a connection, a span and a pod cost, beside the targets
	scripts/profiled.sh bench --locked --bench cost -- --json $(CURDIR)/target/bench.json
	scripts/profiled.sh bench --locked --bench export
	scripts/profiled.sh bench --locked --bench metadata

bench-compare: setup ## the same for two revisions: make bench-compare BASE=revision
	@test -n "$(BASE)" || { echo "which revision to compare with? make bench-compare BASE=revision"; exit 2; }
	rm -rf target/bench-base && git worktree prune
	git worktree add --detach target/bench-base $(BASE)
	cd target/bench-base && CARGO_TARGET_DIR=$(CURDIR)/target/bench-base-target \
		$(CURDIR)/scripts/profiled.sh bench --locked --bench cost -- --json $(CURDIR)/target/bench-base.json
	git worktree remove --force target/bench-base
	scripts/profiled.sh bench --locked --bench cost -- --json $(CURDIR)/target/bench.json
	python3 scripts/bench-compare.py target/bench-base.json target/bench.json

bench-live: setup ## measure live capture: recall, drops, CPU, memory
	scripts/profiled.sh build --locked --release --quiet
	python3 scripts/bench-live.py $(BINARY)

soak: setup ## watch memory for twenty minutes beside connections that stall and never close
	$(CARGO) build --locked --release --quiet
	python3 scripts/soak.py $(BINARY)

fuzz: setup ## fuzz for ten minutes
	$(CARGO) run --locked --release --manifest-path fuzz/Cargo.toml -- --seconds 600
