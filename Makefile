# What a developer types. `.ci/run` is the whole gate.

# Debian packages, where a test needs one: as root, or through sudo.
APT_UPDATE = $(if $(filter 0,$(shell id -u)),,sudo) apt-get update --quiet
APT = $(if $(filter 0,$(shell id -u)),,sudo) apt-get install --yes --no-install-recommends

.PHONY: bench demo doc fmt fuzz lint test

# The whole switch on loopback, with the demo world.
demo:
	cargo run --release --locked -- demo

# Needs nothing but Rust and a network for crates; installs Debian's chromium and postgresql where they are missing.
# tests/requirements.txt names the independent implementation that some tests compare with; it goes into target/, never
# into the system. So does promtool, out of Debian's package prometheus: unpacked and not installed, so that no service
# comes with it.
test:
	@if [ -f tests/requirements.txt ]; then $(MAKE) --no-print-directory target/venv/done; fi
	@command -v promtool >/dev/null || $(MAKE) --no-print-directory target/promtool/usr/bin/promtool
	@command -v chromium >/dev/null || $(APT) chromium || { $(APT_UPDATE) && $(APT) chromium; }
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(APT) postgresql || { $(APT_UPDATE) && $(APT) postgresql; }
	PATH="$(CURDIR)/target/venv/bin:$(CURDIR)/target/promtool/usr/bin:$$PATH" cargo test --locked
	PATH="$(CURDIR)/target/venv/bin:$(CURDIR)/target/promtool/usr/bin:$$PATH" PINION_TEST_HSM=payshield cargo test --locked --test functional
	PATH="$(CURDIR)/target/venv/bin:$(CURDIR)/target/promtool/usr/bin:$$PATH" PINION_TEST_STORE=postgres cargo test --locked --test functional

target/venv/done: $(wildcard tests/requirements.txt tests/interop/requirements.txt)
	@python3 -c "import ensurepip, venv" 2>/dev/null || $(APT) python3 python3-venv
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	target/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
		-r tests/interop/requirements.txt
	touch $@

target/promtool/usr/bin/promtool:
	mkdir -p target/promtool
	cd target/promtool && { apt-get download prometheus || { $(APT_UPDATE) && apt-get download prometheus; }; }
	dpkg-deb --extract target/promtool/prometheus_*.deb target/promtool
	rm target/promtool/prometheus_*.deb target/promtool/usr/bin/prometheus

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
