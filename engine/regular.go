package engine

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// OpenRegular opens a regular file for reading, and does not wait for what is none, as a FIFO would have us. flags are further ones of open(2). Errors do not
// have the path.
func OpenRegular(path string, flags int) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, nil, errors.Unwrap(err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}
