package ipc

import (
	"testing"

	"kxsh/ipc/abi"
	"kxsh/ipc/ipctest"
)

// BenchmarkDrain reads a full output ring, in records of a line and of the largest size.
func BenchmarkDrain(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"lines", 60}, {"records of 16 KiB", abi.RecordMax - 64}} {
		b.Run(size.name, func(b *testing.B) {
			ctl := ipctest.NewArea()
			g := ipctest.NewGuest(ctl, func() {})
			o := NewOutput(ctl)
			line := make([]byte, size.n)
			for g.Print(abi.Stdout, line) {
			}
			filled := g.Control.Conout.Prod
			b.SetBytes(int64(filled))
			for b.Loop() {
				o.cons = 0
				if _, err := o.Read(); err != nil {
					b.Fatal(err)
				}
				o.Release()
			}
		})
	}
}
