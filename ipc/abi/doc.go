// Package abi is the Go side of the guest ABI: the constants and structs of guest/include/kx_abi.h
// and xen_abi.h, with the same values and the same layout. The C headers are the source; abi.go is
// generated from them.
//
// Names are those of C with each word capitalised; kxsh's own constants lose their KX_, so
// KX_CTL_VA is CtlVa and struct kx_control is KxControl.
package abi

//go:generate go run ./gen ../../guest/include .
