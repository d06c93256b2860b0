package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"kxsh/guest"
)

// stamp prints the CPU's counter at the first instruction of main and is padded to 1 MiB; idle waits
// for ever; spawn posix_spawns a program for every line it reads and prints the counter just before; forks forks; ipc
// measures what goes between processes; update has a library, of which there are three builds, and one for Linux.
var (
	//go:embed testdata/stamp.c
	stampC string
	//go:embed testdata/idle.c
	idleC string
	//go:embed testdata/spawn.c
	spawnC string
	//go:embed testdata/forks.c
	forksC string
	//go:embed testdata/ipc.c
	ipcC string
	//go:embed testdata/update.c
	updateC string
	//go:embed testdata/library.c
	libraryC string
)

// source is one program.
type source struct {
	name, text string
	image      bool // a pVM image, or a library; else a Linux program, static if it has no flags
	flags      []string
	needs      string // must be there before
}

// programs are what the benchmarks run: where each is in a folder, and how it is built.
var programs = []source{
	{name: "stamp.kx", text: stampC, image: true}, {name: "stamp", text: stampC}, {name: "idle.kx", text: idleC, image: true}, {name: "spawn", text: spawnC},
	{name: "forks.kx", text: forksC, image: true}, {name: "forks", text: forksC}, {name: "ipc.kx", text: ipcC, image: true}, {name: "ipc", text: ipcC},
	{name: "libbench.so", text: libraryC, image: true, flags: []string{"-shared", "-g", "-DVERSION=1"}},
	{name: "libbench2.so", text: libraryC, image: true, flags: []string{"-shared", "-g", "-DVERSION=2", "-Wl,-soname,libbench.so"}},
	{name: "large/libbench.so", text: libraryC, image: true, flags: []string{"-shared", "-DVERSION=1", "-DLARGE"}},
	{name: "stamp.so", text: stampC, image: true, flags: []string{"-shared"}},
	{name: "small.kx", text: stampC, image: true, flags: []string{"-DSMALL"}},
	{name: "small.so", text: stampC, image: true, flags: []string{"-shared", "-DSMALL"}},
	{name: "update.kx", text: updateC, image: true, flags: []string{"-L.", "-lbench"}, needs: "libbench.so"},
	{name: "stay.kx", text: stampC, image: true, flags: []string{"-DSTAY"}}, {name: "stay", text: stampC, flags: []string{"-static", "-DSTAY"}},
	{name: "spawn-many", text: spawnC, flags: []string{"-static", "-DSTAY"}},
	{name: "httpd.kx", text: guest.HTTPD, image: true}, {name: "httpd", text: guest.HTTPD},
	{name: "linux/libbench.so", text: libraryC, flags: []string{"-shared", "-fPIC", "-DVERSION=1"}},
	{name: "update", text: updateC, flags: []string{"-Llinux", "-lbench", "-Wl,-z,lazy", "-Wl,-rpath,$ORIGIN/linux"}, needs: "linux/libbench.so"},
}

// ports are those of guest/ports that are run, by their places there.
var ports = []string{
	"redis/redis-server.kx", "redis/redis-server.native", "redis/redis-server-select.native", "lighttpd/lighttpd.kx", "lighttpd/lighttpd.native",
}

// portsBeside is where make ports leaves them: beside the kxsh of a source folder.
func portsBeside(self string) string { return filepath.Join(filepath.Dir(self), "guest/ports") }

// CC compiles a program into a pVM image, as kxsh cc does.
type CC func(ctx context.Context, args []string, env []string, dir string, stdin io.Reader, stdout, stderr io.Writer) int

// Prepare builds the programs into a folder, for a machine that has no compiler, and copies the ports there that are beside self.
func Prepare(dir, self string, cc CC, stderr io.Writer) error {
	for _, p := range programs {
		if err := build(dir, p.name, cc, stderr); err != nil {
			return err
		}
	}
	return takePorts(dir, portsBeside(self), stderr)
}

// takePorts copies those that there are.
func takePorts(dir, from string, stderr io.Writer) error {
	for _, name := range ports {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(stderr, "bench: without %s: make ports builds it\n", name)
			continue
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, b, 0o755)); err != nil {
			return err
		}
	}
	return nil
}

// build builds one of them into a folder.
func build(dir, name string, cc CC, stderr io.Writer) error {
	p := programs[slices.IndexFunc(programs, func(p source) bool { return p.name == name })]
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	out := filepath.Join(dir, p.name)
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, p.needs)); err != nil {
		if err := build(dir, p.needs, cc, stderr); err != nil {
			return err
		}
	}
	src := out + ".c"
	if err := os.WriteFile(src, []byte(p.text), 0o600); err != nil {
		return err
	}
	defer os.Remove(src)
	if p.image {
		if code := cc(context.Background(), append([]string{"-O2", "-o", out, src}, p.flags...), os.Environ(), dir, nil, stderr, stderr); code != 0 {
			return fmt.Errorf("cc: exit status %d", code)
		}
		return nil
	}
	flags := p.flags
	if flags == nil {
		flags = []string{"-static"}
	}
	gcc := exec.Command("gcc", append([]string{"-O2", "-o", out, src}, flags...)...)
	gcc.Dir = dir
	if text, err := gcc.CombinedOutput(); err != nil {
		return fmt.Errorf("gcc %s: %v: %s", flags[0], err, text)
	}
	return nil
}

// program is where a program is, built now if nobody has prepared it.
func (b *Bench) program(name string) (string, error) {
	prepared := b.Programs
	if prepared == "" {
		prepared = filepath.Join(b.root, "programs")
	}
	path, err := filepath.Abs(filepath.Join(prepared, name))
	if err != nil {
		return "", err
	}
	if _, err = os.Stat(path); err != nil && b.Programs == "" {
		return path, build(prepared, name, b.CC, b.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%w: make it with --prepare %s where a compiler is", err, b.Programs)
	}
	return path, nil
}

// port is where one of ports is.
func (b *Bench) port(name string) (string, error) {
	dir := b.Programs
	if dir == "" {
		dir = portsBeside(b.Self)
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: build it with make ports in the source folder of kxsh; from there, --prepare FOLDER takes it along for --programs FOLDER", err)
	}
	return path, nil
}
