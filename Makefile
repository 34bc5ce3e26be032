# `make` alone prints the page of help below. Each target sets up what it needs and says what it installs.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help run test check bench soak docs clean

help: ## Show this page
	@printf 'Gatewright: your OpenAPI description, running.\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Build the release and start the demo: an upstream and a gateway before it, all on loopback
	@tests/setup.sh build
	cargo run --release --locked -- demo

test: ## Run every test: unit, integration against real servers, browser
	@tests/setup.sh build test
	cargo test --locked

check: ## Formatting, lints, house rules (tests/tidy.rs), licences and duplicate dependencies
	@tests/setup.sh build check
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test tidy -- --show-output
	tests/.tools/bin/cargo-deny check bans licenses sources

bench: ## Measure CPU per request beside nginx, HAProxy and Varnish, start, import, hit ratios; prints tables
	@tests/setup.sh build bench
	cargo build --release --locked
	python3 tests/bench/run.py
	python3 tests/bench/cache.py
	python3 tests/bench/start.py
	cargo bench --locked --bench store -- ratio
	cargo bench --locked --bench store -- memory 256 1000000

soak: ## The long scenarios in their full size (10 GB bodies, ten minutes of mixed load, 200 kills of each kind)
	@tests/setup.sh build test
	GATEWRIGHT_SOAK=1 cargo test --release --locked --test it -- endurance:: mixed_load:: cache_crash:: --nocapture
	GATEWRIGHT_SOAK=1 cargo test --release --locked --lib -- disk::tests::crash:: --nocapture

docs: ## Write the generated reference anew and build the documentation of the code
	UPDATE=1 cargo test --locked --lib -- not_stale
	cargo doc --locked --no-deps --document-private-items

clean: ## Remove what was built and the tools that the tests installed
	cargo clean
	rm -rf tests/.tools tests/*/node_modules
