package engine

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// journalMax is how much of a journal is read, in bytes. An engine keeps it far smaller.
const journalMax = 64 << 20

// journal is a file of events that are not in the store yet, a line of JSON each: a transaction costs a hundred times what a write to a file does. Its
// pages are the kernel's, so an engine that is killed loses nothing. What is no event, and what the store has, counts for nothing: an engine may have
// been killed in the middle of it.
type journal struct {
	f  *os.File
	at int64 // where the next line begins
}

// openJournal also returns what the last engine has left there.
func openJournal(dir string) (*journal, []Event, error) {
	f, err := os.OpenFile(filepath.Join(dir, "events.journal"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, journalMax))
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	var left []Event
	for line := range bytes.Lines(data) {
		var ev Event
		if json.Unmarshal(line, &ev) == nil && ev.Seq > 0 {
			left = append(left, ev)
		}
	}
	slices.SortFunc(left, func(a, b Event) int { return int(int64(a.Seq - b.Seq)) })
	left = slices.CompactFunc(left, func(a, b Event) bool { return a.Seq == b.Seq })
	return &journal{f, int64(len(data))}, left, nil
}

// add writes events behind those that are there. Where the disk is full, the store is told of them all the same.
func (j *journal) add(list ...Event) {
	var b bytes.Buffer
	for i := range list {
		line, err := json.Marshal(&list[i])
		if err == nil {
			b.Write(append(line, '\n'))
		}
	}
	if n, err := j.f.WriteAt(b.Bytes(), j.at); err == nil {
		j.at += int64(n)
	}
}

// keep leaves nothing but these, the newest.
func (j *journal) keep(list []Event) {
	j.at = 0
	j.add(list...)
	j.f.Truncate(j.at)
}
