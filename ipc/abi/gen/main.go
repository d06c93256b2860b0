// Command gen writes package abi, the Go side of the guest ABI, from the guest's C headers. Run it
// as `go generate ./ipc/abi`.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// sources are the headers, in the order in which they may use each other.
var sources = []string{"kx_abi.h", "xen_abi.h"}

// outputs are the files written, by name.
var outputs = map[string]func([]header) ([]byte, error){
	"abi.go":        writeGo,
	"table_test.go": writeTable,
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gen INCLUDE-FOLDER OUTPUT-FOLDER")
		os.Exit(2)
	}
	files, err := generate(os.Args[1])
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[2], name), text, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// generate reads the headers in a folder and returns the outputs, name and text.
func generate(include string) (map[string][]byte, error) {
	p := newParser()
	var headers []header
	for _, name := range sources {
		text, err := os.ReadFile(filepath.Join(include, name))
		if err != nil {
			return nil, err
		}
		items, err := p.parse(name, string(text))
		if err != nil {
			return nil, err
		}
		headers = append(headers, header{name, items})
	}
	files := map[string][]byte{}
	for name, write := range outputs {
		text, err := write(headers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		files[name] = text
	}
	return files, nil
}
