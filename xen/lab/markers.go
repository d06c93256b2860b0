package lab

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// What /init writes around the command's output on the second serial line. The nonce keeps output
// that happens to look like a marker, or tries to, from being taken for one.
func beginMarker(nonce string) string { return "\n@lab " + nonce + " begin\n" }
func endMarker(nonce string) string   { return "\n@lab " + nonce + " end " }

// maxStatus bounds the digits of an exit status and the newline after it.
const maxStatus = len("255\n")

// A markers passes on to out what lies between the two markers, byte for byte, as it arrives, and
// learns the exit status from the second one. It is the io.Writer that QEMU's output goes to.
type markers struct {
	nonce  string
	out    io.Writer
	begun  bool
	ended  bool
	status int
	held   []byte // not passed on yet: might be part of a marker
	begin  func() // called when the command starts
	end    func() // called when its status is known
}

func (m *markers) Write(p []byte) (int, error) {
	m.held = append(m.held, p...)
	if !m.begun {
		_, after, found := bytes.Cut(m.held, []byte(beginMarker(m.nonce)))
		if !found {
			m.held = m.held[max(0, len(m.held)-len(beginMarker(m.nonce))):]
			return len(p), nil
		}
		m.begun, m.held = true, after
		m.begin()
	}
	if !m.ended {
		if err := m.pass(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// pass hands on all that cannot belong to the end marker.
func (m *markers) pass() error {
	mark := []byte(endMarker(m.nonce))
	at := bytes.Index(m.held, mark)
	if at < 0 {
		return m.flush(len(m.held) - tail(m.held, mark))
	}
	digits, _, complete := bytes.Cut(m.held[at+len(mark):], []byte("\n"))
	if !complete && len(digits) < maxStatus {
		return m.flush(at)
	}
	status, err := strconv.ParseUint(string(digits), 10, 8)
	if err != nil {
		return fmt.Errorf("lab: exit status from dom0: %w", err)
	}
	if err := m.flush(at); err != nil {
		return err
	}
	m.ended, m.status, m.held = true, int(status), nil
	m.end()
	return nil
}

// finish passes on what was held back when the line ended without an end marker.
func (m *markers) finish() error {
	if !m.begun || m.ended {
		return nil
	}
	return m.flush(len(m.held))
}

func (m *markers) flush(n int) error {
	_, err := m.out.Write(m.held[:n])
	m.held = m.held[n:]
	return err
}

// tail is the length of the longest end of b that mark begins with.
func tail(b, mark []byte) int {
	for n := min(len(b), len(mark)-1); n > 0; n-- {
		if bytes.HasSuffix(b, mark[:n]) {
			return n
		}
	}
	return 0
}
