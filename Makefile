# SPDX-License-Identifier: GPL-2.0
# The front doors: 'make help' says what each one does and costs.
#
#   KERNEL=stock      run and check with the package's unchanged kernel
#   OUTER=kvm         use this machine's nested KVM instead of emulation
#   TESTS='a b'       only these tests (check, selftests)
#   BEDS='svm intel'  only these beds (check, bench)
#   FILES='x y'       these kernel files (refresh, discard)

KERNEL ?= ours
export KERNEL OUTER TESTS BEDS LINUX_SOURCE DEB_KERNEL
# ccache: without a run of the preprocessor before each compilation, a quarter of the
# time of a first build; and clones share what they built.
export CCACHE_DEPEND ?= 1
export CCACHE_BASEDIR ?= $(CURDIR)
.DEFAULT_GOAL := help
# One front door at a time; each uses all processors by itself.
.NOTPARALLEL:

.PHONY: help
help:
	@sed -n 's/^#: //p' Makefile

#: make run             a Debian guest on QEMU's Xen machine on our kernel; report
.PHONY: run
run: setup kernel-$(KERNEL)
	@harness/run

#: make run-fifo        a Debian guest with FIFO event channels, in samples/kvm-xen
.PHONY: run-fifo
run-fifo: setup kernel-$(KERNEL)
	@harness/run-fifo

#: make run-info        what our kernel offers to Xen guests, as tools/kvm/kvm_xen_info
#:                      tells, and whether that is so
.PHONY: run-info
run-info: setup kernel-$(KERNEL)
	@harness/run-info

#: make check           everything that must work, on every bed; 'N passed, N failed'
.PHONY: check
check: setup
	@harness/check

#: make check-stock     the same tests on the package's own kernel, where what
#:                      harness/stock-fails lists must fail and all else pass
#: make check-debug     the same on a kernel with KASAN, lockdep and their like
#: make check-rt        the same on a PREEMPT_RT kernel with lockdep
.PHONY: check-stock check-debug check-rt
check-stock check-debug check-rt: check-%: setup
	@KERNEL=$* harness/check

#: make check-builds    more warnings, sparse, clang, i386, modules, without Xen
#: make check-base      the kernel's own KVM selftests: same results as on stock?
.PHONY: check-builds check-base
check-builds check-base: setup
	@harness/$@

#: make series          a patch series against the package's source, by subject, in
#:                      build/series: mails (git), and for Debian's kernel (quilt)
.PHONY: series
series: setup
	@harness/series

#: make check-series    is it clean, does it apply, and build after each patch?
#:                      BUILDS=no leaves out the builds
.PHONY: check-series
check-series: setup
	@harness/check-series

#: make check-all       all of these checks, and the sum
.PHONY: check-all
check-all:
	@harness/check-all

#: make trace           which test proves which rule: build/trace.md, from the last check
.PHONY: trace
trace:
	@harness/trace

#: make bench           what hypercalls and events cost, ours against the package's
#:                      kernel, in instructions; also build/bench.json
.PHONY: bench
bench: setup
	@harness/bench

#: make docs            the manual of KVM, in build/docs; no warning is about ours
.PHONY: docs
docs: setup
	@harness/docs

#: make setup           install missing Debian packages (once); says which and why
.PHONY: setup
setup:
	@harness/setup

#: make kernel          our kernel in build/kernel-ours (5 min, then what changed)
#: make kernel-stock    the package's kernel, same configuration
.PHONY: kernel
kernel: kernel-ours

.PHONY: kernel-%
kernel-%: setup
	@harness/kernel $*

#: make selftests       our KVM selftests, static, in build/selftests (1 min)
.PHONY: selftests
selftests: setup
	@harness/selftests

#: make deb             the KVM modules as a package for one of Debian's kernels 6.12:
#:                      DEB_KERNEL=6.12.x+deb13-amd64, or the newest
#: make check-deb       install it into a Debian image, boot that, test, remove it
.PHONY: deb check-deb
deb: setup
	@harness/deb
check-deb: setup
	@harness/check-deb

#: make refresh         write what was edited in build/linux to its .patch files;
#:                      FILES=arch/x86/kvm/irq.c starts a new edit
.PHONY: refresh
refresh:
	@harness/assemble refresh $(FILES)

#: make discard FILES=x drop what was edited in build/linux/x since the last refresh
.PHONY: discard
discard:
	@harness/assemble discard $(FILES)

#: make clean           delete everything that was built
.PHONY: clean
clean:
	rm -rf build
