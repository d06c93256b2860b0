package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Console streams travel in frames, both ways: a type, a time, a length, then the data.
//
//	0  uint8   type: a stream number, or one of the frame constants
//	1  int64   time, Unix nanoseconds (little endian, as the length)
//	9  uint32  length, at most frameMax
const (
	frameHeader = 13
	frameMax    = 1 << 20

	frameStdin  = 'i' // to the engine: standard input
	frameEOF    = 'e' // to the engine: no more standard input
	frameResize = 'w' // to the engine: rows and columns, uint16 each
	frameEnd    = 'z' // to the client: all was sent; the data is an error message or empty
	frameLost   = 'l' // to the client: bytes of the beginning that were rotated away, uint64
)

type frame struct {
	typ  byte
	time time.Time
	data []byte
}

func writeFrame(w io.Writer, f frame) error {
	buf := make([]byte, frameHeader, frameHeader+len(f.data))
	buf[0] = f.typ
	if !f.time.IsZero() {
		binary.LittleEndian.PutUint64(buf[1:], uint64(f.time.UnixNano()))
	}
	binary.LittleEndian.PutUint32(buf[9:], uint32(len(f.data)))
	_, err := w.Write(append(buf, f.data...))
	return err
}

func readFrame(r io.Reader) (frame, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	n := binary.LittleEndian.Uint32(h[9:])
	if n > frameMax {
		return frame{}, fmt.Errorf("frame of %d bytes: at most %d", n, frameMax)
	}
	f := frame{typ: h[0], time: time.Unix(0, int64(binary.LittleEndian.Uint64(h[1:]))), data: make([]byte, n)}
	_, err := io.ReadFull(r, f.data)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return f, err
}
