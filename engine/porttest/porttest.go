// Package porttest finds ports for tests.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Free is an address of the loopback with a port that nobody listens on. It is none of those that the host gives away by itself: somebody else's client may
// have such a one in between.
func Free(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprint("127.0.0.1:", 10000+rand.IntN(20000))
		if ln, err := net.Listen("tcp4", address); err == nil {
			ln.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}
