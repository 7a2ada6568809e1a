# Two commands do everything on a fresh machine: `make run` and `make test`.
.PHONY: setup run test bench lint

setup:
	@sh scripts/setup.sh

run: setup
	cargo run --release --bin tapedeck -- demo

test: setup lint
	cargo test --workspace --quiet

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

bench: setup
	sh bench/run.sh
