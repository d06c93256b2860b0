package ipc

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"kxsh/ipc/abi"
)

// filesHead is the least a message of 9P has.
const filesHead = 7

// Files takes the requests that a pVM makes of folders of the host, one at a time: it does nothing until each has been answered. It is
// for one goroutine.
type Files struct {
	area  *abi.KxFiles
	data  []byte
	taken uint32 // number of the request that Next has returned
	done  uint32
}

// NewFiles is that of a server that knows no fids. The pVM is told so before a request is taken: one that an earlier server took and did not
// answer comes again, and fails.
func NewFiles(ctl []byte) *Files {
	f := &Files{area: &control(ctl).Files, data: part(ctl, abi.FilesVa, abi.FilesSize)}
	f.done = atomic.LoadUint32(&f.area.Done)
	server := rand.Uint32() | 1
	for server == atomic.LoadUint32(&f.area.Server) {
		server = rand.Uint32() | 1
	}
	atomic.StoreUint32(&f.area.Server, server)
	return f
}

// Asked tells whether a request waits for an answer.
func (f *Files) Asked() bool { return atomic.LoadUint32(&f.area.Asked) != f.done }

// Next returns a copy of the request that waits for an answer, in buf, which has abi.FilesSize bytes; nil if there is none.
func (f *Files) Next(buf []byte) ([]byte, error) {
	f.taken = atomic.LoadUint32(&f.area.Asked)
	if f.taken == f.done {
		return nil, nil
	}
	copy(buf[:4], f.data)
	n := binary.LittleEndian.Uint32(buf)
	if n < filesHead || n > abi.FilesSize {
		return nil, corrupt("a request of folders of %d bytes", n)
	}
	copy(buf[4:n], f.data[4:])
	return buf[:n], nil
}

// Answer answers the request that Next returned. The caller must now raise the event channel.
func (f *Files) Answer(reply []byte) {
	copy(f.data, reply)
	f.done = f.taken
	atomic.StoreUint32(&f.area.Done, f.done)
}
