# make run    build everything and start an interactive kxsh with the example images at hand
# make test   everything, with the race detector on for Go, and on real Xen where QEMU can be had
# make lab    an interactive kxsh on real Xen: a dom0 in QEMU, fetched once (docs/how-to/lab.md)
# make lab-test   the tests on Xen alone: the lab's own, those of the Xen back end, and the end-to-end suite
# make        the kxsh binary alone
#
# A fresh Debian 12 with Go, gcc, make and xz-utils is enough: what else is needed (source packages of musl and lwIP, the
# Go modules) is fetched and cached outside the tree.

GO ?= go
GOFLAGS := -trimpath
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

export GO

.PHONY: all run images ports test deps unit guest-test check fuzz generate install clean

all: kxsh

# The binary embeds the SDK and the hosted hypervisor's stub.
kxsh: sdk stub FORCE
	$(GO) build $(GOFLAGS) -ldflags '-X main.version=$(VERSION)' -o $@ .

.PHONY: sdk stub FORCE
sdk:
	$(MAKE) -C guest sdk
stub:
	$(MAKE) -C xen/hosted
FORCE:

# Example images and the guest test program, built by kxsh cc itself.
images: kxsh
	$(MAKE) -C guest apps test

ports: kxsh
	$(MAKE) -C guest/ports

run: images
	cd guest/apps && PATH="$(CURDIR):$$PATH" exec ../../kxsh

# The parts below one after the other; the last line says how many passed.
test: deps
	@.ci/test

# What the tests call beside Go, gcc and make.
deps:
	@.ci/deps

# Format and static checks.
check:
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$fmt" || { echo "not gofmt-ed: $$fmt"; exit 1; }
	$(GO) vet ./...

# Go tests: units, and end to end through the real binary, real pVMs and a real terminal. CASES keeps their results.
CASES := $(GO) run ./shell/e2e/cases
unit: images ports
	$(CASES) run -o build/hosted.json -- $(GO) test -race -json -timeout 30m ./...

# C parts that can be tested natively, with sanitizers.
guest-test:
	$(MAKE) -C guest/kern/test

# Redis's own tests, of the native server and of the one in a pVM: minutes.
.PHONY: redis-suite
redis-suite: ports
	guest/ports/redis/suites $(CURDIR)/kxsh

# Every benchmark, as the page of the documentation: some minutes on a machine at rest. BENCH= for all rounds, some twenty minutes.
BENCH ?= --quick
BENCH_NAMES ?= all
REPORTS ?= docs/reference
.PHONY: bench-report
bench-report: deps ports
	mkdir -p build
	./kxsh bench $(BENCH) --csv build/bench.csv --html $(REPORTS)/bench-report.html $(BENCH_NAMES)

# The same in dom0 of the lab, beside xl, too: half an hour of emulation, each instruction a nanosecond. Not what has clients, of which each round would take a
# minute. The programs are in dom0's memory: to open a file of this machine's takes longer than some of what is measured.
BENCH_XEN ?= boot boot-many fork ipc update memory recycle
.PHONY: bench-report-xen
bench-report-xen: deps lab-kxsh
	mkdir -p build/report
	$(LAB)/kxsh bench --prepare build/programs
	$(RUN_LAB) run -t 3h --icount --host-root --xl --memory 6144 --dom0-memory 2048 -s build/report:/mnt -- \
		'mount -t tmpfs tmpfs /media && cp -r build/programs $(LAB)/kxsh /media && cd /media && TMPDIR=/media exec ./kxsh bench $(BENCH) --programs programs --csv /mnt/bench-report-xen.csv --html /mnt/bench-report-xen.html $(BENCH_XEN)'
	cp build/report/bench-report-xen.html $(REPORTS)

# Xen in QEMU (docs/how-to/lab.md). lab-ready fails, saying why, where it cannot be had; lab-kxsh makes the
# program for a dom0 that has no shared libraries.
LAB := build/lab
RUN_LAB := $(GO) run ./xen/lab/cmd

.PHONY: lab lab-ready lab-kxsh lab-test lab-own-test lab-suite pages-test cases ipc-cases
lab: images
	cd guest/apps && PATH="$(CURDIR):$$PATH" $(GO) run ../../xen/lab/cmd shell --host-root -- ../../kxsh

lab-ready:
	@$(RUN_LAB) fetch

lab-kxsh: sdk stub
	CGO_ENABLED=0 $(GO) build $(GOFLAGS) -ldflags '-X main.version=$(VERSION)' -o $(LAB)/kxsh .

lab-test: lab-suite lab-own-test cases

# The Xen back end's tests and the end-to-end suite.
lab-suite: images ports
	mkdir -p $(LAB)
	$(MAKE) -C xen/xentest/guest OUT=$(CURDIR)/$(LAB)/guest.kx
	$(GO) build $(GOFLAGS) -o $(LAB)/lab ./xen/lab/cmd
	$(CASES) run -v -o build/xen.json -- .ci/lab $(LAB)/lab $(LAB) || \
		{ for log in $(LAB)/serial*.log; do echo "lab: the end of $$log:"; tail -n 30 $$log; done; exit 1; }

# What the pages say about the tree itself: what builds, installs and measures, and what boots the lab.
pages-test: deps images ports
	KXSH_TEST_PATIENCE=10 $(GO) test -tags tree -count=1 -v -timeout 20m -run '^TestTree' ./shell/e2e

lab-own-test:
	$(GO) test -tags lab -timeout 20m ./xen/lab/...

# Which case ran where, from the results of unit and lab-suite.
cases:
	@mkdir -p build
	@$(CASES) table hosted=build/hosted.json xen=build/xen.json >build/cases.txt && cat build/cases.txt

# Cases of System V IPC, pipes, signals, waits and forks, on this Linux and in a pVM of its hypervisor: both columns.
IPC_CASES := guest/test/ipc-cases.txt
ipc-cases: images
	@$(MAKE) -s -C guest/test ../../build/guest/test/usertests
	@tests=$$(sed 's/#.*//; / - /d; s/^[^ ]*//' $(IPC_CASES)); \
		build/guest/test/usertests $$tests >build/ipc-native.txt; \
		./kxsh run -m 64M guest/test/usertests.kx $$tests >build/ipc-pvm.txt; \
		$(CASES) guest $(IPC_CASES) native=build/ipc-native.txt pVM=build/ipc-pvm.txt

# For how long each: a time, or how many inputs with x behind it. What is found is not made smaller, which would take most of it.
FUZZ_TIME ?= 30s
FUZZED = $(shell grep -rE '^func Fuzz' --include='*_test.go' elf engine guest ipc shell tui xen | sed -E 's|/[^/]*:func (Fuzz[A-Za-z]+).*|/\1|' | sort)
fuzz:
	@for target in $(FUZZED); do \
		echo "$$target"; \
		$(GO) test -run '^$$' -fuzz "^$${target##*/}\$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 1x "./$${target%/*}" || exit 1; \
	done

generate:
	$(GO) generate ./...

PREFIX ?= /usr/local
install: kxsh
	install -D kxsh $(DESTDIR)$(PREFIX)/bin/kxsh
	install -D -m 644 completions/kxsh.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kxsh
	install -D -m 644 completions/_kxsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_kxsh
	install -D -m 644 completions/kxsh.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kxsh.fish
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/man/*.1
	install -D -m 644 engine/systemd/kxsh.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/kxsh.socket
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@bindir@|$(PREFIX)/bin|' engine/systemd/kxsh.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/kxsh.service

clean:
	$(MAKE) -C guest clean
	$(MAKE) -C xen/hosted clean
	rm -rf kxsh build
