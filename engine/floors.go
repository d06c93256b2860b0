package engine

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"kxsh/elf"
)

// floors are the newest versions that have run, by the key that signed an image and the name in its record. They have a file
// of their own, written through to the disk: the store is neither, and is set aside when it is damaged.
type floors struct {
	mu   sync.Mutex
	path string
}

const floorsFile = "versions.json"

func newFloors(state string) *floors { return &floors{path: filepath.Join(state, floorsFile)} }

func floorKey(r *elf.Record) string { return hex.EncodeToString(r.Key[:]) + " " + r.Name }

// of returns the version below which nothing of that key and name runs; 0: none has run. A damaged file is an error: to go on
// without it would let anything run.
func (f *floors) of(r *elf.Record) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.read()
	return all[floorKey(r)], err
}

// raise remembers that r's version has run.
func (f *floors) raise(r *elf.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.read()
	if err != nil || all[floorKey(r)] >= r.Version {
		return err
	}
	all[floorKey(r)] = r.Version
	if err := f.write(all); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}

func (f *floors) read() (map[string]uint64, error) {
	all := map[string]uint64{}
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil || all == nil {
		return nil, errf(CodeInternal, "%s: damaged (%v): remove it to forget which versions have run", f.path, err)
	}
	return all, nil
}

func (f *floors) write(all map[string]uint64) error {
	data, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), floorsFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.Write(append(data, '\n')); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), f.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
