# Thin: each target is one or two commands. Everything that a fresh Debian machine with Rust lacks is installed by them.
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: demo test chart lint release bench bench-quick bench-build

# Torhaus with its demo identity provider and sample applications; prints URLs and logins; Ctrl-C stops it all.
demo:
	cargo build --locked -p torhaus -p torhaus-demo
	$(TARGET)/debug/torhaus-demo --torhaus $(TARGET)/debug/torhaus

# Unit, property and listener tests; then the same stores and several replicas on a real PostgreSQL; then the demo's own
# lines; then software that others wrote (tests/run).
test:
	cargo test --locked --workspace
	tests/peers/postgres.sh
	cargo test --locked -p torhaus --test postgres -- --test-threads=2
	$(TARGET)/debug/torhaus-demo --torhaus $(TARGET)/debug/torhaus --base-port 18443 --folder $(TARGET)/demo-check --check
	tests/run

# The Helm chart, with Helm itself; needs Go.
chart:
	tests/chart

lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p torhaus --test postgres -- -D warnings
	cargo clippy --locked -p torhaus --no-default-features --all-targets -- -D warnings
	scripts/imports
	scripts/links
	scripts/deny
	scripts/sbom

# The fastest binary, $(TARGET)/pgo/torhaus: built twice, the second time by what it did in between.
release:
	scripts/release

bench-build: release
	cargo build --locked --release -p torhaus-loadtest
	cargo bench --locked -p torhaus-authz --bench decide --no-run
	cargo bench --locked -p torhaus-certs --bench ca --no-run

MEASURED = --torhaus $(TARGET)/pgo/torhaus --bare-edge $(TARGET)/pgo/bare-edge

bench-quick: bench-build
	loadtest/peers.sh quick
	$(TARGET)/release/torhaus-loadtest bench quick $(MEASURED)

bench: bench-build
	loadtest/peers.sh full
	$(TARGET)/release/torhaus-loadtest bench full $(MEASURED)
	cargo bench --locked -p torhaus-certs --bench ca
