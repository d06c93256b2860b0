package hosted

import (
	"embed"
	"errors"
)

// stubFiles holds stub.elf, if it was built before this package: see Makefile. stub.ld keeps the
// pattern valid where it was not.
//
//go:embed stub.*
var stubFiles embed.FS

var errNoStub = errors.New("kxsh: hosted: built without the hosted hypervisor's stub: run make")

// stubProgram returns the program that every domain's process runs.
func stubProgram() ([]byte, error) {
	b, err := stubFiles.ReadFile("stub.elf")
	if err != nil {
		return nil, errNoStub
	}
	return b, nil
}
