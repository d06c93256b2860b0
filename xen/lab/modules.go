package lab

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// moduleOrder finds modules under a kernel's folder and returns the paths of those named and of all
// they depend on, each after what it depends on.
func moduleOrder(folder string, names []string) ([]string, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			paths[moduleName(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: kernel modules: %w", err)
	}
	var order []string
	var visit func(name, why string) error
	visit = func(name, why string) error {
		path, ok := paths[moduleName(name)]
		if !ok {
			return fmt.Errorf("lab: kernel module %s, needed by %s: not in the package", name, why)
		}
		if slices.Contains(order, path) {
			return nil
		}
		depends, err := moduleDepends(path)
		if err != nil {
			return err
		}
		for _, d := range depends {
			if err := visit(d, name); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range names {
		if err := visit(name, "dom0"); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleName: the kernel takes - and _ in the name of a module for the same.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// moduleDepends reads the "depends=a,b" record of a module's .modinfo.
func moduleDepends(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("lab: kernel module %s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("lab: kernel module %s: no .modinfo", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("lab: kernel module %s: %w", path, err)
	}
	for record := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(record), "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
