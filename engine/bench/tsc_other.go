//go:build !amd64

package bench

// Only so that the package compiles elsewhere, where no hypervisor opens.
func rdtsc() uint64 { return 0 }
