# port.mk: what the ports' makefiles share. Set PORT, PACKAGE and VERSION (lib/sources.sha256 has its
# checksum) and include this file.
#
# $(BUILD)/kx and $(BUILD)/native are two copies of the unmodified source, for the two builds.

TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))../..)
BUILD := $(TOP)/build/ports/$(PORT)
KXCC := $(TOP)/build/guest/kxcc

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all clean FORCE

# The driver is rewritten only when it, the LibOS or libc has changed. Who makes all ports has made it before (DRIVER_MADE), not
# several times at once.
ifndef DRIVER_MADE
$(KXCC): FORCE
	@$(MAKE) --no-print-directory -s -C $(TOP)/guest driver
endif

# What a tarball is packed with: zlib's with bzip2, SQLite's with xz.
define unpack
	@for tool in bzip2:bzip2 xz:xz-utils; do command -v $${tool%:*} >/dev/null || \
		{ echo "$(PORT): $${tool%:*}: not found: install it: apt-get install $${tool#*:}" >&2; exit 1; }; done
	rm -rf $(@D)
	mkdir -p $(@D)
	tar -x -C $(@D) --strip-components=1 -f "$$($(TOP)/guest/lib/fetch-source.sh $(PACKAGE) $(VERSION))"
	touch $@
endef

# Programs are linked again when the LibOS has changed, compiled again when libc has.
$(BUILD)/kx/.unpacked: $(TOP)/build/guest/musl.done $(TOP)/guest/lib/sources.sha256
	$(unpack)
$(BUILD)/native/.unpacked: $(TOP)/guest/lib/sources.sha256
	$(unpack)
$(TOP)/build/guest/musl.done: $(KXCC)
