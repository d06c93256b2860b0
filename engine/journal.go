package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// journalMax is how long a file of the journal may become, in bytes. It stays far smaller, unless the store cannot be written to.
const journalMax = 64 << 20

var errJournalFull = fmt.Errorf("the store could not be written to, and its journal has %d MiB", journalMax>>20)

// journal has the changes that the store does not have yet, a line of JSON each: a transaction costs many times what a write to a file does. Its
// pages are the kernel's, so an engine that is killed loses nothing. There are two files: while what is in one of them is brought into the store,
// lines go to the other. A line that is not whole counts for nothing, nor does one that the store has by its number.
type journal struct {
	files [2]*os.File
	ends  [2]int64 // where the next line of each begins
	now   int      // which is written to
	last  uint64   // number of the last line
}

// entry is what one line says: records, as they are kept, by PID; PIDs whose records go; an event.
type entry struct {
	N     uint64                  `json:"n"`
	Put   map[int]json.RawMessage `json:"put,omitempty"`
	Drop  []int                   `json:"drop,omitempty"`
	Event *Event                  `json:"event,omitempty"`
}

// openJournal also returns what the last engine has left there, in its order.
func openJournal(dir string) (j *journal, left []entry, err error) {
	j = new(journal)
	for i := range j.files {
		if j.files[i], err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("journal.%d", i)), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			j.close()
			return nil, nil, err
		}
		data, err := io.ReadAll(io.LimitReader(j.files[i], journalMax))
		if err != nil {
			j.close()
			return nil, nil, err
		}
		for line := range bytes.Lines(data) {
			var e entry
			if json.Unmarshal(line, &e) == nil && e.N > 0 {
				left = append(left, e)
			}
		}
	}
	slices.SortFunc(left, func(a, b entry) int { return int(int64(a.N - b.N)) })
	return j, left, nil
}

// add writes a line with the fields of an entry but its number. If that fails it leaves nothing.
func (j *journal) add(fields []byte) error {
	line := append(fmt.Appendf(nil, `{"n":%d,`, j.last+1), fields...)
	line = append(line, "}\n"...)
	if j.ends[j.now]+int64(len(line)) > journalMax {
		return errJournalFull
	}
	if _, err := j.files[j.now].WriteAt(line, j.ends[j.now]); err != nil {
		return errors.Join(err, j.files[j.now].Truncate(j.ends[j.now]))
	}
	j.ends[j.now] += int64(len(line))
	j.last++
	return nil
}

// turn is the beginning of what ends with clear: lines that come from now on outlive it, if the other file is empty. It returns the number of
// the last line so far.
func (j *journal) turn() uint64 {
	if j.ends[1-j.now] == 0 {
		j.now = 1 - j.now
	}
	return j.last
}

// clear forgets the lines that the store has by now; those from before a turn that did not come to its end may stay.
func (j *journal) clear() error {
	j.ends[1-j.now] = 0
	return j.files[1-j.now].Truncate(0)
}

func (j *journal) close() {
	for _, f := range j.files {
		if f != nil {
			f.Close()
		}
	}
}
