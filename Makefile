# Two commands do everything on a fresh machine: `make run` and `make test`.
.PHONY: setup setup-test run test bench fuzz soak lint

setup:
	@sh scripts/setup.sh build

setup-test:
	@sh scripts/setup.sh test

run: setup
	cargo run --release --bin tapedeck -- demo

# Built before the servers start: idle brokers take most of a core.
test: setup-test lint
	cargo test --workspace --quiet --no-run
	sh scripts/servers.sh run cargo test --workspace --quiet --no-fail-fast

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

bench: setup-test
	sh bench/run.sh

# Ten minutes for each target: make fuzz EACH=600
fuzz:
	sh fuzz/run.sh $(or $(EACH),60)

# A thousand kills under load, some 30 minutes: docs/soak.md. SEED=7 KILLS=100 make soak
soak: setup-test
	sh scripts/soak.sh
