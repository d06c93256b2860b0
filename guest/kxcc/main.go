// Command kxcc is `kxsh cc` alone: the guest's Makefile builds the example programs with it, so that
// they do not wait for the rest of kxsh.
package main

import (
	"context"
	"os"

	"kxsh/guest"
)

func main() {
	os.Exit(guest.CC(context.Background(), os.Args[1:], os.Environ(), "", os.Stdin, os.Stdout, os.Stderr))
}
