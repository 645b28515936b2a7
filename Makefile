# What a developer types. `.ci/run` is the whole gate.

# Debian packages, where a test needs one: as root, or through sudo.
APT_UPDATE = $(if $(filter 0,$(shell id -u)),,sudo) apt-get update --quiet
APT = $(if $(filter 0,$(shell id -u)),,sudo) apt-get install --yes --no-install-recommends

.PHONY: bench demo doc fmt fuzz lint test

# The whole switch on loopback, with the demo world.
demo:
	cargo run --release --locked -- demo

# Needs nothing but Rust and a network for crates; installs Debian's chromium and postgresql where they are missing. tests/requirements.txt names the independent implementation that some
# tests compare with; it goes into target/, never into the system.
test:
	@if [ -f tests/requirements.txt ]; then $(MAKE) --no-print-directory target/venv/done; fi
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(APT) postgresql || { $(APT_UPDATE) && $(APT) postgresql; }
	@command -v chromium >/dev/null || $(APT) chromium || { $(APT_UPDATE) && $(APT) chromium; }
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(APT) postgresql || { $(APT_UPDATE) && $(APT) postgresql; }
	PATH="$(CURDIR)/target/venv/bin:$$PATH" cargo test --locked
	PATH="$(CURDIR)/target/venv/bin:$$PATH" PINION_TEST_STORE=postgres cargo test --locked --test functional

target/venv/done: $(wildcard tests/requirements.txt)
	@python3 -c "import ensurepip, venv" 2>/dev/null || $(APT) python3 python3-venv
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

bench:
	cargo bench --locked

fmt:
	cargo fmt

lint:
	cargo clippy --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# Ten seconds a target, as a smoke test. RUSTC_BOOTSTRAP lets the stable compiler take the sanitizer flags cargo-fuzz sets.
fuzz:
	@command -v cargo-fuzz >/dev/null || { echo "make fuzz: cargo install --locked cargo-fuzz"; exit 1; }
	@for target in $$(cargo fuzz list); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=10 || exit 1; \
	done
